"""Workers of the new backend are ended only while they have no job.

A worker has no signal handler and its job is a child, so a TERM at the wrong moment loses the job.
Each is frozen first, once it is known to be idle, and takes its TERM when it is thawed.
"""

import os
import signal
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from tasks.host import stopping
from tasks.host.clock import Clock
from tasks.host.daemon import Daemon
from tasks.host.errors import DrainLimitError, HostError
from tasks.host.idle import Frozen
from tasks.host.misp import Misp
from tasks.host.parts import Worker
from tasks.host.processes import PROC, Process, Table, Workers
from tasks.host.redis import Redis, RedisError, RedisGoneError
from tasks.host.site import GROUP, Site
from tasks.host.supervisor import NoAnswerError, Supervisord
from tasks.host.supervisor_access import connected_to
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser

# `idle.freeze_idle` with its Redis: PIDs in, the frozen ones and why jobs are still aside out.
Freeze = Callable[[List[int], Workers], Tuple[List[int], str]]

LIVE = ("RUNNING", "STARTING", "BACKOFF")
_STOP = 15.0  # seconds: supervisord's stopwaitsecs, after which it kills, and some more
_COMMANDS = ("start_worker", "scheduler_worker")


class Crew(NamedTuple):
    """MISP's workers, who they work for, and who runs them."""

    site: Site
    web: WebUser
    daemon: Daemon
    freeze: Freeze
    password: str = ""  # of supervisord's RPC; needed only where its socket has a hashed one
    proc: str = PROC

    def control(self) -> Supervisord:
        """Supervisord, as root asks it.

        Raises:
            NoAnswerError: it does not run, or does not answer.
        """
        return connected_to(self.daemon, self.site, self.password, self.proc)


def crew_of(one: Misp, password: str = "") -> Crew:
    """The crew of this host's MISP."""
    return Crew(one.site, one.user, Daemon(one.site.unit), freeze_with(one), password)


def freeze_with(one: Misp) -> Freeze:
    """Freezing by what MISP's own Redis knows."""
    from tasks.host import idle

    problem = ""  # as of the last time that Redis was there

    def freeze(pids: List[int], workers: Workers) -> Tuple[List[int], str]:
        nonlocal problem
        processes: Any = workers  # has what idle.Processes has; to inherit it would send more code
        place = one.new_at()
        new = one.new()
        try:
            _ping(new.redis)
        except RedisGoneError as error:  # it gives nobody a job
            if not pids:
                return [], "Redis does not answer: %s" % error
            return idle.freeze_without_redis(pids, processes).pids, problem
        where = idle.Where(place.is_socket, place.database)
        frozen, problem = idle.freeze_idle(new, where, pids, processes)
        return frozen, problem

    return freeze


def _ping(redis: Redis) -> None:
    """Raise RedisGoneError if nobody answers; that an ACL forbids the command does not matter."""
    try:
        redis.command("PING")
    except RedisGoneError:
        raise
    except RedisError:
        pass


def roots(site: Site) -> List[str]:
    """MISP's folder, and the one that it is if that is a link."""
    return sorted({site.misp_root, os.path.realpath(site.misp_root)})


def jobs(site: Site, web: WebUser, table: Table) -> List[Process]:
    """The new backend's jobs of this MISP; BackgroundJob.php leaves them one variable."""
    folders = roots(site)
    return [
        one
        for one in table.of_users(web.uid, 0)
        if (one.cwd + "/").startswith(tuple(root + "/" for root in folders))
        and "BACKGROUND_JOB_ID" in one.environ
    ]


def strays(site: Site, uid: int, table: Table) -> List[Process]:
    """A user's workers of a supervisord that was killed.

    Debian's unit leaves them (KillMode=process): they go on taking jobs, and nobody counts, logs or
    stops them. They belong to PID 1 then, which those of another supervisord do not.
    """
    folders = roots(site)
    return [
        one
        for one in table.of_users(uid)
        if one.parent == 1
        and any(word in one.argv for word in _COMMANDS)
        and one.is_below(folders)
        and (one.unit == site.unit or one.environ.get("SUPERVISOR_GROUP_NAME") == GROUP)
    ]


def busy(table: Table, workers: Sequence[Worker]) -> List[str]:
    """Names of the group's workers that run a job: each is a child (BackgroundJob.php)."""
    return [
        one.name for one in workers if one.group == GROUP and one.pid and table.children(one.pid)
    ]


def stop_idle(crew: Crew, limit: float) -> None:
    """Stop each worker as it becomes idle, then wait for jobs whose worker has ended before them.

    EPEL's unit kills the children of a stopped daemon, so only after that nothing is cut.

    Raises:
        DrainLimitError: jobs run on; the workers run again.
    """
    if not crew.daemon.main_pid():
        return
    stopping.stop_idle_workers(_Group(crew), Clock(), limit)


class _Group(stopping.Group):
    """The group, asked of supervisord each time: what ends is started again meanwhile."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.control = crew.control()

    def live(self) -> Dict[str, int]:
        return {one.name: one.pid for one in self.control.group() if one.state in LIVE}

    def freeze(self, pids: List[int]) -> Frozen:
        frozen, problem = self.crew.freeze(pids, self._workers(pids))
        return Frozen(frozen, problem)

    def stop(self, names: List[str], frozen: List[int]) -> None:
        stopped = self.control.send_stop(names)
        self.thaw(frozen)
        if stopped and not self.control.wait_for_stop(stopped, _STOP):
            raise NoAnswerError("supervisord does not stop %s" % ", ".join(stopped))

    def thaw(self, pids: List[int]) -> None:
        self._workers(pids).send(pids, signal.SIGCONT)

    def _workers(self, pids: List[int]) -> Workers:
        table = Table(self.crew.proc) if pids else None
        found = [table.get(pid) for pid in pids] if table else []
        return Workers(self.crew.web, [one for one in found if one], self.crew.proc)

    def start(self) -> None:
        self.control.start_group()

    def jobs(self) -> List[int]:
        return [one.pid for one in jobs(self.crew.site, self.crew.web, Table(self.crew.proc))]


def take_back(crew: Crew) -> str:
    """Bring jobs that were set aside back to their queues; why that failed, empty: it did not."""
    return crew.freeze([], Workers(crew.web, [], crew.proc))[1]


def recover(crew: Crew) -> None:
    """Make good what a step that was cut off has left: jobs set aside, workers frozen."""
    problem = take_back(crew)
    if problem:
        raise HostError("%s. Run again when Redis is well" % problem)
    if not crew.daemon.main_pid():
        return
    table = Table(crew.proc)
    found = [table.get(one.pid) for one in crew.control().group() if one.pid]
    mine = [one for one in found if one]
    Workers(crew.web, mine, crew.proc).send([one.pid for one in mine], signal.SIGCONT)


def end_strays(crew: Crew, limit: float) -> None:
    """End workers of an earlier supervisord, each when it has no job.

    Raises:
        DrainLimitError: they run on.
    """
    left: List[int] = []

    def is_done() -> bool:
        found = strays(crew.site, crew.web.uid, Table(crew.proc))
        left[:] = [one.pid for one in found]
        if left:
            workers = Workers(crew.web, found, crew.proc)
            frozen, _ = crew.freeze(list(left), workers)
            try:
                workers.send(frozen, signal.SIGTERM)
            finally:
                workers.send(frozen, signal.SIGCONT)
        return not left

    if not wait_until(is_done, limit):
        raise DrainLimitError(
            "drain limit: workers of an earlier supervisord still run a job after %g s: PIDs %s. "
            "Run again later" % (limit, ", ".join(map(str, left)))
        )
