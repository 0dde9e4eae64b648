from __future__ import annotations

import pytest

from tasks import setting_types
from tasks.host import queues
from tasks.host.queues import OldBackend


def test_there_is_one_list_of_queues() -> None:
    assert tuple(setting_types.DEFAULT_WORKERS) == queues.QUEUES
    assert (*queues.QUEUES, "scheduler") == queues.NEW_QUEUES


def old(**fields: int) -> OldBackend:
    return OldBackend({}, {})._replace(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (OldBackend({}, {}), ""),
        (
            OldBackend({"prio": 2, "default": 0, "cache": 1}, {}),
            "1 waiting in cache, 2 waiting in prio",
        ),
        (old(running=1, delayed=2), "1 running, 2 delayed"),
        (old(scheduled=3), "3 scheduled by MISP itself"),
        (old(held=4), "4 in a conversion that was cut off"),
        (OldBackend({}, {}, error="no connection"), "a Redis that cannot be asked: no connection"),
    ],
)
def test_the_backlog_is_told_in_words(state: OldBackend, words: str) -> None:
    assert state.backlog == words


@pytest.mark.parametrize(
    ("state", "with_tasks", "without"),
    [
        (OldBackend({"prio": 0}, {}), False, False),
        (OldBackend({"prio": 1}, {}), True, True),
        (old(running=1), True, True),
        (old(delayed=1), True, True),
        (old(held=1), True, True),
        (old(scheduled=1), True, False),
        (OldBackend({}, {}, error="gone"), True, True),
        (OldBackend({}, {}, is_installed=False), False, False),
    ],
)
def test_work_is_what_is_left_to_do(state: OldBackend, with_tasks: bool, without: bool) -> None:
    assert state.has_work(with_scheduled=True) is with_tasks
    assert state.has_work(with_scheduled=False) is without


def test_a_conversion_takes_all_but_scheduled_tasks_and_running_jobs() -> None:
    state = OldBackend({"prio": 1, "x": 2}, {}, running=1, delayed=4, scheduled=8, held=16)
    assert (state.waits, state.convertible) == (3, 23)
