"""Workers of the new backend are ended only while they have no job.

A worker has no signal handler and its job is a child, so a TERM at the wrong moment loses the job.
Each is frozen first, once it is known to be idle, and takes its TERM when it is thawed. EPEL's unit
kills the children of a supervisord that is stopped, so jobs whose worker has ended before them are
waited for as well.
"""

import os
import signal
from contextlib import suppress
from typing import Callable, Dict, List, NamedTuple, Sequence

from tasks.host.daemon import Daemon
from tasks.host.errors import DrainLimitError, HostError
from tasks.host.idle import Frozen, freeze_idle, freeze_without_redis
from tasks.host.misp import Misp
from tasks.host.parts import Worker
from tasks.host.processes import Process, Table, Workers
from tasks.host.redis import RedisError, RedisGoneError
from tasks.host.site import GROUP, Site
from tasks.host.supervisor import NoAnswerError, Supervisord
from tasks.host.supervisor_access import connected_to
from tasks.host.waiting import Clock, wait_until
from tasks.host.web_user import WebUser

# `idle.freeze_idle` with its Redis. Without PIDs it only takes back the jobs that were set aside.
Freeze = Callable[[List[int], Workers], Frozen]

LIVE = ("RUNNING", "STARTING", "BACKOFF")
_STOP = 15.0  # seconds: supervisord's stopwaitsecs, after which it kills, and some more
_PAUSE = 1.0
_COMMANDS = ("start_worker", "scheduler_worker")
_CAKES = ("cake", "cake.php")


class Crew(NamedTuple):
    """MISP's workers, who they work for, and who runs them."""

    site: Site
    web: WebUser
    daemon: Daemon
    freeze: Freeze
    password: str = ""  # of supervisord's RPC; needed only where its socket has a hashed one

    def control(self) -> Supervisord:
        """Supervisord, as root asks it.

        Raises:
            NoAnswerError: it does not run, or does not answer.
        """
        return connected_to(self.daemon, self.site, self.password)


def crew_of(one: Misp, password: str = "") -> Crew:
    """The crew of this host's MISP."""
    return Crew(one.site, one.user, Daemon(one.site.unit), freeze_with(one), password)


def freeze_with(one: Misp) -> Freeze:
    """Freezing by what MISP's own Redis knows."""
    problem = ""  # as of the last time that Redis was there

    def freeze(pids: List[int], workers: Workers) -> Frozen:
        nonlocal problem
        place = one.new_at()
        new = one.at(place)
        try:
            with suppress(RedisError):  # that an ACL forbids the command does not matter
                new.redis.command("PING")
        except RedisGoneError as error:  # it gives nobody a job
            if not pids:
                return Frozen([], "Redis does not answer: %s" % error)
            return freeze_without_redis(pids, workers, Clock())._replace(problem=problem)
        result = freeze_idle(new, place, pids, workers, Clock())
        problem = result.problem
        return result

    return freeze


def jobs(site: Site, web: WebUser, table: Table) -> List[Process]:
    """The new backend's jobs of this MISP; BackgroundJob.php leaves them one variable."""
    below = tuple(root + "/" for root in site.roots)
    return [
        one
        for one in table.of_users(web.uid, 0)
        if (one.cwd + "/").startswith(below) and "BACKGROUND_JOB_ID" in one.environ
    ]


def strays(site: Site, uid: int, table: Table) -> List[Process]:
    """A user's workers of a supervisord that was killed.

    Debian's unit leaves them (KillMode=process): they go on taking jobs, and nobody counts, logs or
    stops them. They belong to PID 1 then, which those of another supervisord do not.
    """
    roots = site.roots
    return [
        one
        for one in table.of_users(uid)
        if one.parent == 1
        and any(word in one.argv for word in _COMMANDS)
        and one.is_below(roots)
        and (one.unit == site.unit or one.environ.get("SUPERVISOR_GROUP_NAME") == GROUP)
    ]


def elsewhere(site: Site, web: WebUser, main_pid: int, table: Table) -> List[Process]:
    """MISP's workers that are neither supervisord's group nor strays, so that nothing stops them.

    Args:
        main_pid: supervisord's.
    """
    roots = site.roots
    known = {one.pid for uid in (web.uid, 0) for one in strays(site, uid, table)}
    found = [
        one
        for one in table.of_users(web.uid, 0)
        if any(word in one.argv for word in _COMMANDS)
        and any(os.path.basename(word) in _CAKES for word in one.argv)
        and one.is_below(roots)
        and not (one.parent == main_pid and one.environ.get("SUPERVISOR_GROUP_NAME") == GROUP)
        and one.pid not in known
    ]
    parents = {one.parent for one in found}  # as a sudo that waits
    return [one for one in found if one.pid not in parents and one.is_alive]


def busy(table: Table, workers: Sequence[Worker]) -> List[str]:
    """Names of the group's workers that run a job: each is a child (BackgroundJob.php)."""
    return [
        one.name
        for one in workers
        if one.group == GROUP and not one.other_misp and one.pid and table.children(one.pid)
    ]


class Group:
    """The group, asked of supervisord each time: what ends is started again meanwhile."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.control = crew.control()

    def live(self) -> Dict[str, int]:
        """PIDs by name; 0 between two attempts to start one, which has no job then."""
        return {one.name: one.pid for one in self.control.group() if one.state in LIVE}

    def freeze(self, pids: List[int]) -> Frozen:
        """As `Freeze`."""
        return self.crew.freeze(pids, self._workers_of(pids))

    def stop(self, names: List[str], frozen: List[int]) -> None:
        """Have workers stopped; a frozen one is thawed when its TERM is pending, and not before."""
        stopped = self.control.send_stop(names)
        self.thaw(frozen)
        if stopped and not self.control.wait_for_stop(stopped, _STOP):
            raise NoAnswerError("supervisord does not stop %s" % ", ".join(stopped))

    def thaw(self, pids: List[int]) -> None:
        """Let workers go on."""
        self._workers_of(pids).send(pids, signal.SIGCONT)

    def _workers_of(self, pids: List[int]) -> Workers:
        table = Table() if pids else None
        found = [table.get(pid) for pid in pids] if table else []
        return Workers(self.crew.web, [one for one in found if one])

    def start(self) -> None:
        """Start what does not run."""
        self.control.start_group()

    def jobs(self) -> List[int]:
        """PIDs of MISP's jobs that run, with or without a worker."""
        return [one.pid for one in jobs(self.crew.site, self.crew.web, Table())]


def stop_idle(crew: Crew, limit: float) -> None:
    """As `stop_group`, where supervisord runs."""
    if crew.daemon.main_pid():
        stop_group(Group(crew), Clock(), limit)


def stop_group(group: Group, clock: Clock, limit: float) -> None:
    """End all workers of the group, each when it has no job, and wait for jobs without a worker.

    Raises:
        DrainLimitError: jobs run on; the workers were started again.
        HostError: supervisord or the web user's processes do not answer; the workers were started
            again. Or all have ended, but Redis does not take back the jobs that were set aside.
    """
    try:
        problem = _stop_all(group, clock, limit)
    except HostError:
        with suppress(HostError):  # the error that led here is the one to be told
            group.start()
            group.freeze([])
        raise
    if problem:
        problem = group.freeze([]).problem
    if problem:
        raise HostError(
            f"{problem}. No job is lost, but run again when Redis is well: the workers are "
            "stopped, and none takes what is set aside"
        )


def _stop_all(group: Group, clock: Clock, limit: float) -> str:
    """Why jobs that were set aside are still there; empty: none is."""
    end = clock.now() + limit
    while True:
        workers = group.live()
        starting = [name for name, pid in workers.items() if pid == 0]
        if starting:  # at once: PHP takes longer to ask for a job, and then it may have one
            group.stop(starting, [])
        result = group.freeze([pid for pid in workers.values() if pid])
        idle = [name for name, pid in workers.items() if pid in result.pids]
        if idle:
            try:
                group.stop(idle, result.pids)
            finally:  # whatever has happened, none stays frozen
                group.thaw(result.pids)
        left = sorted(group.live()) or ["job of PID %d" % pid for pid in group.jobs()]
        if not left:
            return result.problem
        if clock.now() >= end:
            raise DrainLimitError(
                f"drain limit: jobs still run after {limit:.0f} s, so the workers were not "
                f"restarted: {', '.join(left)}. Run again later, or raise drain_timeout"
            )
        if not idle:
            clock.sleep(_PAUSE)


def recover(crew: Crew) -> None:
    """Make good what a step that was cut off has left: jobs set aside, workers frozen."""
    # First, or a thawed worker could find nothing and wait on.
    problem = crew.freeze([], Workers(crew.web, [])).problem
    if problem:
        raise HostError("%s. Run again when Redis is well" % problem)
    if crew.daemon.main_pid():
        thaw_all(Group(crew))


def thaw_all(group: Group) -> None:
    """Let all workers of the group go on."""
    group.thaw([pid for pid in group.live().values() if pid])


def end_strays(crew: Crew, limit: float) -> None:
    """End workers of an earlier supervisord, each when it has no job.

    Raises:
        DrainLimitError: they run on.
    """
    left: List[int] = []

    def is_done() -> bool:
        found = strays(crew.site, crew.web.uid, Table())
        left[:] = [one.pid for one in found]
        if left:
            workers = Workers(crew.web, found)
            frozen = crew.freeze(list(left), workers).pids
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
