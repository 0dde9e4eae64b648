"""What a bench found: tables for a person, JSON for a machine, Markdown and a plot for README."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from lab.bench import plot
from lab.bench.measure import Summary
from lab.bench.options import Options
from lab.bench.verdict import Figure, Section
from lab.console import console, say
from lab.errors import LabError
from lab.paths import REPOSITORY

NAME = "bench"
FOLDER = REPOSITORY / "reports"
COLUMNS = ("figure", "measured", "limit", "", "made of")
README_COLUMNS = 4
FAILURE = 200  # letters of a reason in a table; the JSON file has it whole
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


@dataclass(frozen=True)
class Report:
    """Everything that one bench measured."""

    options: Options
    sections: Sequence[Section]

    @property
    def figures(self) -> list[Figure]:
        """Every figure, in the order of the rows."""
        return [figure for section in self.sections for figure in section.figures]

    @property
    def failed(self) -> list[Section]:
        """The rows that could not be measured."""
        return [section for section in self.sections if section.failure]

    def as_data(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        return {
            "pairs": self.options.pairs,
            "quick": self.options.quick,
            "controller": _controller(),
            "rows": {section.row: _section(section) for section in self.sections},
        }

    def as_table(self, columns: int = len(COLUMNS)) -> str:
        """Return the first COLUMNS of a Markdown table of all figures."""
        rows: list[Sequence[str]] = [COLUMNS, ("---", "--:", "--:", "---", "---")]
        for section in self.sections:
            rows.append((f"**{section.title}**", "", "", "", ""))
            if section.failure:
                rows.append((section.row, "", "", "not measured", section.failure[:FAILURE]))
            rows += [figure.cells for figure in section.figures]
        return "".join(_row(cells[:columns]) + "\n" for cells in rows)

    def as_markdown(self) -> str:
        """Return the whole table with what has to be known to judge it."""
        notes = [f"- {note}\n" for section in self.sections for note in section.notes]
        parts = [f"{self.as_table()}\n{self._about()}\n", "".join(notes)]
        if profiles := [item for one in self.sections for item in one.profiles.items()]:
            parts.append("## Where the seconds go\n")
            parts += [_profile(title, spent) for title, spent in profiles]
        return "\n".join(parts)

    def _about(self) -> str:
        origins = {at for section in self.sections for at in section.hosts.values()}
        made_with = ", ".join(f"{name} {version}" for name, version in _controller().items())
        return (
            f"Medians of {self.options.pairs} runs of each in turns, where nothing else is said. "
            f"Measured on {date.today():%Y-%m-%d}. Controller and hosts share their processors. "
            f"Controller: {made_with}. Hosts: {'; '.join(sorted(origins))}."
        )

    def write(self, folder: Path = FOLDER) -> None:
        """Write the JSON file, the Markdown table and the plot."""
        folder.mkdir(exist_ok=True)
        (folder / f"{NAME}.json").write_text(json.dumps(self.as_data(), indent=2) + "\n")
        (folder / f"{NAME}.md").write_text(self.as_markdown())
        (folder / f"{NAME}.svg").write_text(plot.svg(self.figures))

    def publish(self, root: Path = REPOSITORY) -> None:
        """Put table and plot of this run where README shows them.

        Raises:
            LabError: when it was a quick run or a row failed, or README has no place for it.
        """
        if self.options.quick or self.failed:
            raise LabError("A quick run, or one with rows that failed, is not published.")
        readme, docs = root / "README.md", root / "docs"
        text = placed(readme.read_text(encoding="utf-8"), self.as_table(README_COLUMNS))
        docs.mkdir(exist_ok=True)
        (docs / f"{NAME}.svg").write_text(plot.svg(self.figures))
        (docs / f"{NAME}.md").write_text(f"# The bench's last run\n\n{self.as_markdown()}")
        readme.write_text(text)

    def show(self) -> None:
        """Print the tables, and what has to be known to judge them."""
        for section in self.sections:
            if section.times:
                console.print(_times(section))
        console.print(_figures(self.sections))
        for section in self.sections:
            for note in section.notes:
                say(f"- {section.row}: {note}")
            for name, origin in section.hosts.items():
                say(f"- {section.row}: {name} ran on: {origin}")


def placed(readme: str, text: str) -> str:
    """Put a table between README's two marks.

    Raises:
        LabError: when they are not there.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LabError(f"README.md has no {BEGIN} and {END}.")
    return f"{before}{begin}\n{text}{end}{after}"


def _controller() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "pyinfra": version("pyinfra"),
        "ansible-core": version("ansible-core"),
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "failure": section.failure,
        "figures": [{**asdict(figure), "verdict": figure.verdict} for figure in section.figures],
        "times": {
            scope: {peer: _summary(summary) for peer, summary in by.items()}
            for scope, by in section.times.items()
        },
        "hosts": dict(section.hosts),
        "profiles": {title: dict(spent) for title, spent in section.profiles.items()},
        "details": dict(section.details),
        "notes": list(section.notes),
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "median_seconds": round(summary.seconds, 3),
        "median_cpu": round(summary.cpu, 3),
        "samples": [
            {"seconds": round(sample.seconds, 3), "cpu": round(sample.cpu, 3)}
            for sample in summary.samples
        ],
    }


def _profile(title: str, spent: Mapping[str, float]) -> str:
    rows = [(title, "seconds"), ("---", "--:"), *((k, f"{v:.2f}") for k, v in spent.items())]
    return "".join(_row(cells) + "\n" for cells in rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


def _times(section: Section) -> Table:
    table = Table("on", "by", title=section.title, title_justify="left")
    for column in ("runs", "median", "fastest", "slowest", "controller CPU"):
        table.add_column(column, justify="right")
    for scope, summaries in section.times.items():
        for peer, summary in summaries.items():
            times = (summary.seconds, summary.fastest, summary.slowest, summary.cpu)
            runs = str(len(summary.samples))
            table.add_row(scope, peer, runs, *(f"{seconds:.2f} s" for seconds in times))
        table.add_section()
    return table


def _figures(sections: Sequence[Section]) -> Table:
    table = Table("figure", title="against the targets", title_justify="left")
    table.add_column("measured", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    table.add_column("made of")
    styles: Mapping[bool | None, str] = {None: "", True: "green", False: "red"}
    for section in sections:
        if section.failure:
            why = section.failure[:FAILURE]
            table.add_row(section.row, "", "", "not measured", why, style="red")
        for figure in section.figures:
            table.add_row(*figure.cells, style=styles[figure.met])
        table.add_section()
    return table
