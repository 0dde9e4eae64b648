"""A bench's report: Markdown for a person, JSON for a machine, a table and a plot for docs/."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from lab.bench.measure import Figure, Section
from lab.errors import LabError
from lab.paths import REPOSITORY

FOLDER = REPOSITORY / "reports"
COLUMNS = ("figure", "measured", "limit", "", "made of")
BEGIN, END = "<!-- bench: begin -->\n", "<!-- bench: end -->"

Sections = Mapping[str, Section]
"""The sections of a bench, by row."""


def write(sections: Sections, pairs: int) -> str:
    """Write the JSON file; returns the Markdown."""
    data = {"pairs": pairs, "controller": _controller(), "rows": sections}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "bench.json").write_text(json.dumps(data, indent=2, default=plain) + "\n")
    return markdown(sections, pairs)


def plain(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields, and a figure's verdict with them."""
    return {**vars(value), **({"verdict": value.verdict} if isinstance(value, Figure) else {})}


def _controller() -> dict[str, Any]:
    found: dict[str, Any] = {"cpus": os.cpu_count(), "python": platform.python_version()}
    named = {one.name: one.version for one in distributions()}
    return found | {name: named[name] for name in ("pyinfra", "ansible-core") if name in named}


def table(sections: Sections) -> str:
    """Return a Markdown table of all figures."""
    lines: list[Sequence[str]] = [COLUMNS, ("---", "--:", "--:", "---", "---")]
    for row, section in sections.items():
        lines.append((f"**{section.title}**", "", "", "", ""))
        if section.failure:
            lines.append((row, "", "", "not measured", " ".join(section.failure[:200].split())))
        lines += [figure.cells for figure in section.figures]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def markdown(sections: Sections, pairs: int) -> str:
    """Return the whole table with what it was measured on."""
    origins = {origin for section in sections.values() for origin in section.origins}
    controller = ", ".join(f"{name} {value}" for name, value in _controller().items())
    return (
        f"{table(sections)}\nMedians of {pairs} runs of each in turns, where nothing else is said. "
        f"Measured on {date.today():%Y-%m-%d}. Controller and hosts share their processors. "
        f"Controller: {controller}. Hosts: {'; '.join(sorted(origins))}.\n"
    )


def publish(sections: Sections, pairs: int, docs: Path = REPOSITORY / "docs") -> None:
    """Put the table between the marks of docs/bench.md, and draw the plot."""
    if failed := [row for row, section in sections.items() if section.failure]:
        raise LabError(f"Not published, as these rows failed: {', '.join(failed)}")
    page = docs / "bench.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise LabError(f"{page} has no {BEGIN.strip()} and {END}.")
    page.write_text(f"{before}{BEGIN}{markdown(sections, pairs)}{END}{after}")
    figures = [figure for section in sections.values() for figure in section.figures]
    (docs / "bench.svg").write_text(svg(figures))


def svg(figures: Sequence[Figure]) -> str:
    """Draw a bar for each figure that has a limit: its share of the limit, 1.5 at most."""
    bars, top = "", 22
    for figure in figures:
        if figure.limit:
            share = figure.value / figure.limit
            name, value, limit, *_ = map(escape, figure.cells)
            colour = "#2da44e" if figure.verdict == "met" else "#cf222e"
            width = f'width="{200 * min(share, 1.5):.1f}" height="16" fill="{colour}"'
            bars += (
                f'<text x="372" y="{top + 15}" text-anchor="end">{name}</text>\n'
                f'<rect x="380" y="{top + 3}" {width}/>\n'
                f'<text x="688" y="{top + 15}">{value} of {limit}{" →" * (share > 1.5)}</text>\n'
            )
            top += 22
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="850" height="{top + 22}" '
        'style="font: 12px sans-serif; fill: #24292f">\n'
        '<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="580" y="15" text-anchor="middle">limit</text>\n{bars}'
        f'<path d="M580 22V{top + 11}" stroke="#24292f" stroke-dasharray="4 3"/>\n</svg>\n'
    )
