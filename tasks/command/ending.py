"""What is said when a run is over: the hosts, their problems, where it is kept, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.command.arguments import Asked
from tasks.command.fleet import Fleet, Host, count
from tasks.command.texts import table, width, wrapped
from tasks.report.record import (
    DONE,
    DRAIN_LIMIT,
    FAILED,
    INTERRUPTED,
    NOT_PROVEN_RETURNED,
    REFUSED,
    RETURN_FAILED,
)

_TO_MEND = (FAILED, REFUSED, NOT_PROVEN_RETURNED, RETURN_FAILED)


def report(fleet: Fleet) -> list[str]:
    """The hosts in a table, and below it each problem of those that are refused, in full."""
    columns = width()
    rows = [("host", "outcome", "cause")]
    rows += [(host.name, host.outcome, _cause(host)) for host in fleet.values()]
    return [*table(rows, columns), *_problems(fleet.values(), columns)]


def _cause(host: Host) -> str:
    if host.problems:
        more = len(host.problems) - 1
        return host.problems[0] + (f" (and {count(more, 'other problem')}, below)" if more else "")
    changed = f"{count(len(host.changed), 'operation')} changed" if host.changed else "no change"
    if host.outcome == DONE:
        return changed
    if not host.step:
        return host.cause
    step = host.step.partition(":")[0]
    may = "; this step may have changed the host" if host.is_unfinished else ""
    return f"{step}: {host.cause or 'at work'}; {changed} before{may}"


def _problems(hosts: Iterable[Host], columns: int) -> list[str]:
    same: dict[tuple[str, ...], list[str]] = {}
    for host in hosts:
        if len(host.problems) > 1:
            same.setdefault(tuple(host.problems), []).append(host.name)
    lines = []
    for problems, names in same.items():
        lines += ["", *wrapped(f"{', '.join(names)}: {len(problems)} problems", columns, rest="  ")]
        for number, problem in enumerate(problems, 1):
            lines += wrapped(problem, columns, f"  {number}. ")
    return lines


def closing(kept: Sequence[tuple[str, Path | None]], step: str) -> list[str]:
    """Where things are kept, each with its name, and the next step."""
    lines = [f"{name}: {place}" for name, place in kept if place]
    return ["", *lines, *wrapped(f"Next: {step}", width())]


def next_step(asked: Asked, inventory: str, fleet: Fleet) -> str:
    """The sentence with the command that the operator runs next: the most urgent one."""
    if not fleet.not_good(fleet):
        return _after_success(asked, inventory, fleet)
    again = f"run the same command again: `{asked.again()}`"
    if asked.command == "apply" and (names := fleet.keys_of(RETURN_FAILED)):
        back = asked.other("rollback", inventory, names)
        text = f"Put {_some(names)} back on the old workers: `{back}`"
    elif names := fleet.keys_of(INTERRUPTED):
        text = f"To have {_some(names)} go on, {again}"
    elif names := fleet.keys_of(*_TO_MEND):
        text = f"Mend what is wrong on {_some(names)}, then {again}"
    elif names := fleet.keys_of(DRAIN_LIMIT):
        waits = asked.again() + ("" if asked.options else " --") + " --data on_leftover_jobs=wait"
        text = f"Have the run wait for the old jobs on {_some(names)}, a day at most: `{waits}`"
    else:
        text = f"To reach the hosts that it did not come to, {again}"
    return text


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return f"{', '.join(names[:3])} and {more} more" if more > 0 else ", ".join(names)


def _after_success(asked: Asked, inventory: str, fleet: Fleet) -> str:
    if asked.command == "plan":
        if asked.out:
            return f"Read the plan, then do exactly that: `{asked.other('apply', asked.out)}`"
        return f"Do it: `{asked.other('apply', inventory)}`"
    limit = [] if asked.source == inventory else [*fleet]
    return f"Look at the workers: `{asked.other('status', inventory, limit)}`"
