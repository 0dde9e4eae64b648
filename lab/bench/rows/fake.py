"""Hundreds of hosts that are pyinfra's own fakes: what the controller alone costs.

They answer what a converged lab host of this very run answered, at once.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import linear_regression, median

from lab import run
from lab.bench import deploy
from lab.bench.measure import Figure, Options, Section, in_turns, ratio
from lab.directory import REPORTS_VARIABLE
from lab.errors import LabError
from lab.paths import REPOSITORY
from lab.topology import BOTH_FAMILIES

MOST_SECONDS = 40.0
MOST_MEGABYTES = 150.0
FARTHEST_FROM_LINE = 10.0  # per cent of the line's value: growth counts as linear
MOST_BEND = 1.25  # a line that is bent a little is still near a straight one
ANSWER_SECONDS = 0.15  # two of them are as long as the answers of a converged host
# In a small process between, as a child's maximum begins with what its parent had at the fork.
_WITH_MEMORY = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], timeout=600).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
# What a run with -vvv prints of each command and its output; pyinfra's own words are indented.
_COMMAND = re.compile(r"^(?P<prefix>\[[^\]]+\] +)>>> (?P<command>.*)$")


BySize = Mapping[int, float]


def measured(options: Options) -> Section:
    """Record what converged hosts answer, then run the deploy on ever more fakes of them."""
    sizes = (5, 10, 20) if options.quick else (50, 100, 200, 400)
    with deploy.converged(BOTH_FAMILIES) as lab:
        recorded = [answers(deploy.on(lab, [host], "-y", "-vvv").stderr) for host in lab]
    with tempfile.TemporaryDirectory() as folder:
        kinds = [*((size, 0.0) for size in sizes), (1, ANSWER_SECONDS), (20, ANSWER_SECONDS)]
        contenders = {kind: partial(_run, recorded, *kind, Path(folder)) for kind in kinds}
        found = in_turns(contenders, options.pairs, "fake hosts")
    seconds, megabytes = (
        {kind: median(run[part] for run in runs) for kind, runs in found.items()} for part in (0, 1)
    )
    name = f"20 fake hosts / one, each {ANSWER_SECONDS:g} s an answer"
    beside_one = ratio(name, *(seconds[size, ANSWER_SECONDS] for size in (20, 1)))
    figures = judged(*({size: by[size, 0.0] for size in sizes} for by in (seconds, megabytes)))
    details = {f"{size} hosts, {delay:g} s": runs for (size, delay), runs in found.items()}
    return Section("Fake hosts", [*figures, beside_one], details=details)


def judged(seconds: BySize, megabytes: BySize) -> list[Figure]:
    """Judge time and memory of the largest size, and how straight both grow."""
    most = f"{max(seconds)} fake hosts"
    further = "a further host, above the middle size / below it"
    return [
        *_growth(most, "time", seconds, MOST_SECONDS, "s"),
        Figure(further, bend(seconds), MOST_BEND, "x"),
        *_growth(f"peak memory, {most}", "memory", megabytes, MOST_MEGABYTES, "MB"),
    ]


def _growth(name: str, what: str, values: BySize, most: float, unit: str) -> list[Figure]:
    """Judge the largest size's value, and the distance of all from the line that fits best."""
    slope, base = linear_regression(list(values), list(values.values()))
    worst = max(abs(value / (base + slope * size) - 1) for size, value in values.items())
    words = f"fit: {base:.2f} {unit} + {slope:.4f} {unit} a host"
    each = ", ".join(f"{size}: {value:.1f} {unit}" for size, value in values.items())
    straight = f"{what}, farthest from a straight line"
    return [
        Figure(name, values[max(values)], most, unit, words),
        Figure(straight, 100 * worst, FARTHEST_FROM_LINE, "%", each),
    ]


def bend(values: BySize) -> float:
    """Return how much more a host adds above the middle size than below it: 1 on a line."""
    sizes = sorted(values)
    first, middle, last = sizes[0], sizes[len(sizes) // 2], sizes[-1]
    below = (values[middle] - values[first]) / (middle - first)
    above = (values[last] - values[middle]) / (last - middle)
    return above / below if below > 0 else math.inf


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
    if not found:
        raise LabError("The log shows no answer of a converged host.")
    return found


def _run(
    recorded: Sequence[Mapping[str, Sequence[str]]], size: int, delay: float, folder: Path
) -> tuple[float, float]:
    """Run the deploy on fake hosts; gives its seconds, and the most memory it took in MB."""
    written = folder / "fakes.json"
    written.write_text(json.dumps({"count": size, "delay": delay, "answers": recorded}))
    pyinfra = [*run.program(), "lab/bench/fake_hosts.py", "deploy.py", "-y", "--json"]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-ISc", _WITH_MEMORY, *pyinfra],
        cwd=REPOSITORY,
        env={**os.environ, "MISP_BENCH_FAKES": str(written), REPORTS_VARIABLE: f"{folder}/runs"},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        raise LabError(f"{size} fake hosts: exit code {done.returncode}:\n{done.stderr[-2000:]}")
    rows = json.loads(done.stdout)["results"]["operations"]
    deploy.check_unchanged([run.Operation.of(row) for row in rows], size)
    return seconds, int(done.stderr.split()[-1]) / 1024
