"""The way back: the old workers, and everything on the host as it was before the migration."""

from __future__ import annotations

import time
from collections.abc import Generator

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from tasks import facts, parse, render
from tasks.commands import run, telling
from tasks.parse import Answer
from tasks.target import Target


@operation()
def old_workers_started(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the old workers' launchers as they were, and these running before all else is undone."""
    answer = facts.ask(target, "originals")
    is_out = answer.one("launchers") == "out"
    if not is_out and _units(answer, "unit_before") == _units(answer, "unit_now"):
        host.noop("the old workers are as they were")
        return
    yield run("start_old_workers", target)


def _units(answer: Answer, key: str) -> list[str]:
    return sorted(line.replace("activating", "active") for line in answer.all(key))


@operation()
def backend_disabled(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have MISP and its web tier use the old backend for new jobs."""
    answer = facts.ask(target, "settings", "originals")
    if (answer.record("settings").get("block") or {}).get("enabled") is not True:
        host.noop("the new backend is off")
        return
    yield run("disable_backend", target)


@operation()
def jobs_returned(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the new lists empty: its workers finish them, what is left at the limit moves over."""
    if not facts.ask(target, "originals").one("kept"):
        host.noop("no new lists to empty")
        return
    yield FunctionCommand(_wait_for_new_workers, [target], {})
    yield telling(run("move_back", target))


def _wait_for_new_workers(state: State, host: Host, target: Target) -> bool:
    limit = time.monotonic() + target.settings.drain_timeout
    while time.monotonic() < limit:
        answer = facts.ask(target, "new_backend", "workers", fresh=True)
        waiting = int(answer.record("waiting").get("waiting") or 0)
        status = parse.supervisor_status(answer.all("status"))
        can_finish = any(
            name.startswith(f"{render.GROUP}:") and process.state == "RUNNING"
            for name, process in status.items()
        )
        if not can_finish or not (waiting or answer.all("busy_worker")):
            return True
        logger.info(
            f"{host.print_prefix}new backend: {waiting} waiting, "
            f"{len(answer.all('busy_worker'))} running"
        )
        time.sleep(1)
    return True


@operation()
def everything_put_back(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have RPC, libraries and SELinux as they were, and no record of a migration."""
    if not facts.ask(target, "originals").one("kept"):
        host.noop("nothing to put back")
        return
    yield telling(run("put_back", target))
