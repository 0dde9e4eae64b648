from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.host.errors import DrainLimitError
from tasks.host.old_workers_stop import OldWorkers
from tasks.host.queues import OldBackend
from tasks.host.retire import end_workers
from tests.unit.host.fakes import FakeClock

QUIET = OldBackend({}, {})
WORK = OldBackend({"prio": 1}, {})
TASKS = QUIET._replace(scheduled=2)


class Workers(OldWorkers):
    def __init__(self, leave_after: int = 3) -> None:
        self.did: list[str] = []
        self._leave_after = leave_after

    def hold(self) -> None:
        self.did.append("hold")

    def left(self) -> list[str]:
        if self.did[-1] != "quit":
            self.did.append("quit")
        self._leave_after -= 1
        return ["PID 7 (prio)"] if self._leave_after >= 0 else []

    def start_again(self) -> None:
        self.did.append("start")


def run(workers: Workers, *looks: OldBackend, converts: bool = False) -> list[str]:
    """Which conversions there were."""
    seen: Iterator[OldBackend] = iter(looks)
    done: list[str] = []
    convert = (lambda: done.append("converted")) if converts else None
    end_workers(lambda: next(seen), convert, workers, 10, FakeClock())
    assert next(seen, None) is None
    return done


def test_workers_leave_and_nothing_is_left() -> None:
    workers = Workers()
    assert run(workers, QUIET, QUIET) == []
    assert workers.did == ["hold", "quit"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (WORK, "has work again: .*Nothing was stopped"),
        (TASKS, "has work again: .*Nothing was stopped"),
        (OldBackend({}, {}, error="gone"), "gone. Nothing was stopped: start that Redis"),
    ],
)
def test_nothing_is_stopped_while_there_is_work(state: OldBackend, words: str) -> None:
    workers = Workers()
    with pytest.raises(DrainLimitError, match=words):
        run(workers, state)
    assert workers.did == []


def test_a_job_that_came_meanwhile_starts_them_again() -> None:
    workers = Workers()
    with pytest.raises(DrainLimitError, match=r"1 waiting in prio\. They were started again"):
        run(workers, QUIET, WORK)
    assert workers.did == ["hold", "quit", "start"]


def test_a_job_that_came_meanwhile_is_converted() -> None:
    workers = Workers()
    assert run(workers, TASKS, WORK, TASKS, converts=True) == ["converted"]
    assert workers.did == ["hold", "quit"]


def test_what_a_conversion_leaves_starts_them_again() -> None:
    workers = Workers()
    with pytest.raises(DrainLimitError, match="were started again"):
        run(workers, QUIET, WORK, WORK, converts=True)
    assert workers.did[-1] == "start"


def test_a_job_without_an_end_is_told_at_the_limit() -> None:
    workers = Workers(leave_after=10_000)
    with pytest.raises(DrainLimitError, match=r"limit of 10 s.*PID 7 .prio.\. They leave after"):
        run(workers, QUIET)
    assert workers.did == ["hold", "quit"]


def test_a_redis_that_does_not_answer_is_not_blamed_on_the_web_tier() -> None:
    with pytest.raises(DrainLimitError) as error:
        run(Workers(), OldBackend({}, {}, error="no connection"))
    assert "no connection" in str(error.value)
    assert "web tier" not in str(error.value)
