"""The old workers' end, without cutting a job, and their return.

QUIT lets a worker finish its job; TERM, which `systemctl stop` sends to a unit without ExecStop,
kills the job. Restart=always would start them again, so a drop-in in /run (gone at a reboot, like
the rest of a half-done stop) takes the unit's reflexes away first.

Redis is not asked here: what waits there, its conversion and what dead workers left are given as
functions.
"""

import os
from typing import Callable, Dict, List

from tasks.host import launchers, old_workers, originals, systemd
from tasks.host.errors import DrainLimitError, HostError, RefusedError
from tasks.host.gate import WebUser
from tasks.host.parts import Unit
from tasks.host.processes import Process, Table
from tasks.host.site import Site
from tasks.host.waiting import wait_until

_RUNS = ("active", "activating", "reloading")
_LINK = "link "  # in the record, before a file elsewhere that `systemctl link` had made a unit
_CAUSES = (
    "If that comes again and again, something enqueues there by settings from before: a PHP of the "
    "web tier with a cached config.php, another host's MISP on the same Redis, or a cake command "
    "that ran all along"
)


def retire(
    site: Site,
    user: WebUser,
    work_left: Callable[[], str],
    convert: Callable[[], None],
    forget: Callable[[], None],
) -> None:
    """Have no old worker live, and nothing that starts one.

    Args:
        work_left: what the old backend still has to do, in words; empty: nothing. A HostError
            says that it cannot be asked, which is no reason to call it done.
        convert: makes new jobs of what waits; called with `leftovers` "convert" alone.
        forget: removes what the old workers left in Redis.

    Raises:
        RefusedError: something is in the way; nothing was stopped.
        DrainLimitError: there is work on the old backend, or a job runs for too long.
    """
    _check(site, user, work_left)
    units = systemd.show(old_workers.unit_names(site))
    in_use = [unit for unit in units if _is_in_use(unit)]
    _record(site, user, units, in_use)
    for unit in units:
        systemd.hold_unit(unit.name)
    systemd.reload_daemon()
    launchers.take_out(site, user)
    _quit(site, user)
    reason = _settle(site, work_left, convert)
    if reason:
        _start_again(site, user, units, in_use)
        raise DrainLimitError(
            "the old workers were started again, since the old backend has work, or does not "
            "answer: %s. Run again to wait for it" % reason
        )
    _stop(units)
    forget()


def _check(site: Site, user: WebUser, work_left: Callable[[], str]) -> None:
    hidden = old_workers.hidden(user)
    if hidden:
        raise RefusedError(
            "root may not look at these processes, which may be old workers: %s. Run this where "
            "root may (in a container: with SYS_PTRACE)" % _numbers(hidden)
        )
    reason = _asked(work_left)
    if reason:
        raise DrainLimitError(
            "the old backend has work again, or does not answer: %s. Nothing was stopped; run "
            "again to wait for it" % reason
        )
    workers = old_workers.processes(site, user)
    roots = [one.pid for one in workers if one.uid == 0]
    if roots:
        raise RefusedError(
            "root runs old workers (%s), and MISP's code must not have root's rights: end them "
            "(kill -QUIT, which waits for their jobs), and run again" % _numbers(roots)
        )
    strangers = _strangers(workers, old_workers.unit_names(site))
    for unit in sorted(strangers):
        raise RefusedError(
            "%s also runs PHP processes that are no workers as CakeResque starts them (php "
            "./bin/resque): %s. They would live on, so nothing was stopped: see what they are, end "
            "them, and run again" % (unit, _numbers(strangers[unit]))
        )
    for unfit in old_workers.unfit_units(site):
        raise RefusedError(
            "the old workers' unit %s is in a file that root does not trust (%s): put a copy of it "
            "in /etc/systemd/system in its place, and run again" % unfit
        )
    launchers.check(site, user)


def _numbers(pids: List[int]) -> str:
    return ", ".join(map(str, sorted(pids)))


def _asked(work_left: Callable[[], str]) -> str:
    try:
        left = work_left()
    except HostError as error:
        return str(error)
    return "%s. %s" % (left, _CAUSES) if left else ""


def _strangers(workers: List[Process], units: List[str]) -> Dict[str, List[int]]:
    """PHP processes in the old workers' units that are no workers and have not just ended."""
    known = {one.pid for one in workers}
    found: Dict[str, List[int]] = {}
    for one in Table():
        if not one.name.startswith("php") or one.pid in known or not one.argv:
            continue
        if one.unit in units and not one.is_in_a_container and one.is_alive:
            found.setdefault(one.unit, []).append(one.pid)
    return found


def _is_in_use(unit: Unit) -> bool:
    """Whether it runs or starts at boot. What has no file cannot be started again."""
    if unit.enabled == systemd.TRANSIENT:
        return False
    return unit.active in _RUNS or unit.enabled.startswith(("enabled", "linked"))


def _record(site: Site, user: WebUser, units: List[Unit], in_use: List[Unit]) -> None:
    """The way back, on disk before anything changes."""
    originals.keep_units(
        site, [unit.name for unit in units if unit.enabled != systemd.TRANSIENT and unit.is_there]
    )
    for unit in in_use:
        link = "/etc/systemd/system/" + unit.name
        if unit.enabled.startswith("linked") and os.path.islink(link):
            originals.add_launcher(site, _LINK + os.readlink(link))
    if not in_use and old_workers.processes(site, user):
        originals.add_launcher(site, launchers.RAN)


def _quit(site: Site, user: WebUser) -> None:
    left = old_workers.quit_all(site, user, site.drain_timeout)
    if left:
        raise DrainLimitError(
            "drain limit of %d s reached, old workers still run: %s. They leave after their job; "
            "run again then" % (site.drain_timeout, "; ".join(map(_described, left)))
        )


def _described(worker: Process) -> str:
    return "%d (%s)" % (worker.pid, ", ".join(old_workers.queues_of(worker)))


def _settle(site: Site, work_left: Callable[[], str], convert: Callable[[], None]) -> str:
    """Why the old workers have to come back, empty if not: they leave nothing behind."""
    reason = _asked(work_left)
    if reason and site.leftovers == "convert":
        try:
            convert()
        except HostError as error:
            return "%s" % error
        reason = _asked(work_left)
    return reason


def _start_again(site: Site, user: WebUser, units: List[Unit], in_use: List[Unit]) -> None:
    """What ran before, or does at boot."""
    _let_go(units)
    for unit in in_use:
        systemd.restart(unit.name)  # one that remains after exit does nothing on a start
    launchers.put_back(site)
    _run_by_hand(site, user)


def _let_go(units: List[Unit]) -> None:
    for unit in units:
        systemd.let_unit_go(unit.name)
    systemd.reload_daemon()


def _stop(units: List[Unit]) -> None:
    for unit in units:
        if unit.is_there:
            systemd.stop(unit.name)
            systemd.disable(unit)
            systemd.reset_failed(unit.name)
    _let_go(units)  # which makes systemd see what `disable` did


def _run_by_hand(site: Site, user: WebUser) -> None:
    if launchers.RAN in originals.launchers(site) and not old_workers.processes(site, user):
        old_workers.start_by_hand(site, user)


def start_old_workers(site: Site, user: WebUser) -> None:
    """Have the old workers live, and start at boot, as before the migration.

    Raises:
        HostError: a unit could not be started, or no old worker lives.
    """
    _let_go(systemd.show(old_workers.unit_names(site)))
    recorded = [unit for unit in originals.units(site) if unit.name != site.unit]
    for text in originals.launchers(site):
        if text.startswith(_LINK):
            systemd.enable(text[len(_LINK) :])
    for unit in recorded:
        if unit.enabled == "enabled-runtime":
            systemd.enable("--runtime", unit.name)
        elif unit.enabled.startswith("enabled"):
            systemd.enable(unit.name)
    launchers.put_back(site)
    running = [unit for unit in recorded if unit.active in _RUNS]
    for unit in running:
        systemd.start(unit.name)
    _run_by_hand(site, user)
    if running and not wait_until(lambda: bool(old_workers.processes(site, user)), 30.0):
        raise HostError(
            "%s was started, but no old worker lives after 30 s: see journalctl -u %s"
            % (running[0].name, running[0].name)
        )
