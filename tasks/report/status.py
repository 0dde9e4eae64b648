"""What a host is like, as status.py tells it: to the operator, to `--json`, and to a monitor.

No value of these is or holds a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

State = Literal["migrated", "old", "mixed", "unknown"]
"""
    migrated  the new backend is on and its worker set proven; no old worker lives or will come
    old       the old backend alone, and nothing of a migration is there
    mixed     between: a run is at work or was cut off, both backends run, or it was done by hand
    unknown   the host cannot be reached, or MISP's settings cannot be read
"""


@dataclass(frozen=True)
class Fault:
    """One cause of what is wrong."""

    kind: str  # what it is about, in one word or two: "workers", "redis", ...
    sentence: str
    command: str = ""  # all that root has to run on the host; empty: there is more to do, or else

    @classmethod
    def of(cls, kind: str, sentence: str) -> Fault:
        """The fault that a sentence speaks of; it has its commands between backticks."""
        remedy = re.search(": run (?:`[^`]+`(?:, then | and )?)+", sentence)
        commands = re.findall("`([^`]+)`", remedy[0]) if remedy else []
        return cls(kind, sentence, " && ".join(commands))


@dataclass(frozen=True)
class Workers:
    """Workers of the new backend for one queue."""

    running: int
    wanted: int


@dataclass(frozen=True)
class Jobs:
    """A backend's jobs; `None` where its Redis cannot be asked."""

    waiting: int | None = None
    running: int | None = None
    delayed: int | None = None


@dataclass(frozen=True)
class Status:
    """One host at one moment."""

    host: str
    state: State = "unknown"
    faults: list[Fault] = field(default_factory=list)
    next_step: str = ""
    lines: list[str] = field(default_factory=list)  # all of it in words, but for the faults
    versions: dict[str, str] = field(default_factory=dict)  # of misp, php, redis and supervisor
    backend: Literal["on", "off", "unknown"] = "unknown"  # the new one
    workers: dict[str, Workers] = field(default_factory=dict)  # by queue
    old_workers: int | None = None  # processes
    new_jobs: Jobs = Jobs()
    old_jobs: Jobs = Jobs()
    supervisord: dict[str, str] = field(default_factory=dict)  # unit, active, enabled
    health_check: Literal["none", "current", "outdated", "unknown"] = "unknown"
    last_run: str = ""  # who had the host last, and since when; the host forgets it at a boot


@cache
def _adapter() -> TypeAdapter[Status]:
    return TypeAdapter(Status)


def read(value: Any) -> Status:
    """The status that an event carries.

    Raises:
        ValueError: it is none.
    """
    return _adapter().validate_python(value)
