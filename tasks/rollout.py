"""Runs deploy.py on the canaries, then slice by slice, up to the first slice with a failed host.

    python -m tasks.rollout inventories/production.py [--canary NAME] [--slice N] [-- OPTIONS]

pyinfra takes all hosts through an operation before it begins the next one, so a mistake in their
data meets all of them at once. Here each slice is one run of pyinfra. A host's result comes from
its report alone (report/record.py), because pyinfra also ends with 0 where it did nothing.

A rollout keeps no state of its own. The next one runs every slice again, and a host that is done
already is a converged run.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import glob
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from tasks.errors import RefusedError
from tasks.report import record
from tasks.report.record import CODES, DONE, FAILED, INTERRUPTED, Report

CANARY = "canary"  # the group that goes first where no canary is named
NOT_BEGUN = "not_begun"  # the outcome of a host that no slice has come to
DIRECTORY = "rollout"  # <UTC>-rollout, beside the runs' own directories
SLICES = "slices"  # the folder in it that has the directories of its runs
# These would make pyinfra take other hosts than the slice's, or leave no report, or a wrong one.
NOT_PASSED_ON = ("--limit", "--exclude", "--dry", "--no-wait")

Groups = Mapping[str, Sequence[str]]  # the hosts in the inventory's order, each with its groups


# --- which hosts, and in which order -----------------------------------------------------------


def hosts_of(inventory: str) -> Groups:
    """What pyinfra finds in the inventory."""
    command = [sys.executable, "-m", "pyinfra", inventory, "debug-inventory", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return {host["name"]: host["groups"] for host in json.loads(done.stdout)}
    except ValueError:  # what stands there instead may hold the hosts' data
        why = done.stderr.strip() or "something in it prints to standard output"
        raise RefusedError(f"pyinfra cannot list the hosts of {inventory}: {why}") from None


def named(names: Iterable[str], groups: Groups) -> list[str]:
    """The named hosts, by `--limit`'s rule: those of a group, else those whose name matches."""
    found: set[str] = set()
    for name in names:
        meant = {host for host in groups if name in groups[host]}
        meant = meant or {host for host in groups if fnmatch.fnmatch(host, name)}
        if not meant:
            known = sorted({*groups, *(group for row in groups.values() for group in row)})
            close = difflib.get_close_matches(name, known, 1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise RefusedError(f"no host and no group to roll out is named {name!r}{hint}")
        found |= meant
    return [host for host in groups if host in found]


def in_slices(
    groups: Groups, canaries: Sequence[str], excluded: Sequence[str], size: int
) -> list[list[str]]:
    """The canaries, then the others by `size`, each in the inventory's order.

    An excluded host makes its own slice smaller and leaves the other slices as they were.
    """
    out = named(excluded, groups)
    taken = {host: groups[host] for host in groups if host not in out}
    if not taken:
        raise RefusedError(
            "no host is left" if out else "the inventory names no host: is it there?"
        )
    if not canaries and any(CANARY in row for row in taken.values()):
        canaries = [CANARY]
    first = named(canaries, taken) or list(taken)[:1]
    rest = [host for host in groups if host not in first]
    slices = [first, *(rest[start : start + size] for start in range(0, len(rest), size))]
    return [[host for host in hosts if host in taken] for hosts in slices]


def limit(host: str, groups: Groups) -> str:
    """The `--limit` that means this host alone; a group may have the same name."""
    name = glob.escape(host)
    is_group = any(name in row for row in groups.values())
    return f"--limit={f'[{name[0]}]{name[1:]}' if is_group else name}"


# --- the rollout -------------------------------------------------------------------------------


@dataclass
class Rollout:
    """Goes through the slices; `directory` has one file per host, like that of any run."""

    inventory: str
    groups: Groups
    slices: list[list[str]]
    options: Sequence[str]
    directory: Path
    reports: dict[str, Report] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> int:
        """Run the slices in order; gives the exit status."""
        (self.directory / SLICES).mkdir(mode=0o700)
        self._note(Report(host, "deploy", NOT_BEGUN) for hosts in self.slices for host in hosts)
        hosts_in_slices = (
            f"{_count(len(self.reports), 'host')} in {_count(len(self.slices), 'slice')}"
        )
        say(f"{hosts_in_slices}: {self.directory}")
        for number, hosts in enumerate(self.slices, 1):
            if not hosts:
                continue  # all of them are excluded
            title = f"slice {number} of {len(self.slices)}"
            say(f"{title} begins: {', '.join(hosts)}")
            begun = time.monotonic()
            self._note(self._run_slice(hosts))
            bad = [f"{host} {self.reports[host].outcome}" for host in self._not_done(hosts)]
            result = ", ".join(bad) or f"{_count(len(hosts), 'host')} done"
            say(f"{title} ends after {time.monotonic() - begun:.0f} s: {result}")
            if bad or self.stop.is_set():
                break
        return self._end()

    def _note(self, reports: Iterable[Report]) -> None:
        for report in reports:
            self.reports[report.host] = report
            record.write(self.directory, report)

    def _not_done(self, hosts: Iterable[str]) -> list[str]:
        return [host for host in hosts if self.reports[host].outcome != DONE]

    def _run_slice(self, hosts: Sequence[str]) -> list[Report]:
        """Run deploy.py on these hosts. A host without a report of pyinfra's gets one."""
        place = self.directory / SLICES
        before = set(place.iterdir())
        limits = [limit(host, self.groups) for host in hosts]
        command = [sys.executable, "-m", "pyinfra", self.inventory, "deploy.py", "-y"]
        environment = {**os.environ, record.VARIABLE: str(place)}
        status = subprocess.call([*command, *limits, *self.options], env=environment)
        new = set(place.iterdir()) - before
        found = [one for run in new for one in record.read(run) if one.host in hosts]
        if self.stop.is_set():
            return found
        silent = set(hosts) - {report.host for report in found}
        now = record.now()
        cause = f"not reached, or pyinfra gave up (status {status}): see what it printed"
        return found + [
            Report(host, "deploy", FAILED, cause=cause, started=now, ended=now) for host in silent
        ]

    def _end(self) -> int:
        print("\n".join(record.table(list(self.reports.values()))), flush=True)
        if not self._not_done(self.reports):
            say(f"Done: {_count(len(self.reports), 'host')}.")
            return CODES[DONE]
        say(
            f"{'Interrupted' if self.stop.is_set() else 'Stopped'}. The same command runs every "
            "slice again; a host that is done takes a second. --exclude HOST leaves a host out."
        )
        return CODES[INTERRUPTED] if self.stop.is_set() else record.code(self.reports.values())


def say(text: str) -> None:
    """Print a line of the rollout's own, at its place between pyinfra's."""
    print(f"==> {text}", flush=True)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# --- the command -------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with 1: argparse's own 2 is a refused host's code."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{message}\n")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m tasks.rollout",
        usage="%(prog)s INVENTORY [options] [-- PYINFRA OPTIONS]",
        description="Run deploy.py on the canaries, then slice by slice, up to one that fails.",
        allow_abbrev=False,
    )
    parser.add_argument("inventory", metavar="INVENTORY")
    add = partial(parser.add_argument, metavar="NAME", action="append", default=[])
    add("--canary", help=f"goes first: host or group (default: {CANARY}, else the first host)")
    add("--exclude", help="is left out: host or group")
    parser.add_argument("--slice", metavar="N", type=int, default=5, help="hosts at a time (5)")
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    parsed = parser.parse_args(arguments[:cut])
    parsed.options = arguments[cut + 1 :]
    if parsed.slice < 1:
        parser.error("--slice is at least 1")
    for option in parsed.options:
        if option.partition("=")[0] in NOT_PASSED_ON:
            parser.error(f"{option} cannot be given to the slices' runs")
    return parsed


def _prepared(parsed: argparse.Namespace) -> Rollout:
    groups = hosts_of(parsed.inventory)
    slices = in_slices(groups, parsed.canary, parsed.exclude, parsed.slice)
    directory = record.new_directory(DIRECTORY)
    return Rollout(parsed.inventory, groups, slices, parsed.options, directory)


def main(arguments: Sequence[str]) -> int:
    """Run a rollout; gives the exit status."""
    parsed = _parsed(arguments)
    try:
        rollout = _prepared(parsed)
    except (RefusedError, OSError) as error:
        print(f"Nothing began: {error}", file=sys.stderr)
        return 1
    # pyinfra gets a terminal's Ctrl-C as well and ends by itself; it is waited for.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: rollout.stop.set())
    return rollout.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
