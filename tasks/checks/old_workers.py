"""Whether the old workers can be stopped for good, and started again by the way back."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.backlog import left_behind
from tasks.checks.seen import Seen, SeenToMigrate
from tasks.target import Target

_CONFIG = "app/Plugin/CakeResque/Config/config.php"
# Units of a shell in which somebody ran start.sh by hand.
_BY_HAND = r"(sshd?|sshd?@.*|user@.*|crond?|atd|rc-local|.*getty@.*)\.service"


def check(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Check everything about the old workers."""
    yield from _launchers(target, seen)
    yield from programs(target, seen)
    yield from _processes(target, seen)


def programs(target: Target, seen: Seen) -> Iterator[str]:
    """Name supervisord's programs that run the old workers: the operator takes them out."""
    remedy = (
        "stop it while no job runs, remove it from supervisord's files (supervisorctl update), "
        f"start app/Console/worker/start.sh as {target.web_user or 'the web user'}, then run again"
    )
    for program in seen.old_workers.programs:
        yield f"supervisord's program {program} runs the old workers: {remedy}"
    is_in_supervisord = target.site().unit in seen.old_workers.started_in
    if is_in_supervisord and not seen.old_workers.programs:
        yield f"a program of supervisord's runs the old workers: {remedy}"


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
    if seen.workers.root_strays:
        yield (
            f"root runs MISP's workers ({_numbers(seen.workers.root_strays)}) without a "
            "supervisord: end each (kill) while it runs no job, and run again"
        )
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
    elif old.processes and backend.error:
        yield (
            f"the old workers' Redis does not say how many jobs wait: {backend.error}. Start it, "
            f"or correct {config}"
        )


def _unknown_units(target: Target, seen: SeenToMigrate) -> list[str]:
    """Return units with old workers that may start them again in a way that is not known here.

    A unit of the web tier is known: MISP's page starts old workers there.
    """
    known = {unit.name for unit in seen.old_workers.units}
    known.update(seen.web.units, {target.site().unit})
    return [
        unit
        for unit in seen.old_workers.started_in
        if unit not in known and not re.fullmatch(_BY_HAND, unit)
    ]


def _numbers(pids: list[int]) -> str:
    return ", ".join(map(str, pids))
