"""The forms a step's commands come in: a script, or a reason to fail the host."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import CommandOutput

from tasks import facts, scripts
from tasks.target import Target


def run(action: str, target: Target, **variables: str) -> StringCommand:
    """The script remote/`action`.sh, on standard input; its stderr is shown when it fails."""
    facts.forget()
    script = scripts.action(action, target, **variables)
    return StringCommand("sh", "-s", "--", action, _stdin=script)


class Guarded(StringCommand):
    """A command, and one that takes back what was done when it fails; then this host is out."""

    def __init__(self, command: StringCommand, way_back: StringCommand) -> None:
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
        return False, CommandOutput([*output, *said])

    def attempt(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """What is guarded: the command."""
        outcome: tuple[bool, CommandOutput] = super().execute(state, host, connector_arguments)
        return outcome


class GivingUp(Guarded):
    """Nothing is tried any more: the reason is printed, and then comes the way back."""

    def attempt(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """Fail, having said why."""
        logger.error(f"{host.print_prefix}{self.bits[0]}")
        return False, CommandOutput([])


def guarded(command: StringCommand, target: Target) -> Guarded:
    """`command`; when it fails the host goes back to its old workers, if these still live."""
    return Guarded(command, run("return", target))


def give_up(reason: str, target: Target) -> GivingUp:
    """Fail this host with a reason and go back to its old workers, if these still live."""
    return GivingUp(StringCommand(reason), run("return", target))


def fail(reason: str) -> FunctionCommand:
    """Take this host, and only this one, out of the run. An exception would stop every host."""
    return FunctionCommand(_fail, [reason], {})


def _fail(state: State, host: Host, reason: str) -> bool:
    logger.error(f"{host.print_prefix}{reason}")
    return False
