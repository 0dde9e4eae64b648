"""What is said when a run is over: the hosts, their problems, where it is kept, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
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
_WAITS = ("--data", "on_leftover_jobs=wait")
_OF_THE_PLAN = "plan was approved"  # in a problem of a host that is held to an approved plan


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
    is_approved = asked.command == "apply" and asked.source != inventory
    stale = fleet.keys_of(REFUSED) if is_approved else []
    stale = [name for name in stale if any(_OF_THE_PLAN in one for one in fleet[name].problems)]
    if asked.command == "apply" and (names := fleet.keys_of(RETURN_FAILED)):
        back = asked.other("rollback", inventory, names)
        text = f"Put {_some(names)} back on the old workers: `{back}`"
    elif names := fleet.keys_of(INTERRUPTED):
        text = f"To have {_some(names)} go on, {again}"
    elif names := [name for name in fleet.keys_of(*_TO_MEND) if name not in stale]:
        then = f"plan again: {_anew(asked, inventory, fleet)}" if stale else again
        text = f"Mend what is wrong on {_some(names)}, then {then}"
    elif stale:
        text = (
            f"The plan no longer fits {_some(stale)}. Plan again: {_anew(asked, inventory, fleet)}"
        )
    elif names := fleet.keys_of(DRAIN_LIMIT):
        waits = replace(asked, options=(*asked.options, *_WAITS))
        then = _anew(waits, inventory, fleet) if is_approved else f"`{waits.again()}`"
        text = f"Have the run wait for the old jobs on {_some(names)}, a day at most: {then}"
    else:
        text = f"To reach the hosts that it did not come to, {again}"
    return text


def _anew(asked: Asked, inventory: str, fleet: Fleet) -> str:
    """The commands that replace an approved plan; a run is held to the plan's data as well."""
    file, apply = asked.source, asked.again()
    if asked.limit or asked.exclude:  # the file has plans of other hosts, which are to stay
        file = str(Path(file).with_stem(f"{Path(file).stem}-again"))
        apply = replace(asked, limit=(), exclude=()).other("apply", file)
    return f"`{asked.other('plan', inventory, fleet, out=file)}`, then `{apply}`"


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return f"{', '.join(names[:3])} and {more} more" if more > 0 else ", ".join(names)


def _after_success(asked: Asked, inventory: str, fleet: Fleet) -> str:
    if asked.command == "plan" and not all(_is_settled(host) for host in fleet.values()):
        if asked.out:
            return f"Read the plan, then do exactly that: `{asked.other('apply', asked.out)}`"
        return f"Do it: `{asked.other('apply', inventory)}`"
    limit = [] if asked.source == inventory else [*fleet]
    nothing = "Nothing is to be done. " if asked.command == "plan" else ""
    return f"{nothing}Look at the workers: `{asked.other('status', inventory, limit)}`"


def _is_settled(host: Host) -> bool:
    """Whether its plan has nothing to do."""
    return host.plan is not None and not host.plan.steps
