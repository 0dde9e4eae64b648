"""The way back: the old workers, and everything on the host as it was before the migration."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts
from tasks.commands import run
from tasks.host import parts, rollback, web
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step()
def old_workers_started(target: Target) -> Commands:
    """Have the old workers' launchers as they were, and these running before all else is undone."""
    seen = facts.ask(target, parts.Originals)
    are_states_right = _states(seen.units_before) == _states(seen.units_now)
    if are_states_right and not seen.are_launchers_out and not seen.unserved:
        host.noop("the old workers are as they were")
        return
    start = call(rollback.start_old_workers, site=target.site(), desired=target.desired())
    starts = "the old workers start; any that has to start anew ends its job first"
    yield run(start, target, waits=starts, limit=target.settings.drain_timeout)


def _states(units: list[parts.Unit]) -> list[tuple[str, str, str]]:
    return sorted(
        (unit.name, unit.active.replace("activating", "active"), unit.enabled) for unit in units
    )


@step()
def backend_disabled(target: Target) -> Commands:
    """Have MISP and its web tier use the old backend, and the old workers run."""
    if not facts.ask(target, parts.Settings).is_on:
        host.noop("the new backend is off")
        return
    disable = call(rollback.disable_backend, site=target.site(), desired=target.desired())
    ends = "the new workers end, each after its job, and the web tier is reloaded"
    limit = target.settings.drain_timeout + web.SECONDS
    yield run(disable, target, waits=ends, limit=limit)


@step()
def jobs_returned(target: Target) -> Commands:
    """Have the new lists empty: their jobs move to the old workers, and the new group goes."""
    if not facts.ask(target, parts.Originals).is_kept:
        host.noop("no new lists to empty")
        return
    move = call(rollback.move_back, site=target.site(), desired=target.desired())
    moves = "the new workers end, and their waiting jobs move to the old ones"
    yield run(move, target, waits=moves, limit=target.settings.drain_timeout)


@step()
def everything_put_back(target: Target) -> Commands:
    """Have RPC, libraries and SELinux as they were, and no record of a migration."""
    if not facts.ask(target, parts.Originals).is_kept:
        host.noop("nothing to put back")
        return
    put_back = call(rollback.put_back, site=target.site(), desired=target.desired())
    yield run(put_back, target, waits="RPC, libraries and SELinux are put back")
