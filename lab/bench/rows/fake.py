"""Hundreds of hosts that are pyinfra's own fakes: what the controller alone costs.

They answer what a converged lab host of this very run answered, at once.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from lab import run
from lab.bench import deploy
from lab.bench.measure import Line, Sample, fit, turns, watched
from lab.bench.options import Options
from lab.bench.verdict import Figure, Section
from lab.console import heading, step
from lab.directory import REPORTS_VARIABLE
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.paths import REPOSITORY

SIZES, QUICK_SIZES = (50, 100, 200, 400), (5, 10, 20)
MOST_SECONDS = 40.0
MOST_MEGABYTES = 150.0
FARTHEST_FROM_LINE = 0.1
"""How far a size may be from the straight line to count as linear growth, as a part of it."""

MOST_BEND = 1.25
"""A line that is bent a little is still near a straight one: what the last hosts may cost more."""

INVENTORY = "lab/bench/fake_hosts.py"
VARIABLE = "MISP_BENCH_FAKES"
TIME_LIMIT = 600.0

FLEET = 20
ANSWER_SECONDS = 0.15
"""How long each of two answers takes: together as long as those of a converged host."""

NOTES = (
    "Fake hosts take no time to answer and are not asked over HTTPS (misp_url), so this is the "
    "controller's part only. Half of them answer as the Debian host, half as the EL-like one.",
    f"Twenty of them beside one: each of a run's two answers comes after {ANSWER_SECONDS:g} s, "
    "from a host that shares no processor with the controller. What SSH and HTTPS take of the "
    "controller is left out, so a real fleet's ratio is above this one; it is not judged.",
)
# What a run with -vvv prints of each command and its output; pyinfra's own words are indented.
_COMMAND = re.compile(r"^(?P<prefix>\[[^\]]+\] +)>>> (?P<command>.*)$")


def measured(lab: Lab, options: Options) -> Section:
    """Record what converged hosts answer, then run the deploy on ever more fakes of them."""
    heading("Fake hosts")
    answers = [_recorded(lab, host) for host in lab]
    sizes = QUICK_SIZES if options.quick else SIZES
    samples: dict[int, list[Sample]] = {size: [] for size in sizes}
    slow: dict[int, list[Sample]] = {size: [] for size in (1, FLEET)}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for number, order in enumerate(turns(sizes, options.pairs), 1):
            for size in order:
                with step(f"{size} fake hosts, {number} of {options.pairs}"):
                    samples[size].append(_run(answers, size, Path(folder)))
            for size, found in slow.items():
                with step(f"{size} slow fake hosts, {number} of {options.pairs}"):
                    found.append(_run(answers, size, Path(folder), ANSWER_SECONDS))
    seconds, slow_seconds = _medians(samples), _medians(slow)
    megabytes = {size: median(one.megabytes for one in found) for size, found in samples.items()}
    return Section(
        "fake",
        "Fake hosts",
        figures=[*judged(seconds, megabytes), beside_one(slow_seconds)],
        details={"seconds": seconds, "megabytes": megabytes, "slow_seconds": slow_seconds},
        notes=NOTES,
    )


def judged(seconds: Mapping[int, float], megabytes: Mapping[int, float]) -> list[Figure]:
    """Judge time and memory of the largest size, and how straight both grow."""
    most = max(seconds)
    time, memory = fit(seconds), fit(megabytes)
    return [
        Figure(f"{most} fake hosts", seconds[most], MOST_SECONDS, "s", _in_words(time, "s")),
        Figure(
            f"peak memory, {most} fake hosts",
            megabytes[most],
            MOST_MEGABYTES,
            "MB",
            _in_words(memory, "MB"),
        ),
        Figure(
            "time, farthest from a straight line",
            100 * time.worst,
            100 * FARTHEST_FROM_LINE,
            "%",
            ", ".join(f"{size}: {taken:.1f} s" for size, taken in seconds.items()),
        ),
        Figure(
            "a further host, above the middle size / below it",
            bend(seconds),
            MOST_BEND,
            "x",
        ),
        Figure(
            "memory, farthest from a straight line",
            100 * memory.worst,
            100 * FARTHEST_FROM_LINE,
            "%",
            ", ".join(f"{size}: {taken:.0f} MB" for size, taken in megabytes.items()),
        ),
    ]


def bend(values: Mapping[int, float]) -> float:
    """How much more each host adds above the middle size than below it: 1 on a straight line."""
    sizes = sorted(values)
    first, middle, last = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    below = (values[middle] - values[first]) / (middle - first)
    above = (values[last] - values[middle]) / (last - middle)
    return above / below if below > 0 else math.inf


def beside_one(seconds: Mapping[int, float]) -> Figure:
    """Compare the time of a fleet of slow fakes with that of one of them."""
    every, one = seconds[FLEET], seconds[1]
    name = f"{FLEET} fake hosts / one, each {ANSWER_SECONDS:g} s an answer"
    return Figure(name, every / one, None, "x", f"{every:.2f} s / {one:.2f} s")


def _medians(samples: Mapping[int, list[Sample]]) -> dict[int, float]:
    return {size: median(one.seconds for one in found) for size, found in samples.items()}


def _in_words(line: Line, unit: str) -> str:
    return f"fit: {line.base:.2f} {unit} + {line.slope:.4f} {unit} a host"


def _recorded(lab: Lab, host: LabHost) -> dict[str, list[str]]:
    with step(f"what {host.name} answers"):
        done = run.pyinfra(lab, "deploy.py", "-y", "-vvv", *deploy.limits([host])).check()
    found = answers(done.stderr)
    if not found:
        raise LabError(f"The log shows no answer of {host.name}.")
    return found


def answers(log: str) -> dict[str, list[str]]:
    """Read out of a log (-vvv, one host) what each command printed, by the command."""
    found: dict[str, list[str]] = {}
    printed: list[str] = []
    prefix = ""
    for line in log.splitlines():
        if match := _COMMAND.match(line):
            # Without sudo and the shell around it: a fake host is asked without both.
            command = shlex.split(match["command"])[-1]
            prefix, printed = match["prefix"], found.setdefault(command, [])
        elif prefix and line.startswith(prefix):
            printed.append(line.removeprefix(prefix))
    return found


def _run(
    recorded: list[dict[str, list[str]]], size: int, folder: Path, delay: float = 0.0
) -> Sample:
    parts = [
        size // len(recorded) + (index < size % len(recorded)) for index in range(len(recorded))
    ]
    fakes = [
        {"count": count, "delay": delay, "answers": found}
        for count, found in zip(parts, recorded, strict=True)
    ]
    written, output = folder / "fakes.json", folder / "output.json"
    written.write_text(json.dumps(fakes))
    sample = watched(
        [*run.program(), INVENTORY, "deploy.py", "-y", "--json"],
        output,
        {VARIABLE: str(written), REPORTS_VARIABLE: str(folder / "runs")},
        REPOSITORY,
        TIME_LIMIT,
    )
    check(json.loads(output.read_text()), size)
    return sample


def check(report: Mapping[str, Any], size: int) -> None:
    """Check that a run found every fake host converged.

    Raises:
        LabError: when one failed, was changed or was left out.
    """
    operations = report["results"]["operations"]
    bad = [one["name"] for one in operations if one["success"] or one["error"]]
    counts = {len(one["no_change"]) for one in operations}
    if bad or counts != {size}:
        raise LabError(f"Not every fake host was found converged: {', '.join(bad) or counts}")
