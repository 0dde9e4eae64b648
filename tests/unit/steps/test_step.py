"""What every step has around it: an exception is this host's failure and no other's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand, StringCommand

from tasks.commands import Guarded
from tasks.errors import MigrationError, RefusedError
from tasks.plan import forecast
from tasks.remote import HostRefusal
from tasks.steps.step import Commands, step
from tasks.target import Target
from tests import hosts
from tests.unit.pyinfra_fakes import Run

TARGET = hosts.target()


def failing(error: Exception) -> Callable[[Target], Commands]:
    def body(target: Target) -> Commands:
        """What it does."""
        yield StringCommand("first")
        raise error

    return body


def commands_of(body: Callable[[Target], Commands], *, returns: bool) -> list[Any]:
    decorated: Any = step(forecast.PROOF, returns=returns)(body)
    return list(decorated._inner(TARGET))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MigrationError("a sentence"), "a sentence"),
        (RefusedError("one", "two"), "one; two"),
        (HostRefusal("HostError", "its own"), "its own"),
        (KeyError("key"), "KeyError: 'key'"),
        (RecursionError("deep"), "RecursionError: deep"),
        (AssertionError(), "AssertionError: "),
    ],
)
@pytest.mark.parametrize("returns", [True, False])
def test_an_exception_becomes_the_last_command(
    run: Run, error: Exception, words: str, returns: bool
) -> None:
    first, last = commands_of(failing(error), returns=returns)
    assert isinstance(first, StringCommand)
    assert isinstance(last, Guarded if returns else FunctionCommand)
    assert last.execute(run.state, run.host, {}) is False
    assert run.report.cause.startswith(words.strip())
    went_back = any("rollback.automatic" in command for command in run.host.commands)
    assert went_back is returns


def test_in_a_dry_run_nothing_goes_back(run: Run) -> None:
    run.state.is_executing = False
    [_, last] = commands_of(failing(MigrationError("no")), returns=True)
    assert isinstance(last, FunctionCommand)
    assert run.state.failed_hosts == {"misp1"}


def test_a_step_that_works_is_its_body(run: Run) -> None:
    def body(target: Target) -> Commands:
        """What it does."""
        assert target is TARGET
        yield StringCommand("only")

    [only] = commands_of(body, returns=True)
    assert str(only) == "only"


def test_the_end_of_the_run_is_nobodys_failure(run: Run) -> None:
    def body(target: Target) -> Commands:
        """What it does."""
        yield StringCommand("first")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands_of(body, returns=True)


def test_a_step_keeps_its_name_and_its_words() -> None:
    body = failing(MigrationError("x"))
    decorated: Any = step(forecast.PROOF)(body)
    assert decorated._inner.__name__ == "body"
    assert decorated._inner.__doc__ == "What it does."
