"""Measure the deploy beside the guide's own commands, Ansible and the bare floor.

Everything in one run on the same machine, in turns; mostly ratios are judged, since two machines
agree on nothing else. A target that is not met is printed and is no error: this is no test. A row
that could not be measured is one.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from docker.errors import DockerException

from lab import run
from lab.bench import logins, playbook
from lab.bench.options import Options
from lab.bench.report import FOLDER, NAME, Report
from lab.bench.rows import converged, cutover, fake, first, fleet, idle, rehearsals
from lab.bench.verdict import Section
from lab.console import console, heading, say, step
from lab.errors import LabError
from lab.lab import Lab
from lab.paths import REPOSITORY
from lab.topology import REHEARSAL

ON_CONVERGED: Mapping[str, Callable[[Lab, Options], Section]] = {
    "converged": converged.measured,
    "idle": idle.measured,
    "fake": fake.measured,
}
"""Rows that share one lab with a migrated host of each family."""
BY_THEMSELVES: Mapping[str, Callable[[Options], Section]] = {
    "first": first.measured,
    "cutover": cutover.measured,
    "fleet": fleet.measured,
    "warm": rehearsals.warm,
    "cold": rehearsals.cold,
}
ROWS = (*ON_CONVERGED, *BY_THEMSELVES)
FEWEST_PAIRS = 5  # that README shows
_ERRORS = (LabError, DockerException, subprocess.TimeoutExpired)


def bench(rows: Sequence[str], options: Options, keep: bool) -> Report:
    """Measure ROWS; one that fails is reported as such, and the others go on."""
    sections: list[Section] = []
    if shared := [row for row in ON_CONVERGED if row in rows]:
        try:
            with Lab.start(REHEARSAL, keep=keep) as lab:
                _converge(lab)
                for row in shared:
                    sections.append(_tried(row, partial(ON_CONVERGED[row], lab, options)))
        except Exception as error:  # as in _tried
            measured = {section.row for section in sections}
            sections += [_failed(row, error) for row in shared if row not in measured]
    for row in [row for row in BY_THEMSELVES if row in rows]:
        sections.append(_tried(row, partial(BY_THEMSELVES[row], options)))
    return Report(options, sections)


def _converge(lab: Lab) -> None:
    heading("Migration, so that the hosts are converged")
    with step("pyinfra -y"):
        run.apply(lab).check()
    for host in lab:
        with step(f"{host.name}: what Ansible needs on a host"):
            playbook.prepare(host)


def _tried(row: str, measure: Callable[[], Section]) -> Section:
    try:
        return measure()
    except Exception as error:  # whatever it is: an hour's other rows must not be lost to it
        return _failed(row, error)


def _failed(row: str, error: Exception) -> Section:
    say(f"{row}: {error}")
    return Section(row, row, failure=f"{type(error).__name__}: {error}")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    parser.add_argument(
        "--rows", type=_rows, default=list(ROWS), help=f"some of {','.join(ROWS)} (default: all)"
    )
    parser.add_argument("--pairs", type=_count, default=5, help="runs of each (default: 5)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one run of each and small fleets, to see that the bench works",
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab of converged hosts")
    parser.add_argument(
        "--publish", action="store_true", help="also put the figures into README.md and docs/"
    )
    options = parser.parse_args(argv)
    is_whole = set(options.rows) == set(ROWS) and options.pairs >= FEWEST_PAIRS
    if options.publish and (options.quick or not is_whole):
        parser.error(f"--publish takes all rows, {FEWEST_PAIRS} runs of each or more, no --quick")
    return options


def _rows(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - set(ROWS)):
        raise argparse.ArgumentTypeError(f"no row {', '.join(unknown)}; there are {','.join(ROWS)}")
    return names


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _run(arguments: argparse.Namespace) -> int:
    playbook.require_program()
    logins.require_program()
    pairs = 1 if arguments.quick else arguments.pairs
    report = bench(arguments.rows, Options(pairs, arguments.quick), arguments.keep)
    report.write()
    heading("Bench")
    report.show()
    say(f"Also in {(FOLDER / NAME).relative_to(REPOSITORY)}.json, .md and .svg.")
    if arguments.publish:
        report.publish()
    return 1 if report.failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _options(argv)
    # A terminated bench must remove its lab like a finished one.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        say("Interrupted; the lab was removed.")
        return 130
    except _ERRORS as error:
        console.print("\n[red]The bench failed.[/red]")
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
