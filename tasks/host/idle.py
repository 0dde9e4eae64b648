"""Freezing workers of the new backend that wait for a job, so that they can be stopped without one.

A worker has no signal handler, and takes a job (BLPOP) some milliseconds before it starts it
(StartWorkerShell.php): a TERM in between loses the job. A frozen worker (SIGSTOP) takes none, and
CLIENT UNBLOCK (Redis 5) says whether it had one: it succeeds only where Redis had given it nothing.

A worker that finishes a job takes the next one at once, so it never waits where enough of them do.
Waiting jobs are therefore set aside for these seconds. Only where Redis can tell who waits, since
it gives what comes back to those that wait, be they frozen or not. If this is killed, the next
call takes the jobs back.
"""

from signal import SIGCONT, SIGSTOP
from typing import List, NamedTuple, Optional

from tasks.host.errors import HostError
from tasks.host.new_backend import (
    Client,
    clients,
    put_aside,
    take_back,
    truth,
    waiting_clients,
)
from tasks.host.places import Place
from tasks.host.processes import Workers
from tasks.host.queues import Backend
from tasks.host.redis import RedisError
from tasks.host.waiting import Clock, wait_until

PATIENCE = 10.0  # seconds to wait for the first worker that finishes its job
AFTERWARDS = 1.0  # and then for further ones
PAUSE = 0.02
_FROZEN_WITHIN = 0.1


class Frozen(NamedTuple):
    """Workers that have no job and are frozen; the others have one, or may have, and go on."""

    pids: List[int]
    problem: str = ""  # why jobs that were set aside are still there; empty: none is


def freeze_idle(
    new: Backend, place: Place, pids: List[int], workers: Workers, clock: Clock
) -> Frozen:
    """Freeze those workers that wait for a job, or do so within some seconds.

    Jobs that this or an earlier call has set aside are back in their queues afterwards, or the
    result says why not. Without PIDs that is all it does.

    Args:
        place: where the workers reach the new backend.
    """
    frozen: List[int] = []
    try:
        if pids:
            frozen = _Freezer(new, place, workers, clock).freeze_idle(pids)
    except HostError:  # Redis has gone away, or lies: nobody is idle until it is known again
        workers.send(pids, SIGCONT)
    except BaseException:
        workers.send(pids, SIGCONT)
        raise
    return Frozen(frozen, _taken_back(new))


def freeze_without_redis(pids: List[int], workers: Workers, clock: Clock) -> Frozen:
    """Freeze those without a child, where Redis cannot even be reached: it gives nobody a job."""
    idle = _freeze(pids, workers, clock)
    workers.send([pid for pid in pids if pid not in idle], SIGCONT)
    return Frozen(idle)


def _taken_back(new: Backend) -> str:
    try:
        take_back(new)
    except HostError as error:
        return f"Redis does not take back the jobs that were set aside: {error}"
    return ""


class _Freezer:
    def __init__(self, new: Backend, place: Place, workers: Workers, clock: Clock) -> None:
        self._new, self._place, self._workers, self._clock = new, place, workers, clock
        self._tells = False  # Redis knows each worker's connection and says whether it waits

    def freeze_idle(self, pids: List[int]) -> List[int]:
        workers, clock = self._workers, self._clock
        self._tells = self._tells_who_waits(pids) and put_aside(self._new)
        end = clock.now() + (PATIENCE if self._tells else 0)
        frozen: List[int] = []
        while True:
            left = [pid for pid in pids if pid not in frozen and workers.exists(pid)]
            busy = workers.with_child(left)
            free = [pid for pid in left if pid not in busy]
            idle = self._idle(_freeze(free, workers, clock)) if free else []
            workers.send([pid for pid in free if pid not in idle], SIGCONT)
            if idle and not frozen:
                end = min(end, clock.now() + AFTERWARDS)
            frozen += idle
            clock.sleep(PAUSE)
            if len(idle) == len(left) or clock.now() >= end or not put_aside(self._new):
                return frozen

    def _tells_who_waits(self, pids: List[int]) -> bool:
        """Whether Redis knows the connection of each worker.

        A worker that was just started has none yet, and Redis sees another one where something
        stands between the two.
        """
        found = clients(self._new)
        if found is None or self._unblock(0) is None:
            return False
        takers = [pid for pid in pids if self._workers.takes_jobs(pid)]
        return self._place.is_socket or all(self._own(found, pid) for pid in takers)

    def _idle(self, frozen: List[int]) -> List[int]:
        """Return which frozen ones have no job."""
        found = clients(self._new)
        if found is None:
            return [] if self._tells else frozen
        takers = [pid for pid in frozen if self._workers.takes_jobs(pid)]
        others = [pid for pid in frozen if pid not in takers]
        if self._place.is_socket:
            return frozen if self._all_wait(found, len(takers)) else others
        return others + [pid for pid in takers if self._waits(found, pid)]

    def _waits(self, found: List[Client], pid: int) -> bool:
        """Whether a frozen worker has no job. That it has no child must do if Redis cannot tell."""
        own = self._own(found, pid)
        for client in own:
            if client.command == b"blpop":
                waited = self._unblock(client.id)
                if waited or (waited is None and not self._tells):
                    return True
        return not own and not self._tells

    def _all_wait(self, found: List[Client], takers: int) -> bool:
        """Through a socket file no client can be told from another: all have to wait."""
        waiting = waiting_clients(found, self._place.database)
        results = [self._unblock(client.id) for client in waiting]
        return len(waiting) == takers and False not in results

    def _own(self, found: List[Client], pid: int) -> List[Client]:
        ports = self._workers.local_ports(pid)
        return [client for client in found if client.port in ports]

    def _unblock(self, client: int) -> Optional[bool]:
        """Whether that client was waiting; None: this Redis cannot tell."""
        try:
            reply = self._new.redis.command("CLIENT", "UNBLOCK", client)
        except RedisError:
            return None
        return truth(reply, "whether a worker waits")


def _freeze(pids: List[int], workers: Workers, clock: Clock) -> List[int]:
    """Stop workers; return those without a child."""
    workers.send(pids, SIGSTOP)
    stopped = [pid for pid in pids if _has_stopped(pid, workers, clock)]
    busy = workers.with_child(stopped)
    return [pid for pid in stopped if pid not in busy]


def _has_stopped(pid: int, workers: Workers, clock: Clock) -> bool:
    return wait_until(lambda: workers.is_stopped(pid), _FROZEN_WITHIN, 0.001, clock)
