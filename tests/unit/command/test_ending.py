from __future__ import annotations

import pytest

from tasks.command.arguments import Asked, parsed
from tasks.command.ending import next_step, report
from tasks.command.fleet import Fleet
from tests.hosts import converged
from tests.unit.command import test_arguments
from tests.unit.plan.plans import plan

_called = test_arguments._called


def ended(**outcomes: str) -> Fleet:
    """Hosts that ended so."""
    fleet = Fleet(outcomes)
    for name, outcome in outcomes.items():
        fleet[name].outcome = outcome
    return fleet


APPLY = Asked("apply", "i.py", words=("apply", "i.py"))
AGAIN = "run the same command again: `python -m tasks apply i.py`"


@pytest.mark.parametrize(
    ("fleet", "sentence"),
    [
        (ended(a="done"), "Look at the workers: `python -m tasks status i.py`"),
        (ended(a="done", b="failed", c="refused"), f"Mend what is wrong on b, c, then {AGAIN}"),
        (ended(a="refused", b="interrupted", c="not_begun"), f"To have b go on, {AGAIN}"),
        (
            ended(a="interrupted", b="return_failed"),
            "Put b back on the old workers: `python -m tasks rollback i.py --limit b`",
        ),
        (
            ended(a="done", b="drain_limit"),
            "Have the run wait for the old jobs on b, a day at most: "
            "`python -m tasks apply i.py -- --data on_leftover_jobs=wait`",
        ),
        (ended(a="done", b="not_begun"), f"To reach the hosts that it did not come to, {AGAIN}"),
        (
            ended(**dict.fromkeys("abcde", "failed")),
            f"Mend what is wrong on a, b, c and 2 more, then {AGAIN}",
        ),
    ],
)
def test_the_most_urgent_step_is_next(fleet: Fleet, sentence: str) -> None:
    assert next_step(APPLY, "i.py", fleet) == sentence


def test_after_a_plan_comes_its_apply() -> None:
    fleet = ended(a="planned")
    assert next_step(Asked("plan", "i.py"), "i.py", fleet) == "Do it: `python -m tasks apply i.py`"
    kept = Asked("plan", "i.py", out="p.json")
    assert next_step(kept, "i.py", fleet).endswith(
        "do exactly that: `python -m tasks apply p.json`"
    )


def test_after_a_kept_plan_its_hosts_are_looked_at() -> None:
    approved = Asked("apply", "p.json")
    assert next_step(approved, "i.py", ended(a="done", b="done")).endswith("i.py --limit a,b`")


def test_with_nothing_to_do_nothing_is_done() -> None:
    fleet = ended(a="planned")
    fleet["a"].plan = plan(converged())
    words = "Nothing is to be done. Look at the workers: `python -m tasks status i.py`"
    assert next_step(Asked("plan", "i.py"), "i.py", fleet) == words


WAITS = "--data on_leftover_jobs=wait"


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (
            "apply p.json --slice 2",
            f"`python -m tasks plan i.py --limit a,b --out p.json -- {WAITS}`, "
            f"then `python -m tasks apply p.json --slice 2 -- {WAITS}`",
        ),
        (
            "apply p.json --limit a,b -- --sudo",
            f"`python -m tasks plan i.py --limit a,b --out p-again.json -- --sudo {WAITS}`, "
            f"then `python -m tasks apply p-again.json -- --sudo {WAITS}`",
        ),
    ],
)
def test_a_run_with_an_approved_plan_waits_after_a_new_plan(words: str, step: str) -> None:
    # It is held to the plan's data as well.
    fleet = ended(a="done", b="drain_limit")
    said = next_step(parsed(words.split()), "i.py", fleet)
    assert said == f"Have the run wait for the old jobs on b, a day at most: {step}"


def test_a_host_that_is_no_longer_as_it_was_planned_is_planned_again() -> None:
    fleet = ended(a="refused", b="done")
    fleet["a"].problems = ["since the plan was approved, PHP's version has changed (..): make .."]
    asked = parsed(["apply", "p.json"])
    anew = (
        "`python -m tasks plan i.py --limit a,b --out p.json`, then `python -m tasks apply p.json`"
    )
    said = next_step(asked, "i.py", fleet)
    assert said == f"The plan no longer fits a. Plan again: {anew}"
    fleet["b"].outcome, fleet["b"].problems = "refused", ["no systemd"]
    said = next_step(asked, "i.py", fleet)
    assert said == f"Mend what is wrong on b, then plan again: {anew}"


def test_a_failed_return_of_a_rollback_is_tried_again() -> None:
    asked = Asked("rollback", "i.py", words=("rollback", "i.py"))
    assert next_step(asked, "i.py", ended(a="return_failed")).startswith("Mend what is wrong on a,")


def test_problems_that_hosts_share_are_printed_once() -> None:
    fleet = ended(a="refused", b="refused", c="refused", d="done")
    for name in "ab":
        fleet[name].problems = ["no systemd", "no Composer"]
    fleet["c"].problems = ["no systemd"]
    fleet["d"].changed = ["x"]
    assert report(fleet) == [
        "host  outcome  cause",
        "a     refused  no systemd (and 1 other problem, below)",
        "b     refused  no systemd (and 1 other problem, below)",
        "c     refused  no systemd",
        "d     done     1 operation changed",
        "",
        "a, b: 2 problems",
        "  1. no systemd",
        "  2. no Composer",
    ]


def test_a_failed_host_says_where_it_stood() -> None:
    fleet = ended(a="failed")
    fleet["a"].step, fleet["a"].cause = "Proof: a job on every queue", "it broke"
    fleet["a"].is_unfinished = True
    said = " ".join(" ".join(report(fleet)[1:]).split())
    assert said == (
        "a failed Proof: it broke; no change before; this step may have changed the host"
    )
