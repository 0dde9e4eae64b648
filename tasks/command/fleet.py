"""What is known of each host of a run: events and records go in, views and the end read it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tasks.plan.document import Document
from tasks.report import record
from tasks.report.record import DONE, FAILED, PLANNED, REFUSED, Report

NOT_BEGUN = record.NOT_BEGUN
HEALTHY = "healthy"
FAULTY = "faulty"
CODES = {**record.CODES, NOT_BEGUN: 1, PLANNED: 0, HEALTHY: 0, FAULTY: 1}
GOOD = frozenset({DONE, PLANNED, HEALTHY})


@dataclass
class Host:
    """One host; without an outcome it is at work, or waits for its turn.

    Attributes:
        step, since: the operation's name (empty: the first look) and when it began, in seconds
            since 1970.
        waiting: what the step waits for; `elapsed` seconds of `limit` (0: none) were gone `at`.
        problems: why it is refused, or what is wrong with it.
        plan, status: the documents that such events carry.
    """

    name: str
    outcome: str = ""
    cause: str = ""
    step: str = ""
    since: float = 0.0
    waiting: str = ""
    elapsed: float = 0.0
    limit: float = 0.0
    at: float = 0.0
    changed: list[str] = field(default_factory=list)
    is_unfinished: bool = False
    problems: list[str] = field(default_factory=list)
    has_ended: bool = False
    plan: Document | None = None
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The outcome as a number."""
        return CODES.get(self.outcome, 1)

    @property
    def has_begun(self) -> bool:
        """Whether its turn has come."""
        return bool(self.since)

    def spent(self, now: float) -> float:
        """Seconds that are gone of the wait or else of the step."""
        return self.elapsed + now - self.at if self.waiting else now - self.since

    def take(self, event: Mapping[str, Any]) -> None:
        """Learn from an event about this host."""
        kind, at = event["kind"], float(event.get("at") or time.time())
        if kind == "step":
            self.step, self.since = str(event.get("step", "")), at
            self.waiting, self.limit = "", float(event.get("limit") or 0)
        elif kind == "waits":
            self.waiting, self.at = str(event.get("text", "")), at
            self.elapsed = float(event.get("elapsed") or 0)
            self.limit = float(event.get("limit") or 0)
        elif kind == "refused":
            self.problems = [str(one) for one in event.get("problems", ())]
            self.outcome = self.outcome or REFUSED
        elif kind == "plan":
            with contextlib.suppress(ValidationError):  # then this host has none
                self.plan = Document.model_validate(event.get("plan"))
        elif kind == "status":
            self.status = dict(event.get("status") or {})
            self.outcome = FAULTY if self.status.get("faults") else HEALTHY
        elif kind == "end":
            self.outcome = str(event.get("outcome", FAILED))
            self.has_ended, self.cause = True, str(event.get("cause", ""))
            self.changed = list(event.get("changed") or ())

    def take_report(self, report: Report) -> None:
        """Learn from its record, which is written when pyinfra is through."""
        self.outcome, self.cause, self.step = report.outcome, report.cause, report.step
        self.changed, self.is_unfinished = report.changed, report.is_unfinished


class Fleet(dict[str, Host]):
    """The hosts of a run by name, in the inventory's order."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__((name, Host(name)) for name in names)

    def take(self, event: Mapping[str, Any]) -> Host | None:
        """Learn from an event; gives the host that it is about, if it is news of one."""
        host = self.get(str(event.get("host", "")))
        if host is None or host.has_ended:
            return None
        host.take(event)
        return host

    def begin(self, names: Iterable[str]) -> None:
        """The turn of these hosts has come."""
        for name in names:
            self[name].since = time.time()

    def not_good(self, names: Iterable[str]) -> list[Host]:
        """Those of these hosts that are not done."""
        return [self[name] for name in names if self[name].outcome not in GOOD]

    def keys_of(self, *outcomes: str) -> list[str]:
        """The names of those that ended so."""
        return [host.name for host in self.values() if host.outcome in outcomes]

    def code(self) -> int:
        """The worst host's code."""
        return max(((_rank(host), host.code) for host in self.values()), default=(0, 0))[1]

    def counts(self) -> str:
        """How many hosts are at what, as in `3 hosts: 2 done, 1 at work`."""
        states = [
            host.outcome or ("at work" if host.has_begun else "waiting") for host in self.values()
        ]
        each = ", ".join(
            f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states))
        )
        return f"{count(len(self), 'host')}: {each}"


def _rank(host: Host) -> int:
    """How bad it is. One that is refused, or was not come to, is unchanged; another may not be."""
    if host.outcome in (NOT_BEGUN, REFUSED):
        return 1 + (host.outcome == REFUSED)
    return host.code and 2 + host.code


def count(number: int, word: str) -> str:
    """As in `1 host` and `2 hosts`."""
    return f"{number} {word}{'' if number == 1 else 's'}"
