from __future__ import annotations

import pytest

from tasks.host.clock import Clock
from tasks.host.errors import DrainLimitError, HostError
from tasks.host.idle import Frozen, freeze_idle
from tasks.host.queues import Backend
from tasks.host.stopping import Group, stop_idle_workers
from tests.unit.host.test_idle import TCP, Host, Watching, Worker


class FakeGroup(Group):
    def __init__(self, new: Backend, host: Host, **names: int) -> None:
        self.new, self.host, self.names = new, host, names
        self.orphans: list[int] = []
        self.started = 0
        self.problem = ""

    def live(self) -> dict[str, int]:
        return dict(self.names)

    def freeze(self, pids: list[int]) -> Frozen:
        return freeze_idle(self.new, TCP, pids, self.host)

    def thaw(self, pids: list[int]) -> None:
        for pid in pids:
            self.host.cont(pid)

    def stop(self, names: list[str], frozen: list[int]) -> None:
        if self.problem:
            raise HostError(self.problem)
        for name in names:
            self.host.workers.pop(self.names.pop(name), None)

    def start(self) -> None:
        self.started += 1

    def jobs(self) -> list[int]:
        return self.orphans


class HostClock(Clock):
    def __init__(self, host: Host) -> None:
        self._host = host

    def now(self) -> float:
        return self._host.now()

    def sleep(self, seconds: float) -> None:
        self._host.sleep(seconds)


@pytest.fixture
def host() -> Host:
    return Host(Worker(1), Worker(2))


def test_all_workers_are_stopped_each_when_it_is_idle(new: Backend, host: Host) -> None:
    host.workers[2].has_child, host.workers[2].is_waiting = True, False
    host.workers[2].done_at = 4.0
    group = FakeGroup(new, host, a=1, b=2, backoff=0)
    group.new = new._replace(redis=Watching(new.redis, host))
    stop_idle_workers(group, HostClock(host), 60)
    assert group.names == {}
    assert host.workers == {}
    assert group.started == 0


def test_jobs_without_a_worker_are_waited_for(new: Backend, host: Host) -> None:
    group = FakeGroup(new, host)
    group.orphans = [7]
    host.sleep(0)
    original = host.sleep

    def sleep(seconds: float) -> None:
        original(seconds)
        if host.seconds > 5:
            group.orphans = []

    host.sleep = sleep  # type: ignore[method-assign]
    stop_idle_workers(group, HostClock(host), 60)
    assert host.seconds > 5


def test_at_the_limit_all_are_started_again(new: Backend, host: Host) -> None:
    host.workers[2].has_child, host.workers[2].is_waiting = True, False
    group = FakeGroup(new, host, a=1, b=2)
    group.new = new._replace(redis=Watching(new.redis, host))
    with pytest.raises(DrainLimitError, match=r"jobs still run after 20 s.*restarted: b\. Run"):
        stop_idle_workers(group, HostClock(host), 20)
    assert group.started == 1
    assert 20 <= host.seconds < 40


def test_none_stays_frozen_when_supervisord_fails(new: Backend, host: Host) -> None:
    group = FakeGroup(new, host, a=1, b=2)
    group.problem = "supervisord does not answer"
    group.new = new._replace(redis=Watching(new.redis, host))
    with pytest.raises(HostError, match="does not answer"):
        stop_idle_workers(group, HostClock(host), 20)
    assert host.stopped == []


def test_jobs_that_stay_aside_are_told(new: Backend, host: Host) -> None:
    watching = Watching(new.redis, host, ("EXISTS",))
    group = FakeGroup(new._replace(redis=watching), host, a=1, b=2)
    with pytest.raises(HostError, match="No job is lost, but run again when Redis is well"):
        stop_idle_workers(group, HostClock(host), 20)
    assert group.names == {}
