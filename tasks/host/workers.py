"""MISP's workers under supervisord: the group's file, starting, stopping without cutting a job."""

import os
import signal
from typing import Dict, List, Optional

from tasks.host import files, idle, moves, originals, stopping
from tasks.host.daemon import Daemon
from tasks.host.errors import DrainLimitError, HostError, RefusedError
from tasks.host.gate import WebUser
from tasks.host.idle import Where
from tasks.host.misp import Misp
from tasks.host.parts import Supervisor, Workers
from tasks.host.processes import Process, Table, now_ticks, ticks_per_second
from tasks.host.processes import Workers as Processes
from tasks.host.redis import RedisGoneError
from tasks.host.site import GROUP, Desired, Site
from tasks.host.supervisor import FaultyFilesError, Supervisord
from tasks.host.supervisor_access import connected
from tasks.host.waiting import wait_until

_STABLE_WITHIN = 90.0


class WorkersError(HostError):
    """The workers do not run as they should."""


def look(site: Site, user: Optional[WebUser], supervisor: Supervisor, table: Table) -> Workers:
    """The group's file, what supervisord has of it, and workers with a job."""
    is_ours = files.mode_of(site.group_file) == "0:0 644"
    log_dir = "0:%d 750" % user.gid if user else ""
    with_child = {one.parent for one in table}
    group = [one for one in supervisor.workers if one.group == GROUP]
    return Workers(
        files.digest(site.group_file) if is_ours else "",
        files.mode_of(site.log_dir) == log_dir,
        files.first_line(site.state_dir + "/workers-applied"),
        [one.pid for one in strays(site, user, table)] if user else [],
        [one.name for one in group if one.pid and one.pid in with_child],
    )


def apply(site: Site, desired: Desired, text: str) -> List[str]:
    """Have the group's file, and a supervisord that has loaded it and starts the workers.

    Whether they stay is for the proof to say.
    """
    with Misp(site, desired) as one:
        originals.keep(site, site.group_file)
        files.make_folder(site.log_dir, 0o750, one.user.gid)
        previous = files.read(site.group_file)
        files.write(site.group_file, text.encode(), 0o644)
        daemon = connected(site)
        # `update` restarts the whole group when any program of it changed, so that is asked first.
        try:
            changes = daemon.reread()
        except FaultyFilesError as error:
            _put_back(site, previous)
            raise RefusedError(
                "supervisord refuses the worker group, so its file is as before: %s" % error
            ) from None
        moves.settle(one)
        if GROUP in changes.changed:
            stop_idle(one)
        daemon.update()
        daemon.start_group()  # `update` leaves a program alone that ended FATAL or STOPPED
        applied = files.digest(site.group_file) + "\n"
        files.write(site.state_dir + "/workers-applied", applied.encode())
        _end_strays(one)
    return []


def _put_back(site: Site, previous: Optional[bytes]) -> None:
    if previous is None:
        files.remove(site.group_file)
    else:
        files.write(site.group_file, previous, 0o644)


class _Group(stopping.Group):
    """The worker group, as supervisord has it."""

    def __init__(self, one: Misp, daemon: Supervisord) -> None:
        self.one = one
        self.daemon = daemon

    def live(self) -> Dict[str, int]:
        states = ("RUNNING", "STARTING", "BACKOFF")
        return {one.name: one.pid for one in self.daemon.group() if one.state in states}

    def stop(self, names: List[str], frozen: List[int]) -> None:
        """A frozen worker has its TERM pending when it is thawed, so it takes no job."""
        self.daemon.send_stop(names)
        _processes(self.one).send(frozen, signal.SIGCONT)
        if not self.daemon.wait_for_stop(names, 30.0):
            raise WorkersError("supervisord could not stop %s" % ", ".join(names))

    def start(self) -> None:
        self.daemon.start_group()

    def jobs(self) -> List[int]:
        return [one.pid for one in jobs(self.one.site, self.one.user, Table())]


def _processes(one: Misp) -> Processes:
    return Processes(one.user, Table().of_users(one.user.uid))


def stop_idle(one: Misp) -> None:
    """Stop all workers, each when it has no job, and wait for jobs whose worker has ended."""
    if not Daemon(one.site.unit).main_pid():
        return
    group = _Group(one, connected(one.site))
    place = one.new_at()
    where = Where(place.is_socket, place.database)
    stopping.stop_idle_workers(
        one.new(), where, group, _processes(one), float(one.site.drain_timeout)
    )


def take_jobs_back(site: Site, desired: Desired) -> List[str]:
    """Undo what a step that was cut off has left: jobs set aside, workers frozen."""
    with Misp(site, desired) as one:
        place = one.new_at()
        where = Where(place.is_socket, place.database)
        problem = idle.freeze_idle(one.new(), where, [], _processes(one)).problem
        pids = [worker.pid for worker in connected(site).group() if worker.pid]
        _processes(one).send(pids, signal.SIGCONT)
    if problem:
        raise WorkersError(problem + ". No job is lost: run again when Redis is well")
    return []


def wait_until_stable(site: Site, seconds: int) -> List[str]:
    """Wait until every worker lives for so long: a crash-looping one never grows old.

    It counts from a process's start, so the seconds until RUNNING (startsecs) count too.
    """
    daemon = connected(site)
    wanted = seconds * ticks_per_second()
    if not wait_until(lambda: _youngest(daemon) >= wanted, _STABLE_WITHIN + seconds):
        states = sorted({"%s %s" % (one.name, one.state) for one in daemon.group()})
        raise WorkersError(
            "the workers do not stay: %s. The ends of their logs: %s"
            % (", ".join(states) or "there are none", log_ends(site))
        )
    return []


def _youngest(daemon: Supervisord) -> int:
    """Age of the youngest worker in ticks; 0 if one is not RUNNING, or there is none."""
    group = daemon.group()
    table = Table()
    found = [table.get(one.pid) for one in group if one.state == "RUNNING"]
    starts = [one.started for one in found if one is not None]
    return now_ticks() - max(starts) if starts and len(starts) == len(group) else 0


def log_ends(site: Site) -> str:
    """The last line of each worker log that says something, for an error's text."""
    ends = []
    for name in sorted(os.listdir(site.log_dir)) if os.path.isdir(site.log_dir) else []:
        with open(site.log_dir + "/" + name, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
            lines = file.read(2000).decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said:
            ends.append("%s: %s" % (name, said[-1][-200:]))
    return " | ".join(ends[:6]) or "empty"


def jobs(site: Site, user: WebUser, table: Table) -> List[Process]:
    """Jobs of the new backend that run: the web user's, in MISP's folder, with the one variable
    that BackgroundJob.php leaves them.
    """
    roots = [site.misp_root, os.path.realpath(site.misp_root)]
    return [
        one
        for one in table.of_users(user.uid)
        if one.is_below(roots) and "BACKGROUND_JOB_ID" in one.environ
    ]


def strays(site: Site, user: WebUser, table: Table) -> List[Process]:
    """Workers of a supervisord that was killed.

    Debian's unit leaves them (KillMode=process): they go on taking jobs, and nobody counts, logs or
    stops them. They belong to PID 1 then, as those of another MISP's supervisord do not.
    """
    roots = [site.misp_root, os.path.realpath(site.misp_root)]
    return [
        one
        for one in table.of_users(user.uid)
        if one.parent == 1
        and ("start_worker" in one.argv or "scheduler_worker" in one.argv)
        and one.is_below(roots)
    ]


def _end_strays(one: Misp) -> None:
    """End each when it has no job."""

    def are_gone() -> bool:
        left = strays(one.site, one.user, Table())
        if left:
            _freeze_and_end(one, [process.pid for process in left])
        return not strays(one.site, one.user, Table())

    if not wait_until(are_gone, one.site.drain_timeout):
        left = [str(process.pid) for process in strays(one.site, one.user, Table())]
        raise DrainLimitError(
            "workers of an earlier supervisord still run a job after %d s: PIDs %s. Run again later"
            % (one.site.drain_timeout, ", ".join(left))
        )


def _freeze_and_end(one: Misp, pids: List[int]) -> None:
    place = one.new_at()
    processes = _processes(one)
    try:
        frozen = idle.freeze_idle(
            one.new(), Where(place.is_socket, place.database), pids, processes
        ).pids
    except RedisGoneError:  # it gives nobody a job
        frozen = idle.freeze_without_redis(pids, processes).pids
    processes.send(frozen, signal.SIGTERM)
    processes.send(frozen, signal.SIGCONT)
