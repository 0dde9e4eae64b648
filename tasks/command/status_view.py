"""The statuses of several hosts: on a terminal, as JSON, and as an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tasks.command import texts

Status = dict[str, Any]


def document(host: str, carried: Any, problems: Iterable[str] = (), expect: str = "") -> Status:
    """The status of a host, also of one that was not reached, or that ended without a word.

    Args:
        carried: what its event carried; empty: there was none.
        problems: why there was none, as far as is known.
        expect: the state that it is to be in; empty: any.
    """
    silent = {"state": "unknown", "lines": [], "faults": [*problems]}
    found = {"host": host, **(carried or silent)}
    if carried and expect not in ("", found["state"]):
        found["faults"] = [*found["faults"], f"it is {found['state']}, and is to be {expect}"]
    return found


def table(documents: Sequence[Status]) -> list[str]:
    """The hosts with what they are like, their faults, and what is next."""
    rows = [("host", "state", "what there is")]
    for one in documents:
        said = [*one["lines"], *(f"FAULT: {fault}" for fault in one["faults"])] or [""]
        rows += [(one["host"], one["state"], said[0]), *(("", "", line) for line in said[1:])]
    next_step = "mend the faults, then run status again" if code(documents) else "nothing to do"
    return [*texts.table(rows, texts.width()), "", f"Next: {next_step}."]


def as_json(documents: Sequence[Status]) -> str:
    """All of it for a program."""
    return json.dumps({"format": 1, "hosts": documents}, indent=2)


def code(documents: Sequence[Status]) -> int:
    """The exit code: 0 if no host has a fault, else 1."""
    return int(any(one["faults"] for one in documents))
