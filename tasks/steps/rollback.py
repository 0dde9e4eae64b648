"""The way back: the old workers, and everything on the host as it was before the migration."""

from __future__ import annotations

import time
from collections import Counter

from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host

from tasks import facts, render
from tasks.commands import failed, run
from tasks.drain import Done, NewLook, WayBackWait
from tasks.errors import MigrationError
from tasks.host import parts, rollback
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step()
def old_workers_started(target: Target) -> Commands:
    """Have the old workers' launchers as they were, and these running before all else is undone."""
    seen = facts.ask(target, parts.Originals)
    if not seen.are_launchers_out and _states(seen.units_before) == _states(seen.units_now):
        host.noop("the old workers are as they were")
        return
    start = call(rollback.start_old_workers, site=target.site(), desired=target.desired())
    yield run(start, target)


def _states(units: list[parts.Unit]) -> list[tuple[str, str, str]]:
    return sorted(
        (unit.name, unit.active.replace("activating", "active"), unit.enabled) for unit in units
    )


@step()
def backend_disabled(target: Target) -> Commands:
    """Have MISP and its web tier use the old backend for new jobs."""
    if not facts.ask(target, parts.Settings).is_on:
        host.noop("the new backend is off")
        return
    yield run(call(rollback.disable_backend, site=target.site(), desired=target.desired()), target)


@step()
def jobs_returned(target: Target) -> Commands:
    """Have the new lists empty: its workers finish them, what is left at the limit moves over."""
    if not facts.ask(target, parts.Originals).is_kept:
        host.noop("no new lists to empty")
        return
    yield FunctionCommand(_wait_for_new_workers, [target], {})
    yield run(call(rollback.move_back, site=target.site(), desired=target.desired()), target)


def _wait_for_new_workers(state: State, host: Host, target: Target) -> bool:
    wait = WayBackWait(target.settings.drain_timeout, time.monotonic())
    try:
        while True:
            facts.see(target, parts.NewBackend, parts.Supervisor, parts.Workers)
            decision = wait.see(_look(target))
            if decision.says:
                logger.info(f"{host.print_prefix}{decision.says}")
            if isinstance(decision, Done):
                return True
            time.sleep(1)
    except MigrationError as error:
        return failed(state, host, str(error))


def _look(target: Target) -> NewLook:
    status = facts.ask(target, parts.Supervisor).workers
    running = Counter(
        one.name.partition(":")[2].rpartition("_")[0]
        for one in status
        if one.group == render.GROUP and one.state == "RUNNING"
    )
    waiting = facts.ask(target, parts.NewBackend).waiting
    busy = len(facts.ask(target, parts.Workers).busy)
    return NewLook(waiting, running, busy, time.monotonic())


@step()
def everything_put_back(target: Target) -> Commands:
    """Have RPC, libraries and SELinux as they were, and no record of a migration."""
    if not facts.ask(target, parts.Originals).is_kept:
        host.noop("nothing to put back")
        return
    yield run(call(rollback.put_back, site=target.site(), desired=target.desired()), target)
