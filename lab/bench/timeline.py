"""What a deploy's log says of its commands: how many, how long, and when it only waited.

The log is pyinfra's own, with ``--debug``, each line with the time when it came.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.run import BEGINS

Stamped = Sequence[tuple[float, str]]

# What pyinfra 3.10 writes before each command it sends over SSH, and after its end.
_SENT = re.compile(r"Running command on (?P<host>[^\s:]+): \(pty=\S+\) (?P<command>.*)")
_ENDED = "Command exit status:"
_NAME = re.compile(r"sh -c .*eval.* -- (?P<name>[\w+]+)")


@dataclass(frozen=True)
class Command:
    """A command on a host: in which operation, which script, from when to when.

    Attributes:
        operation: empty before the first one.
        name: the script's; empty for what is no script of the deploy's.
    """

    operation: str
    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took, with its way there and back."""
        return self.ended - self.began


def round_trips(log: str) -> dict[str, int]:
    """Count the commands that were sent to each host."""
    return dict(Counter(found["host"] for found in _SENT.finditer(log)))


def commands(log: Stamped) -> list[Command]:
    """Read the commands out of the log of a run on one host, where one follows the other."""
    found, operation = [], ""
    sent: tuple[float, str] | None = None
    for at, line in log:
        if BEGINS in line:
            operation = line.partition(BEGINS)[2].strip()
        elif match := _SENT.search(line):
            name = _NAME.search(match["command"])
            sent = at, name["name"] if name else ""
        elif _ENDED in line and sent:
            found.append(Command(operation, sent[1], sent[0], at))
            sent = None
    return found


def operations(log: Stamped, end: float) -> dict[str, float]:
    """Read how long each operation took; what was before the first is called `look`."""
    began = [(at, line.partition(BEGINS)[2].strip()) for at, line in log if BEGINS in line]
    marks = [(0.0, "look"), *began, (end, "")]
    return {name: after[0] - at for (at, name), after in pairwise(marks)}


def profile(log: Stamped, end: float) -> dict[str, float]:
    """Read where the seconds of a run on one host went: connection, commands, all around them."""
    at = {mark: next((at for at, line in log if mark in line), 0.0) for mark in _MARKS}
    sent = commands(log)
    spent: dict[str, float] = {
        "start of pyinfra": at["Connecting to hosts"],
        "connection": at["Preparing operation files"] - at["Connecting to hosts"],
    }
    for command in sent:
        name = f"command {command.name or 'os-release'}"[:40]
        spent[name] = spent.get(name, 0.0) + command.seconds
    spent["end"] = end - at["Disconnecting from hosts"]
    spent["controller in between"] = end - sum(spent.values())
    return {name: round(seconds, 3) for name, seconds in spent.items()}


_MARKS = ("Connecting to hosts", "Preparing operation files", "Disconnecting from hosts")


def pauses(log: Stamped, operation: str) -> float:
    """How long the controller slept between its looks in the operation that begins so."""
    inside = [one for one in commands(log) if one.operation.startswith(operation)]
    return sum(after.began - before.ended for before, after in pairwise(inside))
