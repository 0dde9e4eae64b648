from __future__ import annotations

import pytest

from tasks.host.errors import DrainLimitError, HostError
from tasks.host.queues import Backend
from tasks.host.stopping import Group, stop_idle_workers
from tests.unit.host.test_idle import TCP, Host, Watching, Worker


class FakeGroup(Group):
    def __init__(self, host: Host, **names: int) -> None:
        self.host, self.names = host, names
        self.orphans: list[int] = []
        self.started = 0
        self.problem = ""

    def live(self) -> dict[str, int]:
        return dict(self.names)

    def stop(self, names: list[str], frozen: list[int]) -> None:
        if self.problem:
            raise HostError(self.problem)
        for name in names:
            self.host.workers.pop(self.names.pop(name), None)

    def start(self) -> None:
        self.started += 1

    def jobs(self) -> list[int]:
        return self.orphans


@pytest.fixture
def host() -> Host:
    return Host(Worker(1), Worker(2))


def test_all_workers_are_stopped_each_when_it_is_idle(new: Backend, host: Host) -> None:
    host.workers[2].has_child, host.workers[2].is_waiting = True, False
    host.workers[2].done_at = 4.0
    group = FakeGroup(host, a=1, b=2, backoff=0)
    watching = new._replace(redis=Watching(new.redis, host))
    stop_idle_workers(watching, TCP, group, host, 60)
    assert group.names == {}
    assert host.workers == {}
    assert group.started == 0


def test_jobs_without_a_worker_are_waited_for(new: Backend, host: Host) -> None:
    group = FakeGroup(host)
    group.orphans = [7]
    host.sleep(0)
    original = host.sleep

    def sleep(seconds: float) -> None:
        original(seconds)
        if host.seconds > 5:
            group.orphans = []

    host.sleep = sleep  # type: ignore[method-assign]
    stop_idle_workers(new, TCP, group, host, 60)
    assert host.seconds > 5


def test_at_the_limit_all_are_started_again(new: Backend, host: Host) -> None:
    host.workers[2].has_child, host.workers[2].is_waiting = True, False
    group = FakeGroup(host, a=1, b=2)
    watching = new._replace(redis=Watching(new.redis, host))
    with pytest.raises(DrainLimitError, match=r"jobs still run after 20 s.*restarted: b\. Run"):
        stop_idle_workers(watching, TCP, group, host, 20)
    assert group.started == 1
    assert 20 <= host.seconds < 40


def test_none_stays_frozen_when_supervisord_fails(new: Backend, host: Host) -> None:
    group = FakeGroup(host, a=1, b=2)
    group.problem = "supervisord does not answer"
    watching = new._replace(redis=Watching(new.redis, host))
    with pytest.raises(HostError, match="does not answer"):
        stop_idle_workers(watching, TCP, group, host, 20)
    assert host.stopped == []


def test_jobs_that_stay_aside_are_told(new: Backend, host: Host) -> None:
    watching = Watching(new.redis, host, ("EXISTS",))
    group = FakeGroup(host, a=1, b=2)
    with pytest.raises(HostError, match="No job is lost, but run again when Redis is well"):
        stop_idle_workers(new._replace(redis=watching), TCP, group, host, 20)
    assert group.names == {}
