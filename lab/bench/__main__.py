"""Measure the deploy beside the guide's own commands, Ansible and the bare floor, in turns.

A limit that is not met is printed and is no error. A row that could not be measured is one.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.markdown import Markdown

from lab.bench import peers, report
from lab.bench.measure import Section
from lab.bench.rows import against, converged, first
from lab.console import console, heading, say
from lab.errors import LabError

Rows = Mapping[str, Callable[[int], Section]]
"""The function that measures each row; it takes the number of runs."""

ROWS: Rows = {
    "converged": converged.measured,
    "first": first.measured,
    "fleet": converged.fleet,
}


def bench(rows: Rows, pairs: int) -> dict[str, Section]:
    """Measure ROWS; one that fails is reported as such, and the others go on."""
    sections = {}
    for row, measure in rows.items():
        heading(row)
        try:
            sections[row] = measure(pairs)
        except Exception as error:  # whatever it is: an hour's other rows must not be lost to it
            say(f"{row}: {error}")
            sections[row] = Section(row, failure=f"{type(error).__name__}: {error}")
    return sections


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, and refuse to publish less than a whole bench."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    names = ",".join(ROWS)
    parser.add_argument("--rows", help=f"some of {names} (default: all, or none with --against)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--publish", action="store_true", help="also into docs/")
    parser.add_argument("--against", type=Path, help="also compare with this checkout's deploy")
    given = parser.parse_args(argv)
    chosen = (given.rows or ("" if given.against else names)).split(",")
    if unknown := sorted({*chosen} - {*ROWS, ""}):
        parser.error(f"no row {', '.join(unknown)}; there are {names}")
    if given.against and not (given.against / "deploy.py").is_file():
        parser.error(f"{given.against} is no checkout of this project")
    if given.publish and (given.against or {*chosen} != {*ROWS} or given.pairs < 5):
        parser.error("--publish takes all rows and 5 or more runs of each, no others")
    given.rows = {row: measure for row, measure in ROWS.items() if row in chosen}
    if given.against:
        given.rows["against"] = partial(against.measured, given.against.resolve())
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = parsed(argv)
    # A terminated bench must remove its lab like a finished one.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        if {"converged", "first"} & given.rows.keys():
            peers.require_ansible()
        sections = bench(given.rows, given.pairs)
        console.print(Markdown(report.write(sections, given.pairs)), soft_wrap=False)
        if given.publish:
            report.publish(sections, given.pairs)
    except KeyboardInterrupt:
        say("Interrupted; the lab was removed.")
        return 130
    except LabError as error:
        say(f"The bench failed: {error}")
        return 1
    return int(any(section.failure for section in sections.values()))


if __name__ == "__main__":
    sys.exit(main())
