"""The way back: the old workers, and everything on the host as it was before the migration."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts
from tasks.commands import run
from tasks.host import rollback, web
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.OLD_WORKERS)
def old_workers_started(target: Target) -> Commands:
    """Have the old workers' launchers as they were, and these running before all else is undone."""
    if not decisions.old_workers(target, facts.asking(target)):
        host.noop("the old workers are as they were")
        return
    start = call(rollback.start_old_workers, site=target.site(), desired=target.desired())
    starts = "the old workers start; any that has to start anew ends its job first"
    yield run(start, target, waits=starts, limit=target.settings.drain_timeout)


@step(forecast.BACKEND_OFF)
def backend_disabled(target: Target) -> Commands:
    """Have MISP and its web tier use the old backend, and the old workers run."""
    if not decisions.backend_on(target, facts.asking(target)):
        host.noop("the new backend is off")
        return
    disable = call(rollback.disable_backend, site=target.site(), desired=target.desired())
    ends = "the new workers end, each after its job, and the web tier is reloaded"
    limit = target.settings.drain_timeout + web.SECONDS
    yield run(disable, target, waits=ends, limit=limit)


@step(forecast.JOBS_BACK)
def jobs_returned(target: Target) -> Commands:
    """Have the new lists empty: their jobs move to the old workers, and the new group goes."""
    if not decisions.migrated(target, facts.asking(target)):
        host.noop("no new lists to empty")
        return
    move = call(rollback.move_back, site=target.site(), desired=target.desired())
    moves = "the new workers end, and their waiting jobs move to the old ones"
    yield run(move, target, waits=moves, limit=target.settings.drain_timeout)


@step(forecast.ALL_BACK)
def everything_put_back(target: Target) -> Commands:
    """Have RPC, libraries and SELinux as they were, and no record of a migration."""
    if not decisions.migrated(target, facts.asking(target)):
        host.noop("nothing to put back")
        return
    put_back = call(rollback.put_back, site=target.site(), desired=target.desired())
    yield run(put_back, target, waits="RPC, libraries and SELinux are put back")
