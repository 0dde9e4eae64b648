"""The forms a step's commands come in: a script, or a reason to fail the host."""

from __future__ import annotations

from collections.abc import Collection

from pyinfra import logger
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import CommandOutput

from tasks import facts, reporting, scripts
from tasks.summary import DRAIN_LIMIT, FAILED, NOT_PROVEN_RETURNED, RETURN_FAILED
from tasks.target import Target

# How a script begins its last word when jobs ran on for too long.
DRAIN_LIMIT_WORDS = "drain limit"
# How remote/return.sh says that it did: it also ends well where there is nothing to go back to.
RETURNED = "the host is as it was before"
_TAIL = 3  # lines of a failed script's stderr


class Action(StringCommand):
    """A script that changes something; when it fails, the report has the end of its stderr."""

    def execute(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """As pyinfra's own: whether it succeeded, and all that was printed."""
        try:
            succeeded, output = super().execute(state, host, connector_arguments)
        except Exception as error:
            reporting.note(state, host, cause=f"{type(error).__name__}: {error}")
            raise
        if not succeeded:
            # Its own last word first: a tool's long lines before it would crowd it out.
            last, *before = output.stderr_lines[-_TAIL:][::-1] or [""]
            outcome = DRAIN_LIMIT if last.startswith(DRAIN_LIMIT_WORDS) else ""
            reporting.note(state, host, outcome, " ".join([last, *before[::-1]]))
        return succeeded, output


class Telling(Action):
    """A script whose standard output is for the operator."""

    def execute(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """As pyinfra's own: whether it succeeded, and all that was printed."""
        succeeded, output = super().execute(state, host, connector_arguments)
        for line in output.stdout_lines:
            logger.info(f"{host.print_prefix}{line}")
        return succeeded, output


def run(action: str, target: Target, keeps: Collection[str] = (), **variables: str) -> Action:
    """The script remote/`action`.sh, on standard input; its stderr is shown when it fails.

    What is known of the host is forgotten, but for subjects that the script `keeps` as they are.
    """
    facts.forget(keeps)
    return _action(action, target, **variables)


def _action(name: str, target: Target, **variables: str) -> Action:
    return Action(scripts.RUNNER, name, _stdin=scripts.action(name, target, **variables))


def telling(command: Action) -> Telling:
    """`command`, and what its script prints is shown."""
    return Telling(*command.bits, **command.connector_arguments)


class Guarded(Action):
    """A command, and one that takes back what was done when it fails; then this host is out."""

    def __init__(self, command: StringCommand, way_back: Action) -> None:
        super().__init__(*command.bits, **command.connector_arguments)
        self.way_back = way_back

    def execute(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """As pyinfra's own: whether it succeeded, and all that was printed."""
        succeeded, output = self.attempt(state, host, connector_arguments.copy())
        if succeeded:
            return True, output
        returned, said = self.way_back.execute(state, host, connector_arguments.copy())
        outcome = said.stdout.strip() if returned else "THE WAY BACK FAILED, see above"
        logger.error(f"{host.print_prefix}{outcome}")
        reporting.note(state, host, _outcome(returned, said), outcome)
        return False, CommandOutput([*output, *said])

    def attempt(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """What is guarded: the command."""
        outcome: tuple[bool, CommandOutput] = super().execute(state, host, connector_arguments)
        return outcome


def _outcome(returned: bool, said: CommandOutput) -> str:
    if not returned:
        return RETURN_FAILED
    return NOT_PROVEN_RETURNED if RETURNED in said.stdout else FAILED


class GivingUp(Guarded):
    """Nothing is tried any more: the reason is printed, and then comes the way back."""

    def attempt(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """Fail, having said why."""
        return failed(state, host, str(self.bits[0])), CommandOutput([])


def guarded(command: StringCommand, target: Target) -> Guarded:
    """`command`; when it fails the host goes back to its old workers, if these still live."""
    return Guarded(command, _action("return", target))


def give_up(reason: str, target: Target) -> GivingUp:
    """Fail this host with a reason and go back to its old workers, if these still live."""
    return GivingUp(StringCommand(reason), _action("return", target))


def fail(reason: str, outcome: str = "") -> FunctionCommand:
    """Take this host, and only this one, out of the run. An exception would stop every host."""
    return FunctionCommand(failed, [reason, outcome], {})


def failed(state: State, host: Host, reason: str, outcome: str = "") -> bool:
    """Say why this host fails, to the operator and in the report; false, as a command's end."""
    logger.error(f"{host.print_prefix}{reason}")
    reporting.note(state, host, outcome, reason)
    return False
