"""Timed runs in turns, and figures that are judged against their limits."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lab.console import step

Peer = TypeVar("Peer", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """Runs of each peer, whether fleets are small, and a checkout to compare this one with."""

    pairs: int = 5
    quick: bool = False
    against: Path | None = None


class Sample(NamedTuple):
    """One timed run: wall clock, and processor time of the controller's processes."""

    seconds: float
    cpu: float


def timed(action: Callable[..., object], *arguments: Any) -> Sample:
    """Time an action that runs child processes and waits for them; nothing else may run any."""
    cpu, started = _cpu_of_children(), time.monotonic()
    action(*arguments)
    return Sample(time.monotonic() - started, _cpu_of_children() - cpu)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(samples: Iterable[Sample]) -> float:
    """Return the median wall time."""
    return statistics.median(sample.seconds for sample in samples)


def in_turns(
    contenders: Mapping[Peer, Callable[[], T]], pairs: int, title: str
) -> dict[Peer, list[T]]:
    """Run contenders in turns, each PAIRS times, after one run each that is not counted."""
    found: dict[Peer, list[T]] = {peer: [] for peer in contenders}
    for number in range(pairs + 1):
        with step(f"{title}: round {number} of {pairs}" if number else f"{title}: not counted"):
            results = {peer: contenders[peer]() for peer in rotated(tuple(contenders), number)}
        for peer, result in results.items():
            found[peer] += [result] if number else []
    return found


def rotated(peers: Sequence[T], number: int) -> Sequence[T]:
    """Give the order of a round: another peer begins each time, so a drift favours nobody."""
    start = number % len(peers)
    return [*peers[start:], *peers[:start]]


@dataclass(frozen=True)
class Figure:
    """One result; without a limit it is only reported. The parts say what it is made of."""

    name: str
    value: float
    limit: float | None = None
    unit: str = ""
    parts: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or `-` where there is no limit."""
        if self.limit is None:
            return "-"
        return "met" if self.value <= self.limit else "not met"

    @property
    def cells(self) -> Sequence[str]:
        """Name, value, limit, verdict and parts, as a table shows them."""
        value = str(self.value) if isinstance(self.value, int) else f"{self.value:.2f}"
        limit = "" if self.limit is None else f"<= {self.limit:.4g} {self.unit}".rstrip()
        return self.name, f"{value} {self.unit}".rstrip(), limit, self.verdict, self.parts


def ratio(name: str, own: float, other: float, limit: float | None = None) -> Figure:
    """Judge a time against another one."""
    return Figure(name, own / other, limit, "x", f"{own:.2f} s / {other:.2f} s")


@dataclass(frozen=True)
class Section:
    """The findings of one row, the origin of its hosts, and details for the JSON file."""

    title: str
    figures: Sequence[Figure] = ()
    origins: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
