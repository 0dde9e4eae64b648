"""The old backend's jobs in words, and which of them nobody will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tasks import backlog
from tasks.host.queues import OldBackend


def old(**changes: Any) -> OldBackend:
    return OldBackend(waiting={}, elsewhere={})._replace(**changes)


def look(seen: OldBackend, *workers: Sequence[str]) -> backlog.Look:
    """A look at one moment; of each worker its queues."""
    return backlog.Look(seen, workers, bool(workers), 0.0)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            old(waiting={"prio": 2, "default": 1, "email": 0}),
            "1 waiting in default, 2 waiting in prio",
        ),
        (old(running=3), "3 running"),
        (old(delayed=4), "4 delayed"),
        (old(waiting={"cache": 1}, running=1, delayed=1), "1 waiting in cache, 1 running, 1 delay"),
        (
            old(scheduled=2, held=1),
            "2 scheduled by MISP itself, 1 in a conversion that was cut off",
        ),
        (old(error="gone"), "a Redis that cannot be asked: gone"),
        (old(waiting={"default": 0}), ""),
        (old(is_installed=False), ""),
    ],
)
def test_the_backlog_is_told_in_words_or_empty(seen: OldBackend, words: str) -> None:
    assert seen.backlog.startswith(words)
    assert bool(seen.backlog) == bool(words)


def test_what_waits_is_counted_without_delayed_jobs() -> None:
    assert old(waiting={"prio": 2, "email": 1}, delayed=5).waits == 3


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (old(), ""),
        (old(delayed=1, last_due=1800), ""),
        (
            old(delayed=1, last_due=1801),
            "the last of them due in 30 minutes, and the drain limit is",
        ),
        (old(delayed=1, last_due=1801), "Raise drain_timeout"),
        (
            old(scheduled=1, last_due=1801),
            "MISP's scheduled tasks (Administration, Scheduled Tasks",
        ),
    ],
)
def test_a_backlog_that_outlasts_the_limit_is_foretold(seen: OldBackend, reason: str) -> None:
    said = backlog.never_quiet(seen, 1800)
    assert bool(said) == bool(reason)
    assert reason in said


@pytest.mark.parametrize(
    ("queues", "elsewhere", "unserved"),
    [
        (["prio", "email", "default"], [], {}),
        (["prio", "default"], [], {"email": 1}),
        (["*"], [], {}),
        ([], [], {"prio": 2, "email": 1}),
        (["prio"], ["email"], {}),
        ([], ["*"], {}),
        (["_schdlr_"], ["cache"], {"prio": 2, "email": 1}),
    ],
)
def test_jobs_that_no_old_worker_takes_are_known_by_their_queue(
    queues: list[str], elsewhere: list[str], unserved: dict[str, int]
) -> None:
    there = {"other": elsewhere} if elsewhere else {}
    seen = old(waiting={"prio": 2, "email": 1, "update": 0}, elsewhere=there)
    assert backlog.unserved(look(seen, *([name] for name in queues))) == unserved
    assert backlog.unserved(look(seen, queues)) == unserved


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (old(waiting={"prio": 2, "email": 1}), "for email, prio: start one as the web user"),
        (old(waiting={"prio": 2, "email": 1}), "start --interval 5 --queue email)"),
        (old(overdue=61), "startscheduler --interval 5;"),
    ],
)
def test_what_nobody_will_do_is_told_with_its_remedy(seen: OldBackend, says: str) -> None:
    assert says in backlog.nobody_there(look(seen, ["default"]))


@pytest.mark.parametrize("seen", [old(), old(error="x"), old(waiting={"default": 3}, overdue=60)])
def test_what_old_workers_will_do_is_not_stuck(seen: OldBackend) -> None:
    assert backlog.nobody_there(look(seen, ["default"])) == ""
