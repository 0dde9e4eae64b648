"""What a look at the old backend means."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import backlog
from tasks.backlog import Look
from tasks.host.queues import OldBackend

QUIET = OldBackend({}, {})


def old(waiting: dict[str, int] | None = None, **fields: Any) -> OldBackend:
    return QUIET._replace(waiting=waiting or {}, **fields)


def look(state: OldBackend, *workers: str) -> Look:
    return Look(state, [queues.split(",") for queues in workers], True, 0.0)


@pytest.mark.parametrize(
    ("before", "now", "arrived", "came"),
    [
        (old(), old({"prio": 1}), 1, 1),
        (old(processed=5), old({"prio": 1}, processed=6), 2, 2),
        (old(processed=5), old(running=1, processed=5), 1, 1),
        (old({"prio": 1}), old({"prio": 3}), 0, 2),
        (old(running=1), old(processed=1), 0, 0),
        (old(processed=7), old(processed=3), 0, 0),
        (old(), old(error="x"), 0, 0),
        (old(error="x"), old({"prio": 3}), 0, 0),
    ],
)
def test_jobs_from_elsewhere_are_known_only_where_no_old_job_can_have_enqueued_them(
    before: OldBackend, now: OldBackend, arrived: int, came: int
) -> None:
    assert (backlog.arrived(before, now), backlog.came(before, now)) == (arrived, came)


@pytest.mark.parametrize(
    ("before", "now", "renews"),
    [
        (old(scheduled=1, last_due=3), old(scheduled=1, last_due=3600), True),
        (old(scheduled=1, last_due=3), old(scheduled=2, last_due=3600), True),
        (old(scheduled=1, last_due=3), old(scheduled=1, last_due=2), False),
        (old(scheduled=1, last_due=3), old(), False),
        (old(scheduled=1, last_due=3), old(scheduled=1, delayed=1, last_due=9), False),
        (old(delayed=1, last_due=3), old(delayed=1, last_due=9), False),
        (old(), old(scheduled=1, last_due=9), False),
    ],
)
def test_a_scheduled_task_that_enqueues_itself_again_is_seen(
    before: OldBackend, now: OldBackend, renews: bool
) -> None:
    assert backlog.renews(before, now) is renews


@pytest.mark.parametrize(
    ("state", "is_worth"),
    [
        (old(), False),
        (old({"prio": 1}), True),
        (old({"email": 1}), False),
        (old({"email": 1}, running=1), True),
        (old(scheduled=1, last_due=5), False),
        (old(delayed=1, next_due=60), True),
        (old(delayed=1, next_due=61), False),
        (old(delayed=1, overdue=61), False),
        (old({"email": 1}, elsewhere={"there": ["email"]}), True),
    ],
)
def test_old_workers_are_given_time_for_what_they_will_do(
    state: OldBackend, is_worth: bool
) -> None:
    assert backlog.worth_waiting(look(state, "prio,default"), 60) is is_worth


@pytest.mark.parametrize(
    ("workers", "elsewhere", "unserved"),
    [
        ([], {}, {"prio": 2, "email": 1}),
        (["prio"], {}, {"email": 1}),
        (["prio,email"], {}, {}),
        (["prio", "email"], {}, {}),
        (["*"], {}, {}),
        (["_schdlr_"], {}, {"prio": 2, "email": 1}),
        (["prio"], {"there": ["email", "cache"]}, {}),
        (["prio"], {"there": ["*"]}, {}),
    ],
)
def test_jobs_that_no_old_worker_takes_are_known_by_their_queue(
    workers: list[str], elsewhere: dict[str, list[str]], unserved: dict[str, int]
) -> None:
    state = old({"prio": 2, "email": 1, "update": 0}, elsewhere=elsewhere)
    assert backlog.unserved(look(state, *workers)) == unserved


def test_jobs_that_only_another_host_can_do_name_that_host() -> None:
    state = old({"prio": 1}, elsewhere={"misp-old": ["prio"], "third": ["cache"]})
    words = backlog.elsewhere(look(state, "default"))
    assert words.startswith("only workers of misp-old are entered for prio, and whether these live")
    assert "If misp-old is a former name of this host" in words
    assert backlog.elsewhere(look(state, "prio")) == ""
    assert backlog.elsewhere(look(old({"prio": 1}), "default")) == ""


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (
            old({"prio": 2}, at="h:1"),
            ["the old backend (h:1) has 2 waiting in prio, and this MISP"],
        ),
        (old(delayed=1, scheduled=2), ["has 1 delayed, and"]),
        (old(held=1), ["on_leftover_jobs to convert"]),
        (old(scheduled=2), []),  # the native scheduler has its own
        (old(), []),
        (old(error="x"), ["whether jobs stayed behind (in Redis) cannot be told: x"]),
    ],
)
def test_what_a_cakeresque_that_is_gone_left_behind_is_told(
    state: OldBackend, says: list[str]
) -> None:
    words = backlog.left_behind(state._replace(is_installed=False))
    assert bool(words) == bool(says)
    assert all(one in words for one in says)
    assert backlog.left_behind(state) == ""
    assert backlog.nobody_there(look(state._replace(is_installed=False))) == ""


def test_no_remedy_is_an_option_that_is_set() -> None:
    waits = old({"prio": 1})
    gone = waits._replace(is_installed=False)
    assert "set on_leftover_jobs to convert" in backlog.left_behind(gone)
    assert "on_leftover_jobs" not in backlog.left_behind(gone, converts=True)
    for state in (waits, old(overdue=90), old({"prio": 1}, elsewhere={"h": ["prio"]})):
        seen = look(state)._replace(workers=[])
        words = backlog.nobody_there(seen) or backlog.elsewhere(seen)
        assert "set on_leftover_jobs to convert" in words
        seen = seen._replace(converts=True)
        words = backlog.nobody_there(seen) or backlog.elsewhere(seen)
        assert "on_leftover_jobs" not in words
        assert words.endswith("then run again")


def test_dead_workers_of_a_former_name_are_told() -> None:
    words = backlog.nobody_there(look(old({"prio": 1}, dead_hosts=("misp-old",)), "default"))
    assert "for prio (those entered for misp-old are dead: none is connected to Redis):" in words


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (old({"prio": 2}), "no old worker lives for prio: start one by `setsid -w runuser -u "),
        (old(overdue=61), "nothing brings delayed jobs to their queues when they are due"),
        (old({"default": 3}, overdue=60), ""),
        (old(error="x"), ""),
        (old(), ""),
    ],
)
def test_what_nobody_will_do_is_told_with_its_remedy(state: OldBackend, says: str) -> None:
    words = backlog.nobody_there(look(state, "default"))
    assert words.startswith(says)
    assert bool(words) == bool(says)


@pytest.mark.parametrize(
    ("state", "says", "never"),
    [
        (old(), "", "x"),
        (old(delayed=1, last_due=60), "", "x"),
        (old(delayed=1, last_due=61), "1 delayed, the last of them due in 61 s", "cron"),
        (
            old(scheduled=1, last_due=7200),
            "due in 2 h 0 min, and the drain",
            "raise drain_timeout",
        ),
    ],
)
def test_what_cannot_be_quiet_in_time_is_told_at_once(
    state: OldBackend, says: str, never: str
) -> None:
    words = backlog.never_quiet(state, 60)
    assert says in words
    assert never not in words
    assert bool(words) == bool(says)
