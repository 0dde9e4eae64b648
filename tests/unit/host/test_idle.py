from __future__ import annotations

from collections.abc import Iterable
from signal import SIGSTOP

import pytest

from tasks.host import idle
from tasks.host.errors import HostError
from tasks.host.idle import Frozen
from tasks.host.places import Place
from tasks.host.processes import Workers
from tasks.host.queues import Backend
from tasks.host.redis import Redis, RedisError, RedisGoneError, Reply, Word
from tests.unit.host.fakes import LIES, FakeClock, LyingRedis

TCP, SOCKET = Place("127.0.0.1", 6379, 1, "", ""), Place("/s", 0, 1, "", "")


class Worker:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.is_waiting = True  # in BLPOP, with nothing given to it
        self.has_child = False
        self.is_connected = True
        self.takes_jobs = True
        self.is_stopped = False
        self.resists = False
        self.done_at = 0.0  # when it finishes its job


class Host(Workers):
    """Workers, and the time in which they do their jobs."""

    def __init__(self, *workers: Worker) -> None:
        self.workers = {worker.pid: worker for worker in workers}
        self.clock = FakeClock()
        self.clock.on_sleep = self._finish_jobs
        self.stops = 0

    def exists(self, pid: int) -> bool:
        return pid in self.workers

    def send(self, pids: Iterable[int], number: int) -> list[int]:
        own = [pid for pid in pids if pid in self.workers]
        for pid in own:
            self.stops += number == SIGSTOP
            self.workers[pid].is_stopped = number == SIGSTOP and not self.workers[pid].resists
        return own

    def is_stopped(self, pid: int) -> bool:
        return self.workers[pid].is_stopped

    def with_child(self, pids: Iterable[int]) -> set[int]:
        return {pid for pid in pids if pid in self.workers and self.workers[pid].has_child}

    def local_ports(self, pid: int) -> set[int]:
        return {50_000 + pid} if self.workers[pid].is_connected else set()

    def takes_jobs(self, pid: int) -> bool:
        return pid in self.workers and self.workers[pid].takes_jobs

    @property
    def seconds(self) -> float:
        return self.clock.seconds

    def _finish_jobs(self) -> None:
        for worker in self.workers.values():
            if worker.done_at and self.seconds >= worker.done_at:
                worker.has_child, worker.is_waiting, worker.done_at = False, True, 0.0

    @property
    def stopped(self) -> list[int]:
        return [pid for pid, worker in self.workers.items() if worker.is_stopped]


class Watching(Redis):
    """The real one, but for its clients."""

    def __init__(self, redis: Redis, host: Host, refuses: tuple[str, ...] = ()) -> None:
        self._redis, self._host, self._refuses = redis, host, refuses
        self.unblocked: list[int] = []
        self.is_socket = False
        self.error: type[HostError] = RedisError

    def command(self, *words: Word) -> Reply:
        if {str(word) for word in words[:2]} & set(self._refuses):
            raise self.error("refused")
        if words[0] != "CLIENT":
            return self._redis.command(*words)
        if words[1] == "LIST":
            return "\n".join(self._lines()).encode()
        assert isinstance(words[2], int)
        worker = self._host.workers.get(words[2])
        if worker is None or not worker.is_waiting:
            return 0
        worker.is_waiting = False
        self.unblocked.append(worker.pid)
        return 1

    def _lines(self) -> Iterable[str]:
        yield "id=999 addr=127.0.0.1:1 db=1 cmd=get name=odd"
        yield "nonsense"
        for worker in self._host.workers.values():
            if worker.is_connected and worker.takes_jobs:
                address = "/s:0" if self.is_socket else f"127.0.0.1:{50_000 + worker.pid}"
                yield f"id={worker.pid} addr={address} fd=8 db=1 cmd=blpop user=default"


@pytest.fixture
def host() -> Host:
    return Host(Worker(1), Worker(2))


def freeze(new: Backend, host: Host, *refuses: str, place: Place = TCP) -> Frozen:
    watching = Watching(new.redis, host, refuses)
    watching.is_socket = place.is_socket
    return freeze_at(new._replace(redis=watching), host, place)


def freeze_at(new: Backend, host: Host, place: Place = TCP) -> Frozen:
    return idle.freeze_idle(new, place, [1, 2], host, host.clock)


def test_workers_that_wait_are_frozen(new: Backend, host: Host) -> None:
    assert freeze(new, host) == Frozen([1, 2])
    assert host.stopped == [1, 2]
    assert host.seconds < 1


def test_a_worker_that_was_given_a_job_goes_on(new: Backend, host: Host) -> None:
    host.workers[2].is_waiting = False
    assert freeze(new, host).pids == [1]
    assert host.stopped == [1]
    assert idle.AFTERWARDS <= host.seconds < idle.AFTERWARDS + 1


def test_a_worker_that_runs_a_job_is_not_even_stopped(new: Backend, host: Host) -> None:
    host.workers[2].has_child = True
    host.workers[2].is_waiting = False
    assert freeze(new, host).pids == [1]
    assert host.stops == 1


def test_a_worker_that_finishes_soon_is_waited_for(new: Backend, host: Host) -> None:
    for worker in host.workers.values():
        worker.has_child, worker.is_waiting, worker.done_at = True, False, 3.0
    assert freeze(new, host).pids == [1, 2]
    assert 3 <= host.seconds < 4


def test_patience_ends(new: Backend, host: Host) -> None:
    for worker in host.workers.values():
        worker.has_child, worker.is_waiting = True, False
    assert freeze(new, host).pids == []
    assert idle.PATIENCE <= host.seconds < idle.PATIENCE + 1


def test_jobs_are_aside_meanwhile_and_back_afterwards(new: Backend, host: Host) -> None:
    new.redis.command("RPUSH", new.key("default"), 1, 2)
    seen = []

    class Looking(Watching):
        def command(self, *words: Word) -> Reply:
            if words[:2] == ("CLIENT", "UNBLOCK") and words[2]:
                seen.append(new.redis.command("LLEN", new.key("default")))
            return super().command(*words)

    freeze_at(new._replace(redis=Looking(new.redis, host)), host)
    assert seen == [0, 0]
    assert new.redis.command("LRANGE", new.key("default"), 0, -1) == [b"1", b"2"]


def test_without_pids_jobs_are_taken_back(new: Backend, host: Host) -> None:
    new.redis.command("RPUSH", new.key("misp-workers-aside:prio"), 1)
    assert idle.freeze_idle(new, TCP, [], host, host.clock) == Frozen([])
    assert new.redis.command("LLEN", new.key("prio")) == 1


@pytest.mark.parametrize("refused", ["UNBLOCK", "EVAL"])
def test_a_redis_that_cannot_tell_sets_nothing_aside(
    new: Backend, host: Host, refused: str
) -> None:
    new.redis.command("RPUSH", new.key("default"), 1)
    assert freeze(new, host, refused).pids == [1, 2]
    assert new.redis.command("LLEN", new.key("default")) == 1


def test_without_a_list_of_clients_the_child_decides(new: Backend, host: Host) -> None:
    host.workers[2].has_child = True
    assert freeze(new, host, "LIST").pids == [1]


def test_a_worker_that_redis_does_not_know_yet_is_idle_by_its_child(
    new: Backend, host: Host
) -> None:
    """So nothing is set aside: it may connect at any moment."""
    host.workers[2].is_connected = False
    new.redis.command("RPUSH", new.key("default"), 1)
    assert freeze(new, host).pids == [1, 2]


def test_misps_scheduler_asks_for_no_job(new: Backend, host: Host) -> None:
    host.workers[2].takes_jobs = False
    host.workers[2].is_connected = False
    assert freeze(new, host).pids == [2, 1]


def test_through_a_socket_file_all_have_to_wait(new: Backend, host: Host) -> None:
    assert freeze(new, host, place=SOCKET).pids == [1, 2]
    again = Host(Worker(1), Worker(2))
    again.workers[2].is_waiting = False
    assert freeze(new, again, place=SOCKET).pids == []
    assert again.stopped == []
    elsewhere = Host(Worker(1), Worker(2))
    assert freeze(new, elsewhere, place=SOCKET._replace(database=13)).pids == []


def test_a_process_that_does_not_stop_is_not_frozen(new: Backend, host: Host) -> None:
    host.workers[2].resists = True
    assert freeze(new, host).pids == [1]


def test_a_process_that_has_gone_is_left_out(new: Backend, host: Host) -> None:
    del host.workers[2]
    assert freeze(new, host).pids == [1]


def test_none_stays_frozen_when_redis_goes_away(new: Backend, host: Host) -> None:
    watching = Watching(new.redis, host, ("UNBLOCK", "EXISTS"))
    watching.error = RedisGoneError
    frozen = freeze_at(new._replace(redis=watching), host)
    assert frozen.pids == []
    assert frozen.problem == ("Redis does not take back the jobs that were set aside: refused")
    assert host.stopped == []


def test_none_stays_frozen_after_a_fault_of_ours(new: Backend, host: Host) -> None:
    class Broken(Host):
        def with_child(self, pids: Iterable[int]) -> set[int]:
            if self.stopped:
                raise OSError("disk")
            return set()

    broken = Broken(Worker(1), Worker(2))
    with pytest.raises(OSError, match="disk"):
        freeze(new, broken)
    assert broken.stopped == []


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_no_lie_of_redis_freezes_anybody_who_may_have_a_job(
    new: Backend, host: Host, lie: Reply
) -> None:
    frozen = freeze_at(Backend(LyingRedis(lie), "x:"), host)
    assert sorted(host.stopped) == sorted(frozen.pids)


def test_without_any_redis_the_child_decides(host: Host) -> None:
    host.workers[2].has_child = True
    assert idle.freeze_without_redis([1, 2], host, host.clock) == Frozen([1])
    assert host.stopped == [1]
