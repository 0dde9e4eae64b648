"""The forms a step's commands come in: a script, or a reason to fail the host."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from tasks import facts, scripts
from tasks.target import Target


def run(action: str, target: Target, **variables: str) -> StringCommand:
    """The script remote/`action`.sh, on standard input; its stderr is shown when it fails."""
    facts.forget()
    script = scripts.action(action, target, **variables)
    return StringCommand("sh", "-s", "--", action, _stdin=script)


def fail(reason: str) -> FunctionCommand:
    """Take this host, and only this one, out of the run. An exception would stop every host."""
    return FunctionCommand(_fail, [reason], {})


def _fail(state: State, host: Host, reason: str) -> bool:
    logger.error(f"{host.print_prefix}{reason}")
    return False
