"""The worker group's file, and a supervisord that has loaded it and starts the workers."""

import hashlib
from typing import List, Sequence

from tasks.host import drain, files, originals
from tasks.host.drain import Crew
from tasks.host.errors import HostError, RefusedError
from tasks.host.gate import WebUser
from tasks.host.parts import Worker, Workers
from tasks.host.processes import Table, now_ticks, process, ticks_per_second
from tasks.host.site import GROUP, Site
from tasks.host.supervisor import Changes, FaultyFilesError, Supervisord
from tasks.host.waiting import wait_until

_LIMIT = 90.0  # seconds until workers have to be stable
_TAIL = 300  # bytes of a log, for an error's text


def look(site: Site, web: WebUser, table: Table, workers: Sequence[Worker]) -> Workers:
    """What there is of the group's file, and of its workers.

    Args:
        workers: what supervisord runs.
    """
    is_ours = files.mode_of(site.group_file) == "0:0 644"
    return Workers(
        digest=files.digest(site.group_file) if is_ours else "",
        has_log_dir=files.mode_of(site.log_dir) == "0:%d 750" % web.gid,
        applied=files.first_line(_applied(site)),
        strays=[one.pid for one in drain.strays(site, web, table)],
        busy=drain.busy(table, workers),
    )


def apply(crew: Crew, text: str, limit: float) -> None:
    """Have the group's file, loaded, and its workers started; the proof says whether they stay.

    Workers that a changed file restarts are stopped when they are idle.

    Args:
        limit: seconds for their jobs to end.

    Raises:
        RefusedError: supervisord refuses the file; it is as before.
        DrainLimitError: jobs run on; the workers do, too.
    """
    site = crew.site
    control = crew.control()
    originals.keep(site, site.group_file)
    files.make_folder(site.log_dir, 0o750, crew.web.gid)
    _write(site, text)
    changes = _reread(site, control)
    if GROUP in changes.changed:
        drain.stop_idle(crew, limit)
    control.update(GROUP)
    # `update` leaves a program that ended FATAL or STOPPED, and was not changed, as it is.
    control.start_group(GROUP)
    files.write(_applied(site), (hashlib.sha256(text.encode("utf-8")).hexdigest() + "\n").encode())
    files.remove(_previous(site))
    drain.end_strays(crew, limit)


def _write(site: Site, text: str) -> None:
    before = files.read(files.real_path(site.group_file))
    # A run that was cut off has left what was before, which counts.
    if before is not None and files.read(_previous(site)) is None:
        files.write(_previous(site), before)
    files.write(site.group_file, text.encode("utf-8"), 0o644)


def _reread(site: Site, control: Supervisord) -> Changes:
    try:
        return control.reread()
    except HostError as error:
        before = files.read(_previous(site))
        if before is None:
            files.remove(files.real_path(site.group_file))
        else:
            files.write(site.group_file, before, 0o644)
            files.remove(_previous(site))
        if not isinstance(error, FaultyFilesError):
            raise
        raise RefusedError(
            "supervisord refuses the worker group, so its file is as before: %s" % error
        ) from None


def _applied(site: Site) -> str:
    return site.state_dir + "/workers-applied"


def _previous(site: Site) -> str:
    return site.state_dir + "/workers-previous"


def wait_until_running(crew: Crew, seconds: float = 60.0) -> bool:
    """Wait until every worker of the group runs; whether that came."""
    control = crew.control()
    return wait_until(lambda: {one.state for one in control.group()} == {"RUNNING"}, seconds, 1.0)


def wait_until_stable(crew: Crew, seconds: float, limit: float = _LIMIT) -> None:
    """Wait until every worker has lived for some seconds.

    One that crashes in a loop shows RUNNING between two deaths, but never grows old. Its age counts
    from its start, so the seconds until supervisord calls it RUNNING count, too.

    Raises:
        HostError: they do not stay.
    """
    control = crew.control()
    wanted = seconds * ticks_per_second()
    if wait_until(lambda: youngest(control.group(), crew.proc) >= wanted, limit):
        return
    group = control.group()
    bad = ["%s is %s %s" % (one.name, one.state, one.note) for one in group]
    raise HostError(
        "the workers do not stay: %s. The ends of their logs: %s"
        % ("; ".join(bad) or "supervisord has no group " + GROUP, " / ".join(_tails(crew, group)))
    )


def youngest(group: Sequence[Worker], proc: str) -> float:
    """Age in ticks of the youngest worker; -1 without any, or if one does not run."""
    found = [process(proc, one.pid) if one.state == "RUNNING" else None for one in group]
    known = [one.started for one in found if one is not None]
    return now_ticks() - max(known) if known and len(known) == len(group) else -1


def _tails(crew: Crew, group: Sequence[Worker]) -> List[str]:
    """The last that workers have printed which do not run, as far as that is known."""
    tails = []
    for one in group[:20]:
        path = "%s/%s.log" % (crew.site.log_dir, one.name.partition(":")[2])
        try:
            data = files.read(path, 1 << 24) or b""
        except HostError:
            continue
        text = " ".join(data[-_TAIL:].decode("utf-8", "replace").split())
        text = "".join(letter if letter.isprintable() else "?" for letter in text)
        if text and text not in tails:
            tails.append(text)
    return tails[:5]
