"""The old backend's jobs in words, and which of them nobody will do."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import backlog
from tasks.host.parts import OldBackend, OldWorker
from tests import hosts


def old(**changes: Any) -> OldBackend:
    found: OldBackend = hosts.migrating()["old_backend"]._replace(waiting={})
    return found._replace(**changes)


def worker(*queues: str) -> OldWorker:
    return OldWorker(pid=7, parent=1, queues=list(queues))


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
        (old(error="gone"), "jobs that cannot be counted (Redis: gone)"),
        (old(waiting={"default": 0}), ""),
        (old(is_installed=False), ""),
    ],
)
def test_the_backlog_is_told_in_words_or_empty(seen: OldBackend, words: str) -> None:
    assert backlog.backlog(seen).startswith(words)
    assert bool(backlog.backlog(seen)) == bool(words)


def test_what_waits_is_counted_without_delayed_jobs() -> None:
    assert backlog.waiting(old(waiting={"prio": 2, "email": 1}, delayed=5)) == 3


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (old(), ""),
        (old(delayed=1, last_due=1800), ""),
        (old(delayed=1, last_due=1801), "due in 30 minutes, but this run waits for 30 minutes at"),
        (old(delayed=1, last_due=1801), "raise drain_timeout"),
        (old(scheduled=1, last_due=60), "MISP's scheduled tasks renew themselves"),
        (old(scheduled=1), "move them to cron, then set on_leftover_jobs to convert"),
    ],
)
def test_a_backlog_that_outlasts_the_limit_is_foretold(seen: OldBackend, reason: str) -> None:
    said = backlog.never_drained(seen, 1800)
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
    seen = old(waiting={"prio": 2, "email": 1, "update": 0}, elsewhere=elsewhere)
    assert backlog.unserved([worker(name) for name in queues], seen) == unserved
    assert backlog.unserved([worker(*queues)], seen) == unserved


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (old(waiting={"prio": 2, "email": 1}), "from email, prio: start one as the web user"),
        (old(waiting={"prio": 2, "email": 1}), "start --interval 5 --queue email)"),
        (old(overdue=61), "startscheduler --interval 5;"),
    ],
)
def test_what_nobody_will_do_is_told_with_its_remedy(seen: OldBackend, says: str) -> None:
    assert says in backlog.stuck([worker("default")], seen)


@pytest.mark.parametrize("seen", [old(), old(error="x"), old(waiting={"default": 3}, overdue=60)])
def test_what_old_workers_will_do_is_not_stuck(seen: OldBackend) -> None:
    assert backlog.stuck([worker("default")], seen) == ""
