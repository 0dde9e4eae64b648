"""The forms a step's commands come in: a call to the host, or a reason to fail it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import gevent
from pyinfra import logger
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import CommandOutput
from pyinfra.context import host

from tasks import audit, facts, heartbeat, reporting
from tasks.errors import MigrationError
from tasks.host import rollback
from tasks.remote import Call, HostRefusal, call
from tasks.summary import DRAIN_LIMIT, FAILED, NOT_PROVEN_RETURNED, RETURN_FAILED
from tasks.target import Target
from tasks.untrusted import printable

# Errors of host functions that come before their first change.
UNCHANGED = ("RefusedError", "LockError")
QUIET = 20.0  # seconds that a step may say nothing
_TAIL = 3  # lines of standard error, where a command ends without an answer


class Action(StringCommand):
    """A call that changes something. Its result, lines of text, is for the operator."""

    def __init__(self, call: Call[list[str]], target: Target) -> None:
        self.call = call = replace(call, takes_over=target.settings.take_over)
        super().__init__(call.words(target.python), _stdin=call.stdin())
        self.python = target.python
        self.lines: list[str] = []

    def execute(
        self, state: State, host: Host, connector_arguments: ConnectorArguments
    ) -> tuple[bool, CommandOutput]:
        """As pyinfra's own: whether it succeeded, and all that was printed."""
        arguments = dict(connector_arguments)
        try:
            with _not_silent(host, self.call.name):
                succeeded, output = super().execute(state, host, connector_arguments)
            heartbeat.note(host, self.python, arguments)
            self.lines = self._result(succeeded, output)
        except MigrationError as error:
            kind = error.kind if isinstance(error, HostRefusal) else ""
            if kind not in UNCHANGED:
                reporting.changes(state, host)
            outcome = DRAIN_LIMIT if kind == "DrainLimitError" else ""
            return failed(state, host, str(error), outcome), CommandOutput([])
        except Exception as error:
            reporting.note(state, host, cause=f"{type(error).__name__}: {error}")
            raise
        reporting.changes(state, host)
        for line in self.lines:
            logger.info(f"{host.print_prefix}{line}")
        return True, output

    def _result(self, succeeded: bool, output: CommandOutput) -> list[str]:
        if not succeeded:
            said = printable(" ".join(output.stderr_lines[-_TAIL:]))
            raise MigrationError(f"{self.call.name} ended without an answer: {said or 'no word'}")
        return self.call.read(output.stdout_lines)


@contextmanager
def _not_silent(host: Host, name: str) -> Iterator[None]:
    """Say now and then that a step is still at work: one may wait for jobs for half an hour."""

    def tell() -> None:
        began = time.monotonic()
        while True:
            gevent.sleep(QUIET)
            seconds = time.monotonic() - began
            logger.info(f"{host.print_prefix}{name} is still at work after {seconds:.0f} s")

    teller = gevent.spawn(tell)
    try:
        yield
    finally:
        teller.kill()


def run(call: Call[list[str]], target: Target, keeps: Collection[type] = ()) -> Action:
    """The call as a command; what is known of the host is forgotten, but for what it `keeps`."""
    if target.settings.show_calls:
        logger.info(f"{host.print_prefix}{audit.line(call)}")
    facts.forget(keeps)
    return Action(call, target)


class Guarded(PyinfraCommand):
    """A command, and the way back when it fails: to the old workers, if these still live."""

    def __init__(self, command: Action | str, target: Target) -> None:
        super().__init__()
        self.command = command
        back = call(rollback.automatic, site=target.site(), desired=target.desired())
        self.way_back = Action(back, target)

    def __repr__(self) -> str:
        return f"Guarded({self.command!r})"

    def execute(self, state: State, host: Host, connector_arguments: ConnectorArguments) -> bool:
        """Whether the command succeeded; then nothing is taken back."""
        if self._attempt(state, host, connector_arguments.copy()):
            return True
        returned, _ = self.way_back.execute(state, host, connector_arguments.copy())
        if not returned:
            logger.error(f"{host.print_prefix}THE WAY BACK FAILED, see above")
            reporting.note(state, host, RETURN_FAILED, "THE WAY BACK FAILED")
            return False
        lines = self.way_back.lines
        if rollback.RETURNED in lines:
            reporting.is_back(state, host)
        has_returned = {rollback.RETURNED, rollback.RETURNED_IN_PART} & set(lines)
        outcome = NOT_PROVEN_RETURNED if has_returned else FAILED
        reporting.note(state, host, outcome, " ".join(self.way_back.lines))
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
    logger.error(f"{host.print_prefix}{reason}")
    reporting.note(state, host, outcome, reason)
    return False
