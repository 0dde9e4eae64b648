"""What every step has around it: an error on one host ends that host's run and no other's.

pyinfra lets an exception inside an operation's generator end the run of all hosts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import ParamSpec

from pyinfra.api.arguments_typed import PyinfraOperation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from tasks import facts
from tasks.commands import fail, give_up
from tasks.errors import MigrationError
from tasks.plan.forecast import Step
from tasks.report import recording
from tasks.target import Target

P = ParamSpec("P")
Commands = Generator[PyinfraCommand, None, None]


def step(
    what: Step, *, returns: bool = False
) -> Callable[[Callable[P, Commands]], PyinfraOperation[P]]:
    """An operation on a target; with `returns` a host that fails goes back to its old workers.

    In a dry run the next steps decide by what this one leaves, as they will in the run.
    """

    def wrap(body: Callable[P, Commands]) -> PyinfraOperation[P]:
        @functools.wraps(body)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Commands:
            target = kwargs.get("target") or args[0]
            assert isinstance(target, Target)  # noqa: S101 - for mypy: each step has one
            try:
                for command in body(*args, **kwargs):
                    if not state.is_executing:
                        facts.foresee(what.leaves(target, facts.asking(target)))
                    yield command
            except MigrationError as error:
                yield _failure(str(error), target, returns)
            except Exception as error:
                yield _failure(f"{type(error).__name__}: {error}", target, returns)

        return operation()(guarded)

    return wrap


def _failure(reason: str, target: Target, returns: bool) -> PyinfraCommand:
    if not state.is_executing:  # nothing runs the command, and such a host has no plan
        recording.out_of_the_run(state, host, "what to do here cannot be told", [reason])
    return give_up(reason, target) if returns and state.is_executing else fail(reason)
