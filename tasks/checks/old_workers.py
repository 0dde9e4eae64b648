"""Whether the old workers can be stopped for good, and started again by the way back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from tasks.backlog import Look, left_behind, nobody_there
from tasks.checks import supervisor
from tasks.checks.seen import Seen, SeenForStatus, SeenToMigrate
from tasks.host.parts import Origin
from tasks.host.remedies import as_web_user, start_old_workers
from tasks.report.events import program
from tasks.target import Target

_LIVING = ("active", "activating", "reloading")
_CONFIG = "app/Plugin/CakeResque/Config/config.php"
# Units of a shell in which somebody ran start.sh by hand.
_BY_HAND = r"(sshd?|sshd?@.*|user@.*|crond?|atd|rc-local|.*getty@.*)\.service"

SeenType = TypeVar("SeenType", bound=Seen)


def check(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Check everything about the old workers."""
    yield from _launchers(target, seen)
    yield from programs(target, seen)
    yield from _processes(target, seen)


def programs(target: Target, seen: Seen) -> Iterator[str]:
    """Name each supervisord that runs the old workers: the operator takes them out of it.

    One sentence for each, with everything that there is to do. A restart of supervisord would cut
    their jobs, and what it has started is not told from what it will start again.
    """
    old, unit = seen.old_workers, target.site().unit
    for name, file in _old_programs(seen):
        yield (
            f"supervisord's program {name} in {file} runs the old workers: while no job runs, take "
            f"[program:{name}] out of that file and run `supervisorctl update`. "
            f"{_start_by_hand(target)}"
        )
    if unit in old.started_in and not old.programs:
        yield (
            f"old workers run in {unit}, where a program of supervisord's has started them: run "
            "`supervisorctl update`, so that it forgets a program that is in no file any more. "
            f"{_start_by_hand(target)}. If one stays there, end it by kill -QUIT ({_pids(seen)})"
        )
    for origin in old.origins:
        if not origin.supervisord or origin.unit == unit:
            continue
        if origin.supervisord_user:  # root runs nothing by the files of such a one
            yield (
                f"a supervisord of {origin.supervisord_user}'s ({origin.supervisord}) runs old "
                f"workers, in {origin.words}: while no job runs, stop it as that user, and have "
                f"nothing start it any more. {_start_by_hand(target)}"
            )
        else:
            yield (
                f"another supervisord ({origin.supervisord}) runs old workers, in {origin.words}: "
                "while no job runs, take their program out of its files and run `supervisorctl "
                f"update` with -c and its main file. {_start_by_hand(target)}"
            )


def _start_by_hand(target: Target) -> str:
    return (
        f"Then start them by {starts(target)}, which first has those that live on end after their "
        "jobs, and run again"
    )


def starts(target: Target) -> str:
    """Return the command that starts the old workers."""
    return f"`{start_old_workers(target.settings.misp_root, target.web_user)}`"


def look(target: Target, seen: Seen) -> Look:
    """Return the old backend with what its sentences need."""
    workers = seen.old_workers
    queues = [one.queues for one in workers.processes]
    root, user = target.settings.misp_root, target.web_user
    converts = target.settings.on_leftover_jobs == "convert"
    return Look(seen.old_backend, queues, workers.live, 0.0, root, user, converts)


def _pids(seen: Seen) -> str:
    """Return the workers' PIDs, without the forks that run a job and end with it."""
    processes = seen.old_workers.processes
    pids = {one.pid for one in processes}
    return _numbers([one.pid for one in processes if one.parent not in pids])


def without_programs(seen: SeenType) -> SeenType:
    """Return `seen` with a supervisord that does not have the old workers' programs.

    They may be called as MISP's group is, and other sentences would have other remedies for that.
    """
    found = _old_programs(seen)
    if not found:
        return seen
    names, files = {name for name, _ in found}, {file for _, file in found}
    supervisor = seen.supervisor
    sections = {f"[{kind}:{name}]" for name in names for kind in ("program", "fcgi-program")}
    is_in_group_file = any(section in sections for section in supervisor.group_extra)
    elsewhere = supervisor.group_elsewhere
    kept = supervisor._replace(
        group_elsewhere={file: elsewhere[file] for file in elsewhere if file not in files},
        group_extra=[one for one in supervisor.group_extra if one not in sections],
        group_root="" if is_in_group_file else supervisor.group_root,
        workers=[one for one in supervisor.workers if one.name.rpartition(":")[2] not in names],
    )
    return replace(seen, supervisor=kept)


def _old_programs(seen: Seen) -> list[tuple[str, str]]:
    """Return name and file of supervisord's programs that start old workers."""
    pairs = (program.rpartition(" in /") for program in seen.old_workers.programs)
    return [(name, f"/{file}") for name, _, file in pairs]


def faults(target: Target, seen: SeenForStatus) -> Iterator[str]:
    """Return what is wrong with the old workers of a host that no run is at work on."""
    old, backend = seen.old_workers, seen.old_backend
    if not seen.settings.is_on:
        yield from _old_backend_alone(target, seen)
        return
    supervised = list(programs(target, seen))
    yield from supervised
    units = [unit.name for unit in old.units if unit.active in _LIVING or unit.starts_at_boot]
    back = [*units, *(launcher.path for launcher in old.launchers)]
    alive = len(old.processes)
    if back or (alive and not supervised):
        what = f"{alive} old worker process(es) run" if alive else "the old workers are stopped"
        how = f", and {', '.join(back)} can start them again" if back else ""
        again = ""
        if alive and not back and (where := " and ".join(one.words for one in old.origins)):
            how = f", in {where}"
            again = f". If they come back, look what starts them in {where} and take it out"
        yield f"{what}{how}: run the deploy again, which drains and retires them{again}"
        yield from _stuck(target, seen)
    if problem := left_behind(backend, converts=target.settings.on_leftover_jobs == "convert"):
        if not seen.new_backend.error:  # of the same Redis, as a rule
            yield problem
    elif not (back or alive) and (left := backend.convertible):
        yield (
            f"{left} job(s) wait in the old backend, and no worker does them: run "
            f"{program('rollback')}, which takes the old workers back, or start them by "
            f"{starts(target)} and run the deploy again"
        )


def _old_backend_alone(target: Target, seen: SeenForStatus) -> Iterator[str]:
    if seen.tree.error or seen.tree.config_mode < 0 or seen.settings.error:
        return  # there is a sentence already: it is not known which backend MISP uses
    if seen.old_backend.error:  # without it old workers end
        yield (
            f"the old workers' Redis cannot be asked: {seen.old_backend.error}. Start it, or "
            "correct app/Plugin/CakeResque/Config/config.php"
        )
    elif not seen.old_workers.processes:
        yield (
            "MISP uses its old backend, but no old worker runs, so no job is done: start the old "
            f"workers (their unit, or {starts(target)}), or run {program('deploy')}"
        )
    else:
        yield from _stuck(target, seen)


def _stuck(target: Target, seen: SeenForStatus) -> Iterator[str]:
    at = look(target, seen)
    if at.workers and (problem := nobody_there(at)):
        yield f"the old backend has {seen.old_backend.backlog}, and {problem}"


def _launchers(target: Target, seen: Seen) -> Iterator[str]:
    for launcher in seen.old_workers.launchers:
        if launcher.unfit:
            yield (
                f"{launcher.path} also starts the old workers, and this deploy cannot take that "
                f"out ({launcher.unfit}): take it out by hand, so that they do not come back. A "
                "running worker goes on"
            )
    named = target.settings.legacy_service
    service = f"{named.removesuffix('.service')}.service" if named else ""
    if service == target.site().unit:
        yield "legacy_service is supervisord's own unit, which the new workers need: leave it out"
    elif any(unit.name == service and not unit.is_there for unit in seen.old_workers.units):
        yield f"there is no unit {service}: correct legacy_service, or leave it out"


def _processes(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    old, backend = seen.old_workers, seen.old_backend
    yield from _users_units(target, seen)
    if unknown := _unknown_units(target, seen):
        yield (
            f"old workers run in {', '.join(unknown)}, which does not start them by a command of "
            "MISP's: name it with legacy_service, so that this deploy can stop and restore them"
        )
    if roots := [worker.pid for worker in old.processes if worker.uid == 0]:
        yield (
            f"root runs old workers ({_numbers(roots)}), and MISP's code must not have root's "
            "rights: end them (kill -QUIT, which waits for their jobs), and run again"
        )
    yield from supervisor.root_strays(seen.workers)
    if not (seen.supervisor.other_daemon or seen.supervisor.group_elsewhere):  # which say it too
        yield from supervisor.elsewhere(seen.workers)
    if old.hidden:
        yield (
            f"processes {_numbers(old.hidden)} look like old workers, but root may not "
            f"read /proc/{old.hidden[0]}/cwd to tell whose they are: give root the capability "
            "SYS_PTRACE on this system"
        )
    config = f"{target.settings.misp_root}/{_CONFIG}"
    if old.processes and not backend.is_installed:
        yield (
            f"old workers run, but {config} is missing, which says in which Redis their jobs are: "
            "put it back with that Redis in it (MISP has one in INSTALL/setup/config.php)"
        )
    elif problem := left_behind(backend):
        is_moved = target.settings.on_leftover_jobs == "convert" and not backend.error
        if not (is_moved or seen.settings.error or seen.new_backend.error):
            yield problem
    elif old.processes and backend.error and any(seen.php.version):  # else it is PHP's
        yield (
            f"the old workers' Redis does not say how many jobs wait: {backend.error}. Start it, "
            f"or correct {config}"
        )


def _users_units(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    for origin in seen.old_workers.origins:
        if origin.user and origin.unit.endswith(".service"):
            yield (
                f"old workers run in {origin.words}, which this deploy leaves alone: while no job "
                f"runs, run `{_user_systemctl(origin)}`, and the same for a timer of its. "
                f"{_start_by_hand(target)}"
            )


def _user_systemctl(origin: Origin) -> str:
    """Return the command that ends a unit of a user's own systemd, which is not the host's."""
    script = 'XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user disable --now -- "$1"'
    return as_web_user(origin.user, "sh", "-c", script, "sh", origin.unit)


def _unknown_units(target: Target, seen: SeenToMigrate) -> list[str]:
    """Return units with old workers that may start them again in a way that is not known here.

    A unit of the web tier is known: MISP's page starts old workers there.
    """
    known = {unit.name for unit in seen.old_workers.units}
    known.update(seen.web.units, {target.site().unit})
    known.update(origin.unit for origin in seen.old_workers.origins if origin.supervisord)
    return [
        unit
        for unit in seen.old_workers.started_in
        if unit not in known and not re.fullmatch(_BY_HAND, unit)
    ]


def _numbers(pids: list[int]) -> str:
    return ", ".join(map(str, pids))
