from __future__ import annotations

from typing import Any

import pytest

from tasks.command.fleet import Fleet, Host
from tasks.report.record import Report


def taken(*events: dict[str, Any]) -> Host:
    """A host after these events, a second apart."""
    fleet = Fleet(["a"])
    for at, event in enumerate(events, 100):
        fleet.take({"host": "a", "at": at, **event})
    return fleet["a"]


STEP = {"kind": "step", "step": "Drain: the old workers", "limit": 60}
WAITS = {"kind": "waits", "text": "2 jobs", "elapsed": 7, "limit": 20}


def test_a_step_and_its_wait() -> None:
    host = taken(STEP)
    assert (host.step, host.limit, host.spent(110)) == ("Drain: the old workers", 60, 10)
    host = taken(STEP, WAITS)
    assert (host.waiting, host.limit, host.spent(111)) == ("2 jobs", 20, 17)
    assert taken(STEP, WAITS, STEP).waiting == ""


def test_an_end_is_taken_once() -> None:
    host = taken(
        {"kind": "end", "outcome": "failed", "cause": "why", "changed": ["x"]},
        {"kind": "end", "outcome": "done"},
    )
    assert (host.outcome, host.cause, host.changed, host.code) == ("failed", "why", ["x"], 1)


def test_a_refusal_and_a_status() -> None:
    host = taken({"kind": "refused", "problems": ["p", "q"]})
    assert (host.outcome, host.problems, host.code) == ("refused", ["p", "q"], 2)
    host = taken(
        {"kind": "refused", "problems": ["p"]}, {"kind": "status", "status": {"faults": ["p"]}}
    )
    assert (host.outcome, host.code) == ("faulty", 1)
    assert taken({"kind": "status", "status": {"faults": []}}).outcome == "healthy"


@pytest.mark.parametrize("event", [{"kind": "run"}, {"kind": "step", "host": "b"}, {"kind": "new"}])
def test_what_is_about_no_known_host_is_passed_over(event: dict[str, Any]) -> None:
    assert taken(event).step == ""


def test_the_worst_host_counts_and_an_unknown_outcome_is_no_success() -> None:
    fleet = Fleet(["a", "b", "c"])
    assert fleet.code() == 1  # not begun
    for name, outcome in (("a", "done"), ("b", "drain_limit"), ("c", "splendid")):
        fleet[name].take_report(Report(name, "deploy", outcome))
    assert fleet.code() == 3
    assert [host.name for host in fleet.not_good(fleet)] == ["b", "c"]
    assert fleet.keys_of("done", "splendid") == ["a", "c"]


def test_a_failed_host_is_worse_than_a_refused_one() -> None:
    fleet = Fleet(["a", "b", "c"])
    for name, outcome in (("a", "done"), ("b", "failed"), ("c", "refused")):
        fleet[name].take_report(Report(name, "deploy", outcome))
    assert fleet.code() == 1
    assert Fleet({}).code() == 0
    fleet["b"].outcome = "not_begun"
    assert fleet.code() == 2
    fleet["c"].outcome = "done"
    assert fleet.code() == 1


def test_counts() -> None:
    fleet = Fleet(["a", "b", "c"])
    fleet.begin(["a", "b"])
    fleet["a"].outcome = "done"
    assert fleet.counts() == "3 hosts: 1 at work, 1 done, 1 waiting"
