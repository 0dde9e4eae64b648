"""The way back, in pieces: each may be repeated, and does nothing where nothing is left to do."""

import os
from typing import List

from tasks.host import (
    files,
    healthcheck,
    launchers,
    libraries,
    log_folders,
    moves,
    old_workers,
    old_workers_back,
    originals,
    scheduled_tasks,
    selinux,
    settings,
    supervisor_access,
    systemd,
    web,
    workers,
)
from tasks.host.daemon import Daemon
from tasks.host.done import Done
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.site import GROUP, Desired, Site

RETURNED = "the host is as it was before: MISP queues to its old workers (installed packages stay)"
RETURNED_IN_PART = "MISP queues to its old workers again, and the rest is as it was before"
STAYED = "no old worker lives to go back to, so the new backend stays as it is"


class RollbackError(HostError):
    """The way back did not get on; the text says what runs now."""


def disable_backend(site: Site, desired: Desired) -> List[str]:
    """Turn MISP's new backend off, and have its old workers run.

    One call, as nobody takes jobs meanwhile. The new workers stop before: each of their jobs is a
    process that reads the settings anew, and one whose input is in Redis (enqueueDataFile) finds
    nothing there once the backend is off. The old ones start behind: they keep the settings that
    they start with.
    """
    with Misp(site, desired) as one:
        messages = _turn_off(one)
        try:
            web.reload(one.site, one.user)
        finally:  # or nobody would do jobs
            old_workers_back.start_old_workers(site, one.user)
    return messages


def _turn_off(one: Misp) -> List[str]:
    if not one.stored().is_on:
        return settings.disable(one)
    one.remember_new()
    workers.stop_idle(one)
    try:
        return settings.disable(one)
    except HostError as error:
        raise RollbackError("%s. %s" % (error, _started_again(one))) from None


def _started_again(one: Misp) -> str:
    """Have somebody do jobs although MISP's settings could not be put back."""
    try:
        one.forget()
        if not one.stored().is_on:
            return "MISP uses its old backend; run again to go on"
        workers.start(one)
    except HostError as error:
        return "The new workers are stopped, and could not be started again: %s" % error
    return "MISP still uses the new backend, and its workers were started again"


def start_old_workers(site: Site, desired: Desired) -> List[str]:
    """Start the old workers, as they were started before the migration."""
    with Misp(site, desired) as one:
        old_workers_back.start_old_workers(site, one.user)
    return []


def move_back(site: Site, desired: Desired) -> Done:
    """Stop the new workers, and give the old ones what they did not get to."""
    with Misp(site, desired) as one:
        lines = _remove_workers(one)
        back = moves.move_back(one)
        lines += [*back.lines, *scheduled_tasks.give_back(one)]
    return back._replace(lines=lines)


def put_back(site: Site, desired: Desired) -> List[str]:
    """Put everything else back as it was, and then nothing that speaks of a migration."""
    with Misp(site, desired) as one:
        messages: List[str] = []
        if settings.is_unfinished(one):  # a run was cut off amid the settings
            messages += settings.disable(one)
            web.reload(site, one.user)
        messages += libraries.restore(one)
        # After app/Vendor is whole: its restart may start old workers, which run from there.
        messages += _restore_supervisor(one)
        log_folders.restore(site, Daemon(site.unit))
        selinux.undo(site, one.user)
        messages += forget(site)
    return messages


def automatic(site: Site, desired: Desired) -> Done:
    """After a failed proof: the host as it was, with its old workers, if these still live.

    Where they were retired before, the new backend is all there is, so it stays.
    """
    with Misp(site, desired) as one:
        alive = old_workers.processes(site, one.user)
        if not alive or not os.path.isdir(originals.folder(site)):
            return Done([STAYED])
        launchers.put_back(site)  # a run may have been cut off while it took them out of use
        unlike = _turn_off(one)
        web.reload(one.site, one.user)
        unlike += _remove_workers(one)
        back = moves.move_back(one)
        moved = [*back.lines, *scheduled_tasks.give_back(one)]
        unlike += _restore_supervisor(one)
        log_folders.restore(site, Daemon(site.unit))
        unlike += libraries.restore(one)
        selinux.undo(site, one.user)
        unlike += _differing(one)
        unlike += forget(site)
    return back._replace(lines=[*moved, *unlike, RETURNED_IN_PART if unlike else RETURNED])


def _differing(one: Misp) -> List[str]:
    """What of MISP's own files is not as it was, as far as the migration may have touched it."""
    site = one.site
    paths = [site.config_php, *(site.app + "/" + name for name in libraries.NAMES)]
    return [
        "%s is not exactly as it was before (an owner, a mode or its content)" % path
        for path in paths
        if originals.is_kept(site, path)
        and not originals.is_as_it_was(site, path, one.status_of(path)[1])
    ]


def _remove_workers(one: Misp) -> List[str]:
    site = one.site
    if not originals.is_kept(site, site.group_file):
        return []
    messages: List[str] = []
    workers.stop_idle(one)
    known = originals.kept(site, site.group_file)
    if known is not None and known.existed and not one.stored().is_on:
        messages.append(_set_group_aside(site))
    else:
        originals.restore(site, site.group_file)
    if systemd.is_active(site.unit):
        supervisor_access.connected_to(Daemon(site.unit), site).update()
    files.remove(site.proven_file)
    for name in ("workers-applied", "workers-previous"):
        files.remove(site.state_dir + "/" + name)
    return messages


def _set_group_aside(site: Site) -> str:
    """A group from before the migration: with the new backend off its workers crash endlessly."""
    aside = site.group_aside
    data = files.read(originals.saved(site, site.group_file)) or b""
    files.write(aside, data, 0o644)
    files.remove(site.group_file)
    return (
        "the worker group from before the migration is in %s: without the new backend its workers "
        "cannot run" % aside
    )


def _restore_supervisor(one: Misp) -> List[str]:
    site = one.site
    was_kept = originals.is_kept(site, site.rpc_file)
    originals.restore(site, site.rpc_file)
    before = [unit for unit in originals.units(site) if unit.name == site.unit]
    if not before:
        return []
    messages: List[str] = []
    if before[0].active == "active":
        if was_kept:  # without a file of ours it never had to read anything anew
            Daemon(site.unit).restart()
    else:
        others = _programs_of_others(site)
        if others:  # which somebody has put there since
            return [
                "%s goes on, since it also runs %s: its RPC ends when it is restarted"
                % (site.supervisor_unit, ", ".join(others))
            ]
        systemd.stop(site.unit)
    if before[0].enabled != "enabled":
        now = systemd.show([site.unit])[0]
        systemd.disable(now)
    return messages


def _programs_of_others(site: Site) -> List[str]:
    if not systemd.is_active(site.unit):
        return []
    status = supervisor_access.connected_to(Daemon(site.unit), site).status()
    states = ("RUNNING", "STARTING", "BACKOFF")
    return [one.name for one in status if one.group != GROUP and one.state in states]


def forget(site: Site) -> List[str]:
    """Leave nothing that speaks of a migration. Returns what stays all the same, and why."""
    if os.path.isdir(site.include_dir):
        files.drop_unfinished(files.real_path(site.include_dir))
    stays = healthcheck.remove(site)
    originals.forget(site)
    return stays
