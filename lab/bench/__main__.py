"""Measure a re-run of the deploy on converged hosts, beside Ansible and the bare floor.

All run in one lab on the same containers and take turns; only ratios are judged, since two machines
agree on nothing else. A target that is not met is printed and is no error: this is no test.
"""

from __future__ import annotations

import argparse
import functools
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from docker.errors import DockerException

from lab import run
from lab.bench import measure, peers, rehearsals
from lab.bench.measure import Sample, Summary
from lab.bench.report import FILE, Report
from lab.bench.verdict import ANSIBLE, FLOOR, PYINFRA
from lab.console import console, heading, say, step
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.paths import REPOSITORY
from lab.topology import REHEARSAL

Peers = dict[str, Callable[[Sequence[LabHost]], None]]


def bench(lab: Lab, pairs: int) -> Report:
    """Migrate the hosts of a lab, then measure PAIRS runs of each peer.

    Raises:
        LabError: when a run fails or changes something.
    """
    heading("Migration, so that the hosts are converged")
    with step("pyinfra -y"):
        run.apply(lab).check()
    for host in lab:
        with step(f"{host.name}: what Ansible needs on a host"):
            peers.prepare_for_ansible(host)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return _measure(lab, pairs, peers.Playbook(lab, Path(folder)))


def _measure(lab: Lab, pairs: int, playbook: peers.Playbook) -> Report:
    heading("Round trips")
    with step("pyinfra -y --debug"):
        round_trips = peers.count_round_trips(lab)
    contenders: Peers = {
        PYINFRA: lambda hosts: peers.deploy(lab, hosts),
        ANSIBLE: playbook.run,
        FLOOR: peers.floor,
    }
    every = list(lab)
    scopes = {"one host": every[:1], f"{len(every)} hosts": every}
    times = {}
    for scope, hosts in scopes.items():
        heading(f"Converged re-run, {scope}")
        times[scope] = _take_turns(contenders, hosts, pairs)
    return Report(pairs, {host.name: host.origin for host in lab}, round_trips, times)


def _take_turns(contenders: Peers, hosts: Sequence[LabHost], pairs: int) -> dict[str, Summary]:
    for name, contend in contenders.items():
        with step(f"{name}, not counted"):
            contend(hosts)
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number, order in enumerate(measure.turns(list(contenders), pairs), 1):
        with step(f"round {number} of {pairs}: {', '.join(order)}"):
            for name in order:
                action = functools.partial(contenders[name], hosts)
                samples[name].append(measure.measured(action))
    return {name: Summary(tuple(found)) for name, found in samples.items()}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    parser.add_argument("--pairs", type=_count, default=5, help="runs of each (default: 5)")
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    parser.add_argument(
        "--rehearsal", action="store_true", help="also time a rehearsal with images built"
    )
    parser.add_argument(
        "--cold",
        action="store_true",
        help="also time a rehearsal after the lab's images were removed",
    )
    return parser.parse_args(argv)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _run(options: argparse.Namespace) -> None:
    peers.require_programs()
    heading("Lab")
    with Lab.start(REHEARSAL, keep=options.keep) as lab:
        report = bench(lab, options.pairs)
    if options.rehearsal or options.cold:
        heading("Rehearsals")
        report = report.with_rehearsals(rehearsals.timed(options.cold))
    report.write()
    heading("Bench")
    report.show()
    say(f"Also in {FILE.relative_to(REPOSITORY)}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _options(argv)
    # A terminated bench must remove its lab like a finished one.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        _run(options)
    except KeyboardInterrupt:
        say("Interrupted; the lab was removed.")
        return 130
    except (LabError, DockerException, subprocess.TimeoutExpired) as error:
        console.print("\n[red]The bench failed.[/red]")
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
