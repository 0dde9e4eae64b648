"""The worker group's file, and a supervisord that has loaded it and starts the workers."""

import hashlib
from typing import Callable, Dict, List, Optional, Sequence

from tasks.host import complaints, drain, files, originals, origins
from tasks.host.daemon import Daemon
from tasks.host.drain import Crew, crew_of
from tasks.host.errors import HostError, RefusedError
from tasks.host.misp import Misp
from tasks.host.parts import Supervisor, Worker, Workers
from tasks.host.processes import PROC, Table, now_ticks, process, ticks_per_second
from tasks.host.site import GROUP, Desired, Site
from tasks.host.supervisor import Changes, FaultyFilesError, Supervisord
from tasks.host.supervisor_access import connected_to
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser

_LIMIT = 90.0  # seconds until workers have to be stable, beyond the time that makes them so


class WorkersError(HostError):
    """The workers do not run as they should."""


def look(site: Site, user: Optional[WebUser], supervisor: Supervisor, table: Table) -> Workers:
    """What there is of the group's file, and of its workers."""
    is_ours = files.mode_of(site.group_file) == "0:0 644"
    return Workers(
        digest=files.digest(site.group_file) if is_ours else "",
        has_log_dir=user is not None and files.mode_of(site.log_dir) == "0:%d 750" % user.gid,
        applied=files.first_line(_applied(site)),
        strays=[one.pid for one in drain.strays(site, user.uid, table)] if user else [],
        root_strays=[one.pid for one in drain.strays(site, 0, table)],
        busy=drain.busy(table, supervisor.workers),
        elsewhere=_elsewhere(site, user, supervisor.unit.main_pid, table) if user else {},
    )


def _elsewhere(site: Site, user: WebUser, main_pid: int, table: Table) -> Dict[str, List[int]]:
    found: Dict[str, List[int]] = {}
    for one in drain.elsewhere(site, user, main_pid, table):
        found.setdefault(origins.of([one], table)[0].words, []).append(one.pid)
    return found


def apply(site: Site, desired: Desired, text: str) -> List[str]:
    """Have the group's file, loaded, and its workers started; the proof says whether they stay.

    Workers that a changed file restarts are stopped when they are idle.

    Raises:
        RefusedError: supervisord refuses the file; it is as before.
        DrainLimitError: jobs run on; the workers do, too.
    """
    from tasks.host import moves

    with Misp(site, desired) as one:
        apply_group(crew_of(one), text, lambda: moves.settle(one))
    return []


def apply_group(crew: Crew, text: str, settle: Callable[[], None]) -> None:
    """As `apply`.

    Args:
        settle: ends what has to have ended before new workers start.
    """
    site = crew.site
    control = crew.control()
    originals.keep(site, site.group_file)
    files.make_folder(site.log_dir, 0o750, crew.web.gid)
    files.exchange(site.group_file, text.encode("utf-8"), _previous(site), 0o644)
    changes = _reread(site, control)
    settle()
    if GROUP in changes.changed:
        drain.stop_idle(crew, site.drain_timeout)
    control.update(GROUP)
    # `update` leaves a program that ended FATAL or STOPPED, and was not changed, as it is.
    control.start_group(GROUP)
    files.write(_applied(site), (hashlib.sha256(text.encode("utf-8")).hexdigest() + "\n").encode())
    files.remove(_previous(site))
    drain.end_strays(crew, site.drain_timeout)


def stop_idle(one: Misp) -> None:
    """Stop all workers, each when it has no job, and wait for jobs whose worker has ended."""
    drain.stop_idle(crew_of(one), one.site.drain_timeout)


def start(one: Misp) -> None:
    """Start the workers that do not run."""
    crew = crew_of(one)
    if crew.daemon.main_pid():
        crew.control().start_group(GROUP)


def take_jobs_back(site: Site, desired: Desired) -> List[str]:
    """Make good what a step that was cut off has left: jobs set aside, workers frozen."""
    with Misp(site, desired) as one:
        drain.recover(crew_of(one))
    return []


def _reread(site: Site, control: Supervisord) -> Changes:
    try:
        return control.reread()
    except HostError as error:
        files.take_back(site.group_file, _previous(site), 0o644)
        if not isinstance(error, FaultyFilesError):
            raise
        raise RefusedError(
            "supervisord refuses the worker group, so its file is as before: %s" % error
        ) from None


def _applied(site: Site) -> str:
    return site.state_dir + "/workers-applied"


def _previous(site: Site) -> str:
    return site.state_dir + "/workers-previous"


def wait_until_running(control: Supervisord, seconds: float = 60.0) -> bool:
    """Wait until every worker of the group runs; whether that came."""
    return wait_until(lambda: {one.state for one in control.group()} == {"RUNNING"}, seconds, 1.0)


def wait_until_stable(site: Site, seconds: int) -> List[str]:
    """Wait until every worker has lived for some seconds.

    One that crashes in a loop shows RUNNING between two deaths, but never grows old. Its age counts
    from its start, so the seconds until supervisord calls it RUNNING count, too.

    Raises:
        WorkersError: they do not stay.
    """
    try:
        control = connected_to(Daemon(site.unit), site)
    except HostError as error:
        raise WorkersError("the workers do not stay: %s" % error) from None
    wanted = seconds * ticks_per_second()
    group: List[Worker] = []
    problem: List[str] = []

    def are_old() -> bool:
        try:
            group[:], problem[:] = control.group(), []
        except HostError as error:  # somebody stops supervisord, or starts it again
            problem[:] = [str(error)]
            return False
        return youngest(group) >= wanted

    if wait_until(are_old, _LIMIT + seconds):
        return []
    raise WorkersError(
        "the workers do not stay: %s" % ("".join(problem) or _restless(site, group, seconds))
    )


def _restless(site: Site, group: Sequence[Worker], seconds: int) -> str:
    """Which workers do not stay, by their states, and what their logs say of it."""
    bad = [one for one in group if one.state != "RUNNING"]
    states: Dict[str, List[str]] = {}
    for one in bad or [one for one in group if youngest([one]) < seconds * ticks_per_second()]:
        note = one.note if one.state in ("FATAL", "BACKOFF") else ""  # others have a moment there
        state = "%s (%s)" % (one.state, note) if note else one.state
        if one.state == "RUNNING":
            state = "restarted within %d s" % seconds
        states.setdefault(state, []).append(one.name.partition(":")[2])
    if not states:
        return "supervisord has none"
    names = [name for some in states.values() for name in some]
    shown = ["%s %s" % (complaints.listed(some), state) for state, some in states.items()]
    return "; ".join(shown) + complaints.of_logs(site, names)


def youngest(group: Sequence[Worker], proc: str = PROC) -> float:
    """Age in ticks of the youngest worker; -1 without any, or if one does not run."""
    found = [process(proc, one.pid) if one.state == "RUNNING" else None for one in group]
    known = [one.started for one in found if one is not None]
    return now_ticks() - max(known) if known and len(known) == len(group) else -1
