"""The forms a step's commands come in: a call to the host, or a reason to fail it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from pyinfra import logger
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import CommandOutput
from pyinfra.context import host

from tasks import audit, connection, facts, heartbeat
from tasks import waits as waiting
from tasks.errors import MigrationError, with_next_step
from tasks.host import rollback
from tasks.host.done import Done
from tasks.host.remedies import quoted
from tasks.remote import Call, HostRefusal, call
from tasks.report import recording
from tasks.report.events import program
from tasks.report.record import DRAIN_LIMIT, FAILED, NOT_PROVEN_RETURNED, RETURN_FAILED
from tasks.target import Target
from tasks.untrusted import printable

# Errors of host functions that come before their first change.
UNCHANGED = ("RefusedError", "LockError")
Change = Call[list[str]] | Call[Done]
_TAIL = 3  # lines of standard error, where a command ends without an answer


class Action(StringCommand):
    """A call that changes something. Its result is for the operator, and for the run's record.

    Args:
        waits: what the host does where that may take more than a few seconds.
        limit: seconds after which it gives up; 0: not known.
        changes: false where it only waits; it holds the host's lock all the same.
    """

    def __init__(
        self,
        call: Change,
        target: Target,
        *,
        waits: str = "",
        limit: float = 0,
        changes: bool = True,
    ) -> None:
        self.call = replace(call, takes_over=target.settings.take_over)
        super().__init__(call.words(target.python))
        self.python = target.python
        self.waits, self.limit = waits, limit
        self.changes = changes
        self.done = Done([])
        self.is_out_of_reach = False  # cut off from the host, or another run has it

    @property
    def lines(self) -> list[str]:
        """What the call says."""
        return self.done.lines

    def execute(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """As pyinfra's own: whether it succeeded, and all that was printed."""
        if self.changes:
            recording.changes(state, host, self.call.described)
        try:
            output = self._send(state, host, connector_arguments)
        except MigrationError as error:
            kind = error.kind if isinstance(error, HostRefusal) else ""
            self.is_out_of_reach = kind == "LockError" or isinstance(error, connection.CutError)
            if self.changes and kind in UNCHANGED:
                recording.changed_nothing(state, host)
            outcome = DRAIN_LIMIT if kind == "DrainLimitError" else ""
            if isinstance(error, HostRefusal):
                recording.keep(state, host, error.details)
            return failed(state, host, str(error), outcome), CommandOutput([])
        except Exception as error:
            recording.note(state, host, cause=f"{type(error).__name__}: {error}".rstrip(": "))
            raise
        recording.done(state, host, self.done)
        for line in self.lines:
            logger.info(f"{host.print_prefix}{line}")
        return True, output

    def _send(self, state: State, host: Host, given: ConnectorArguments) -> CommandOutput:
        arguments = given.copy()
        arguments["_stdin"] = replace(self.call, has_held=heartbeat.has_begun(host)).stdin()

        def ask() -> tuple[bool, CommandOutput]:
            found: tuple[bool, CommandOutput] = super(Action, self).execute(state, host, arguments)
            return found

        with waiting.shown(host, self.waits, self.limit):
            succeeded, output = connection.once(host, ask, lambda found: found[0])
        heartbeat.note(host, self.python, dict(arguments))
        recording.keep(state, host, output.stderr_lines)
        self.done = self._result(succeeded, output)
        return output

    def _result(self, succeeded: bool, output: CommandOutput) -> Done:
        if not succeeded:
            said = quoted(printable(" ".join(output.stderr_lines[-_TAIL:])))
            raise MigrationError(f"{self.call.name} ended without an answer: {said or 'no word'}")
        found = self.call.read(output.stdout_lines)
        return found if isinstance(found, Done) else Done(found)


def run(  # noqa: PLR0913 - each a word of its own at the call
    call: Change,
    target: Target,
    keeps: Collection[type] = (),
    *,
    waits: str = "",
    limit: float = 0,
    changes: bool = True,
) -> Action:
    """The call as a command; what is known of the host is forgotten, but for what it `keeps`.

    Args:
        waits, limit, changes: as `Action` has them.
    """
    if target.settings.show_calls:
        logger.info(f"{host.print_prefix}{audit.line(call)}")
    facts.forget(keeps)
    return Action(call, target, waits=waits, limit=limit, changes=changes)


class Guarded(PyinfraCommand):
    """A command, and the way back when it fails: to the old workers, if these still live."""

    def __init__(self, command: Action | str, target: Target) -> None:
        super().__init__()
        self.command = command
        back = call(rollback.automatic, site=target.site(), desired=target.desired())
        limit = target.settings.drain_timeout
        words = "the host goes back to its old workers"
        self.way_back = Action(back, target, waits=words, limit=limit)

    def __repr__(self) -> str:
        return f"Guarded({self.command!r})"

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> bool:
        """Whether the command succeeded; then nothing is taken back."""
        if self._attempt(state, host, connector_arguments.copy()):
            return True
        if isinstance(self.command, Action) and self.command.is_out_of_reach:
            return False  # whatever runs there now, this run may not change it
        returned, _ = self.way_back.execute(state, host, connector_arguments.copy())
        if not returned:
            back = program("rollback")
            logger.error(f"{host.print_prefix}THE WAY BACK FAILED, see above: run {back}")
            recording.note(state, host, RETURN_FAILED, f"THE WAY BACK FAILED: run {back}")
            return False
        lines = self.way_back.lines
        if rollback.RETURNED in lines:
            recording.is_back(state, host)
        has_returned = {rollback.RETURNED, rollback.RETURNED_IN_PART} & set(lines)
        outcome = NOT_PROVEN_RETURNED if has_returned else FAILED
        recording.note(state, host, outcome, " ".join(self.way_back.lines))
        return False

    def _attempt(self, state: State, host: Host, arguments: ConnectorArguments) -> bool:
        if isinstance(self.command, str):
            return failed(state, host, self.command)
        return self.command.execute(state, host, arguments)[0]


def give_up(reason: str, target: Target) -> Guarded:
    """Fail this host with a reason and go back to its old workers, if these still live."""
    return Guarded(reason, target)


def fail(reason: str, outcome: str = "") -> FunctionCommand:
    """Take this host, and only this one, out of the run. An exception would stop every host."""
    return FunctionCommand(failed, [reason, outcome], {})


def failed(state: State, host: Host, reason: str, outcome: str = "") -> bool:
    """Say why this host fails, to the operator and in the report; false, as a command's end."""
    reason = with_next_step(reason)
    logger.error(f"{host.print_prefix}{reason}")
    recording.note(state, host, outcome, reason)
    return False
