"""What is measured, and what is made of it. Pure but for `measured`, which looks at the clock."""

from __future__ import annotations

import re
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_COMMAND = re.compile(r"Running command on (?P<host>[^\s:]+): \(pty=")
"""What pyinfra 3.10 writes at ``--debug`` before each command it sends over SSH."""


@dataclass(frozen=True)
class Sample:
    """One timed run: wall clock, and processor time of the controller's processes."""

    seconds: float
    cpu: float


@dataclass(frozen=True)
class Summary:
    """The runs of one peer."""

    samples: tuple[Sample, ...]

    @property
    def seconds(self) -> float:
        """The median wall time."""
        return statistics.median(sample.seconds for sample in self.samples)

    @property
    def cpu(self) -> float:
        """The median processor time."""
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def fastest(self) -> float:
        """The shortest wall time."""
        return min(sample.seconds for sample in self.samples)

    @property
    def slowest(self) -> float:
        """The longest wall time."""
        return max(sample.seconds for sample in self.samples)


def measured(action: Callable[[], object]) -> Sample:
    """Time ACTION, which runs child processes and waits for them; nothing else may meanwhile."""
    cpu, started = _cpu_of_children(), time.monotonic()
    action()
    return Sample(time.monotonic() - started, _cpu_of_children() - cpu)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def round_trips(log: str) -> dict[str, int]:
    """Count the commands that pyinfra sent to each host, from what it wrote at ``--debug``."""
    return dict(Counter(found["host"] for found in _COMMAND.finditer(log)))


def turns(peers: Sequence[str], pairs: int) -> Iterable[tuple[str, ...]]:
    """Give the order of the peers in each round: another one begins each time.

    A machine that grows slower or faster meanwhile then favours nobody.
    """
    for number in range(pairs):
        start = number % len(peers)
        yield (*peers[start:], *peers[:start])
