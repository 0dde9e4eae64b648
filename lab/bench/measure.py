"""Times, processor and memory of runs, and what is made of several of them."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lab.console import step
from lab.errors import LabError

Peer = TypeVar("Peer")


@dataclass(frozen=True)
class Sample:
    """One timed run: wall clock, and processor time of the controller's processes.

    Attributes:
        megabytes: the most memory of its first process, where that was watched.
    """

    seconds: float
    cpu: float
    megabytes: float = 0.0


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


def watched(
    command: Sequence[str],
    output: Path,
    environment: Mapping[str, str],
    folder: Path,
    limit: float,
) -> Sample:
    """Time a command, and see how much memory its process took; OUTPUT gets what it prints.

    Raises:
        LabError: when it failed or was killed at the LIMIT, with the end of its standard error.
    """
    started = time.monotonic()
    with output.open("wb") as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )
        megabytes = 0.0
        while _runs(process.pid):
            megabytes = max(megabytes, _most_memory(process.pid))
            if time.monotonic() - started > limit:
                process.kill()
            time.sleep(_LOOK)
        # Not Popen.wait, which does not say what this one process used.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            tail = errors.read()[-2000:].decode(errors="replace")
            raise LabError(f"{command[0]} ended with exit code {process.returncode}:\n{tail}")
    return Sample(time.monotonic() - started, usage.ru_utime + usage.ru_stime, megabytes)


_LOOK = 0.05  # seconds between two looks at a process


def _runs(pid: int) -> bool:
    """Whether a child has not ended; one that has is left to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _most_memory(pid: int) -> float:
    """The most memory that a process has had (its VmHWM).

    The ru_maxrss that wait4 gives is of no use: it begins with what the parent had at the fork.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) / 1024 if found else 0.0


def take_turns(
    contenders: Mapping[str, Callable[[], object]], pairs: int, title: str
) -> dict[str, Summary]:
    """Measure contenders that can be run again and again, in turns, after one run not counted."""
    for name, contend in contenders.items():
        with step(f"{title}: {name}, not counted"):
            contend()
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number, order in enumerate(turns(list(contenders), pairs), 1):
        with step(f"{title}: round {number} of {pairs}: {', '.join(order)}"):
            for name in order:
                samples[name].append(measured(contenders[name]))
    return {name: Summary(tuple(found)) for name, found in samples.items()}


def turns(peers: Sequence[Peer], pairs: int) -> Iterable[tuple[Peer, ...]]:
    """Give the order of the peers in each round: another one begins each time.

    A machine that grows slower or faster meanwhile then favours nobody.
    """
    for number in range(pairs):
        start = number % len(peers)
        yield (*peers[start:], *peers[:start])


@dataclass(frozen=True)
class Line:
    """The straight line that fits measured points best, by least squares.

    Attributes:
        base: the value at nought.
        slope: what each unit adds.
        worst: how far the point that lies farthest off is from the line, as a part of the line's
            own value there.
    """

    base: float
    slope: float
    worst: float


def fit(points: Mapping[int, float]) -> Line:
    """Fit a line to values by size; it takes two sizes at least."""
    slope, base = statistics.linear_regression(list(points), list(points.values()))
    off = (
        abs(value - (base + slope * size)) / (base + slope * size) for size, value in points.items()
    )
    return Line(base, slope, max(off))
