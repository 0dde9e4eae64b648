"""The bench's figures as tables for a person and as JSON for a machine."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from lab.bench import verdict
from lab.bench.measure import Summary
from lab.bench.peers import NOT_IN_THE_FLOOR, NOT_IN_THE_PLAYBOOK
from lab.bench.verdict import Figure
from lab.console import console, say
from lab.paths import REPOSITORY

FILE = REPOSITORY / "reports" / "bench.json"


@dataclass(frozen=True)
class Report:
    """Everything that one bench measured.

    Attributes:
        hosts: what each host ran on, by name.
        round_trips: commands sent to each host.
        times: by scope, then by peer.
        rehearsals: seconds by `warm` and `cold`; empty when not asked for.
    """

    pairs: int
    hosts: Mapping[str, str]
    round_trips: Mapping[str, int]
    times: Mapping[str, Mapping[str, Summary]]
    rehearsals: Mapping[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> list[Figure]:
        """Every figure that has a target."""
        return [
            *verdict.of_round_trips(self.round_trips),
            *(
                figure
                for scope, summaries in self.times.items()
                for figure in verdict.of_ratios(scope, summaries)
            ),
            *verdict.of_rehearsals(self.rehearsals),
        ]

    def with_rehearsals(self, seconds: Mapping[str, float]) -> Report:
        """Return this report with the times of rehearsals."""
        return dataclasses.replace(self, rehearsals=seconds)

    def as_data(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        return {
            "pairs": self.pairs,
            "controller": {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "pyinfra": version("pyinfra"),
                "ansible-core": version("ansible-core"),
            },
            "hosts": dict(self.hosts),
            "round_trips": dict(self.round_trips),
            "times": {
                scope: {peer: _summary(summary) for peer, summary in summaries.items()}
                for scope, summaries in self.times.items()
            },
            "rehearsals": dict(self.rehearsals),
            "figures": [
                {**dataclasses.asdict(figure), "met": figure.met} for figure in self.figures
            ],
            "not_in_the_playbook": list(NOT_IN_THE_PLAYBOOK),
        }

    def write(self, path: Path = FILE) -> None:
        """Write the JSON file."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.as_data(), indent=2) + "\n")

    def show(self) -> None:
        """Print the tables, and what the peers leave out."""
        console.print(_times(self))
        console.print(_figures(self.figures))
        say("What the deploy does and the playbook does not:")
        for line in NOT_IN_THE_PLAYBOOK:
            say(f"- {line}")
        say(f"And {NOT_IN_THE_FLOOR}.")
        for name, origin in self.hosts.items():
            say(f"{name} ran on: {origin}")


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "median_seconds": round(summary.seconds, 3),
        "median_cpu": round(summary.cpu, 3),
        "samples": [
            {"seconds": round(sample.seconds, 3), "cpu": round(sample.cpu, 3)}
            for sample in summary.samples
        ],
    }


def _times(report: Report) -> Table:
    title = f"re-run on converged hosts, {report.pairs} runs each, alternating"
    table = Table("on", "by", title=title, title_justify="left")
    for column in ("median", "fastest", "slowest", "controller CPU"):
        table.add_column(column, justify="right")
    for scope, summaries in report.times.items():
        for peer, summary in summaries.items():
            times = (summary.seconds, summary.fastest, summary.slowest, summary.cpu)
            table.add_row(scope, peer, *(f"{seconds:.2f} s" for seconds in times))
        table.add_section()
    return table


def _figures(figures: Sequence[Figure]) -> Table:
    table = Table("figure", title="against the targets", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for figure, row in zip(figures, verdict.rows(figures), strict=True):
        table.add_row(*row, style="green" if figure.met else "red")
    return table
