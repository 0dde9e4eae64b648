"""A host and a state of pyinfra's, as far as this project's operations and facts touch them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.util import CommandOutput, OutputLine

from tasks import commands, facts
from tasks.report import recording
from tasks.report.record import Report
from tasks.steps import step


class FakeClient:
    """An SSH client whose connection may be cut."""

    def __init__(self) -> None:
        self.is_up = True

    def get_transport(self) -> Any:
        return SimpleNamespace(is_active=lambda: self.is_up, sock=None)

    def close(self) -> None:
        self.is_up = False


class FakeHost:
    """Answers commands and facts with the next lines that it was given, and keeps what came."""

    def __init__(self, name: str = "misp1") -> None:
        self.name = name
        self.print_prefix = f"[{name}] "
        self.connector = SimpleNamespace(client=FakeClient())
        self.connected = True
        self.refusals = 0  # of the next attempts to connect
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

    def cut(self, answer: list[str] | Exception) -> None:
        """Have the connection end amid the next call."""

        def end(*_words: Any, **arguments: Any) -> Any:
            del self.get_fact, self.run_shell_command
            self._note("", arguments)
            self.connector.client.close()
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.get_fact = end  # type: ignore[method-assign]
        self.run_shell_command = lambda *_, **given: (  # type: ignore[method-assign]
            False,
            CommandOutput([OutputLine("stderr", line) for line in end(**given)]),
        )

    def connect(self, **_how: Any) -> None:
        """As pyinfra's own: only where there is no connection."""
        assert not self.connected
        if self.refusals:
            self.refusals -= 1
            raise ConnectError("Could not connect ([Errno 111] Connection refused)")
        self.connector.client, self.connected = FakeClient(), True

    def noop(self, _words: str) -> None:
        """As pyinfra's own: nothing is to be done."""


class FakeState:
    """One run."""

    def __init__(self) -> None:
        self.is_executing = True
        self.print_output = self.print_input = False
        self.inventory = SimpleNamespace(get_host=lambda name: name)
        self.failed_hosts: set[Any] = set()
        self.activated_hosts: set[Any] = set()

    def fail_hosts(self, names: set[str]) -> None:
        self.failed_hosts |= names

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
        for module in (commands, facts, step):
            patch.setattr(module, "host", self.host)
        for module in (facts, step):
            patch.setattr(module, "state", self.state)
        patch.setattr(facts, "_remembered", {})
        patch.setattr(facts, "_foreseen", {})
