"""Freezing workers of the new backend that wait for a job, so that they can be stopped without one.

A worker has no signal handler, and takes a job (BLPOP) some milliseconds before it starts it
(StartWorkerShell.php): a TERM in between loses the job. A frozen worker (SIGSTOP) takes none, and
CLIENT UNBLOCK (Redis 5) says whether it had one: it succeeds only where Redis had given it nothing.

A worker that finishes a job takes the next one at once, so it never waits where enough of them do.
Waiting jobs are therefore set aside for these seconds. Only where Redis can tell who waits, since
it gives what comes back to those that wait, be they frozen or not. If this is killed, the next
call takes the jobs back.
"""

import re
from typing import Iterable, List, NamedTuple, Optional, Set

from tasks.host.errors import HostError
from tasks.host.new_backend import put_aside, take_back
from tasks.host.queues import Backend
from tasks.host.redis import RedisError, RedisGoneError
from tasks.host.replies import odd, text

PATIENCE = 10.0  # seconds to wait for the first worker that finishes its job
AFTERWARDS = 1.0  # and then for further ones
PAUSE = 0.02
_FROZEN_WITHIN = 0.1

_CLIENTS_BYTES = 8 * 1024 * 1024


class Processes:
    """The host's processes, as far as workers are concerned; a PID may be gone at any time."""

    def exists(self, pid: int) -> bool:
        """Whether there is such a process."""
        raise NotImplementedError

    def stop(self, pid: int) -> None:
        """Send SIGSTOP."""
        raise NotImplementedError

    def cont(self, pid: int) -> None:
        """Send SIGCONT."""
        raise NotImplementedError

    def is_stopped(self, pid: int) -> bool:
        """Whether SIGSTOP has taken effect."""
        raise NotImplementedError

    def with_child(self, pids: Iterable[int]) -> Set[int]:
        """Return those that have a child: each job is one (BackgroundJob.php)."""
        raise NotImplementedError

    def local_ports(self, pid: int) -> Set[int]:
        """Return the ports at this end of its TCP connections."""
        raise NotImplementedError

    def takes_jobs(self, pid: int) -> bool:
        """Whether it is a worker: MISP's own scheduler is in the group and asks for no job."""
        raise NotImplementedError

    def now(self) -> float:
        """Seconds since some moment."""
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        """Wait."""
        raise NotImplementedError


class Where(NamedTuple):
    """How workers reach their Redis."""

    is_socket: bool  # by a socket file
    database: int


class Frozen(NamedTuple):
    """Workers that have no job and are frozen; the others have one, or may have, and go on."""

    pids: List[int]
    problem: str = ""  # why jobs that were set aside are still there; empty: none is


class _Client(NamedTuple):
    id: int
    port: int
    command: bytes
    database: int


def freeze_idle(new: Backend, where: Where, pids: List[int], processes: Processes) -> Frozen:
    """Freeze those workers that wait for a job, or do so within some seconds.

    Jobs that this or an earlier call has set aside are back in their queues afterwards, or the
    result says why not. Without PIDs that is all it does.
    """
    frozen: List[int] = []
    try:
        if pids:
            frozen = _Freezer(new, where, processes).freeze_idle(pids)
    except HostError:  # Redis has gone away, or lies: nobody is idle until it is known again
        _thaw(pids, processes)
    except BaseException:
        _thaw(pids, processes)
        raise
    return Frozen(frozen, _taken_back(new))


def heal(new: Backend, pids: List[int], processes: Processes) -> str:
    """Undo what a call that was killed has left: jobs set aside, workers frozen.

    To be called at the start of each run. Returns why jobs are still aside; empty: none is.
    """
    problem = _taken_back(new)  # first, or a thawed worker could find nothing and wait on
    _thaw([pid for pid in pids if processes.is_stopped(pid)], processes)
    return problem


def freeze_without_redis(pids: List[int], processes: Processes) -> Frozen:
    """Freeze those without a child, where Redis cannot even be reached: it gives nobody a job."""
    idle = _freeze(pids, processes)
    _thaw([pid for pid in pids if pid not in idle], processes)
    return Frozen(idle)


def _taken_back(new: Backend) -> str:
    try:
        take_back(new)
    except HostError as error:
        return f"Redis does not take back the jobs that were set aside: {error}"
    return ""


class _Freezer:
    def __init__(self, new: Backend, where: Where, processes: Processes) -> None:
        self._new, self._where, self._processes = new, where, processes
        self._tells = False  # Redis knows each worker's connection and says whether it waits

    def freeze_idle(self, pids: List[int]) -> List[int]:
        processes = self._processes
        self._tells = self._tells_who_waits(pids) and put_aside(self._new)
        end = processes.now() + (PATIENCE if self._tells else 0)
        frozen: List[int] = []
        while True:
            left = [pid for pid in pids if pid not in frozen and processes.exists(pid)]
            busy = processes.with_child(left)
            free = [pid for pid in left if pid not in busy]
            idle = self._idle(_freeze(free, processes)) if free else []
            _thaw([pid for pid in free if pid not in idle], processes)
            if idle and not frozen:
                end = min(end, processes.now() + AFTERWARDS)
            frozen += idle
            processes.sleep(PAUSE)
            if len(idle) == len(left) or processes.now() >= end or not put_aside(self._new):
                return frozen

    def _tells_who_waits(self, pids: List[int]) -> bool:
        """Whether Redis knows the connection of each worker.

        A worker that was just started has none yet, and Redis sees another one where something
        stands between the two.
        """
        clients = self._clients()
        if clients is None or self._unblock(0) is None:
            return False
        workers = [pid for pid in pids if self._processes.takes_jobs(pid)]
        return self._where.is_socket or all(self._own(clients, pid) for pid in workers)

    def _idle(self, frozen: List[int]) -> List[int]:
        """Return which frozen ones have no job."""
        clients = self._clients()
        if clients is None:
            return [] if self._tells else frozen
        workers = [pid for pid in frozen if self._processes.takes_jobs(pid)]
        others = [pid for pid in frozen if pid not in workers]
        if self._where.is_socket:
            return frozen if self._all_wait(clients, len(workers)) else others
        return others + [pid for pid in workers if self._waits(clients, pid)]

    def _waits(self, clients: List[_Client], pid: int) -> bool:
        """Whether a frozen worker has no job. That it has no child must do if Redis cannot tell."""
        own = self._own(clients, pid)
        for client in own:
            if client.command == b"blpop":
                waited = self._unblock(client.id)
                if waited or (waited is None and not self._tells):
                    return True
        return not own and not self._tells

    def _all_wait(self, clients: List[_Client], workers: int) -> bool:
        """Through a socket file no client can be told from another: all have to wait."""
        waiting = [
            client
            for client in clients
            if client.command == b"blpop" and client.database == self._where.database
        ]
        results = [self._unblock(client.id) for client in waiting]
        return len(waiting) == workers and False not in results

    def _own(self, clients: List[_Client], pid: int) -> List[_Client]:
        ports = self._processes.local_ports(pid)
        return [client for client in clients if client.port in ports]

    def _clients(self) -> Optional[List[_Client]]:
        """None: this Redis does not show them."""
        try:
            reply = self._new.redis.command("CLIENT", "LIST")
        except RedisGoneError:
            raise
        except RedisError:  # an ACL
            return None
        lines = (text(reply, "its clients", _CLIENTS_BYTES) or b"").splitlines()
        clients = [_client(line) for line in lines]
        return [client for client in clients if client is not None]

    def _unblock(self, client: int) -> Optional[bool]:
        """Whether that client was waiting; None: this Redis cannot tell."""
        try:
            reply = self._new.redis.command("CLIENT", "UNBLOCK", client)
        except RedisGoneError:
            raise
        except RedisError:
            return None
        if reply not in (0, 1) or isinstance(reply, bool):
            raise odd("whether a worker waits")
        return reply == 1


def _client(line: bytes) -> Optional[_Client]:
    """One line of CLIENT LIST."""
    words = dict(word.split(b"=", 1) for word in line.split(b" ") if b"=" in word)
    port = words.get(b"addr", b"").rpartition(b":")[2]
    numbers = (words.get(b"id", b""), port, words.get(b"db", b""))
    if not all(re.match(rb"[0-9]{1,18}\Z", one) for one in numbers):
        return None
    return _Client(int(numbers[0]), int(port), words.get(b"cmd", b""), int(numbers[2]))


def _freeze(pids: List[int], processes: Processes) -> List[int]:
    """Stop processes; return those without a child."""
    for pid in pids:
        processes.stop(pid)
    stopped = [pid for pid in pids if _is_stopped(pid, processes)]
    busy = processes.with_child(stopped)
    return [pid for pid in stopped if pid not in busy]


def _is_stopped(pid: int, processes: Processes) -> bool:
    end = processes.now() + _FROZEN_WITHIN
    while processes.exists(pid) and processes.now() < end:
        if processes.is_stopped(pid):
            return True
        processes.sleep(0.001)
    return False


def _thaw(pids: List[int], processes: Processes) -> None:
    for pid in pids:
        processes.cont(pid)
