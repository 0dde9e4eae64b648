"""The statuses of several hosts: on a terminal of 80 columns, as JSON, and as an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from tasks.command.texts import wrapped
from tasks.host.remedies import word
from tasks.report.status import Fault, Jobs, Status, read

_COLUMNS = 80
_HOST = 25  # characters of a host's name in the table


def document(host: str, carried: Any, problems: Iterable[str] = ()) -> Status:
    """The status of a host, also of one that was not reached, or that ended without a word.

    Args:
        carried: what its event carried; empty: there was none.
        problems: why there was none, as far as is known.

    Raises:
        ValueError: the event carried something else.
    """
    if carried:
        return read(carried)
    why = "; ".join(problems) or "no connection to the host"
    fault = Fault("connection", f"{why}: see that `ssh {word(host)}` works, then run status again")
    return Status(host, faults=[fault], next_step="see that it can be reached, then run status")


def interrupted(host: str) -> Status:
    """The status of a host that was being looked at when the operator ended that."""
    fault = Fault("interrupted", "you interrupted the look at this host before its end")
    return Status(host, faults=[fault], next_step="run status again")


def table(documents: Sequence[Status]) -> list[str]:
    """A line for each host, then each fault once with the hosts that have it, then what is next."""
    found = _sorted(documents)
    rows = [("host", "state", "workers", "waiting", "running", "faults"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    faults = [(fault.sentence, one.host) for one in found for fault in one.faults]
    for number, (sentence, hosts) in enumerate(_by(faults).items(), 1):
        first = f"{number}. "
        lines += ["", *wrapped(f"{', '.join(hosts)}:", _COLUMNS, first)]
        lines += wrapped(sentence, _COLUMNS, " " * len(first))
    lines.append("")
    for step, hosts in _by((one.next_step, one.host) for one in found).items():
        lines += wrapped(f"Next for {', '.join(hosts)}: {step}.", _COLUMNS, "", "  ")
    return lines


def as_json(documents: Sequence[Status]) -> str:
    """All of it for a program. `format` changes when a key goes or gets another meaning."""
    hosts = [asdict(one) for one in _sorted(documents)]
    return json.dumps({"format": 1, "hosts": hosts}, indent=2)


def code(documents: Sequence[Status]) -> int:
    """The exit code: 0 if no host has a fault, else 1."""
    return 0 if documents and not any(one.faults for one in documents) else 1


def _sorted(documents: Sequence[Status]) -> list[Status]:
    return sorted(documents, key=lambda one: one.host)


def _by(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Hosts by what they have in common."""
    found: dict[str, list[str]] = {}
    for words, host in pairs:
        found.setdefault(words, []).append(host)
    return found


def _row(one: Status) -> tuple[str, ...]:
    host = one.host if len(one.host) <= _HOST else f"{one.host[:16]}\u2026{one.host[17 - _HOST :]}"
    faults = str(len(one.faults) or "none")
    jobs = _jobs(one)
    waiting = _sum([each.waiting for each in jobs])
    running = _sum([each.running for each in jobs])
    return host, one.state, _workers(one), waiting, running, faults


def _workers(one: Status) -> str:
    """As in "21 of 21", or "6 old" where old workers run."""
    running = sum(queue.running for queue in one.workers.values())
    wanted = sum(queue.wanted for queue in one.workers.values())
    parts = [f"{running} of {wanted}"] if one.workers else []
    if one.old_workers:
        parts.append(f"{one.old_workers} old")
    return ", ".join(parts) or ("?" if one.old_workers is None else "none")


def _jobs(one: Status) -> list[Jobs]:
    """The jobs of the backend that is in use, or of both."""
    if one.state == "mixed":
        return [one.new_jobs, one.old_jobs]
    return [one.new_jobs if one.backend == "on" else one.old_jobs]


def _sum(counts: list[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return str(sum(known)) if len(known) == len(counts) else "?"
