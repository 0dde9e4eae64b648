"""Timed runs, and figures that are judged against their limits."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


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
