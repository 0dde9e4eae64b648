"""A host and a state of pyinfra's, as far as this project's operations and facts touch them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.connectors.util import CommandOutput, OutputLine

from tasks import commands, facts
from tasks.report import recording
from tasks.report.record import Report
from tasks.steps import step


class FakeHost:
    """Answers commands and facts with the next lines that it was given, and keeps what came."""

    def __init__(self, name: str = "misp1") -> None:
        self.name = name
        self.print_prefix = f"[{name}] "
        self.answers: list[list[str]] = []
        self.succeeds = True
        self.stderr: list[str] = []
        self.error: Exception | None = None
        self.commands: list[str] = []
        self.arguments: list[dict[str, Any]] = []

    def run_shell_command(self, command: Any, **arguments: Any) -> tuple[bool, CommandOutput]:
        self._note(str(command), arguments)
        out = [OutputLine("stdout", line) for line in self._next()]
        return self.succeeds, CommandOutput([*out, *(OutputLine("stderr", x) for x in self.stderr)])

    def get_fact(self, _fact: type, words: str = "", **arguments: Any) -> list[str]:
        self._note(words, arguments)
        return self._next()

    def _note(self, words: str, arguments: dict[str, Any]) -> None:
        self.commands.append(words)
        self.arguments.append(arguments)
        if self.error:
            raise self.error

    def _next(self) -> list[str]:
        return self.answers.pop(0) if self.answers else []

    def noop(self, _words: str) -> None:
        """As pyinfra's own: nothing is to be done."""


class FakeState:
    """One run."""

    def __init__(self) -> None:
        self.is_executing = True
        self.print_output = self.print_input = False
        self.inventory = SimpleNamespace()
        self.failed_hosts: set[Any] = set()
        self.activated_hosts: set[Any] = set()

    def add_callback_handler(self, _handler: Any) -> None:
        """Nothing calls back here."""


def _any(fake: Any) -> Any:
    """The fake as what it stands for: its users ask no more of it than it has."""
    return fake


class Run:
    """Both, and what is reported of the host."""

    def __init__(self) -> None:
        self.host = _any(FakeHost())
        self.state = _any(FakeState())
        recording.begin("deploy", self.state, self.host)

    @property
    def report(self) -> Report:
        found = recording._report(self.state, self.host)
        assert found is not None
        return found

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Have the project's modules see them."""
        for module in (commands, facts):
            patch.setattr(module, "host", self.host)
        for module in (facts, step):
            patch.setattr(module, "state", self.state)
        patch.setattr(facts, "_remembered", {})
        patch.setattr(facts, "_foreseen", {})
