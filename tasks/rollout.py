"""Rolls deploy.py out: canaries first, then slices of the inventory, up to the first that fails.

    python -m tasks.rollout inventories/production.py [--canary NAME] [--slice N] [-- OPTIONS]

pyinfra takes all hosts through an operation before the next one, so a mistake in their data meets
all of them at once. Here each slice is a run of pyinfra's own. What became of a host is taken from
its report alone (summary.py): pyinfra ends with 0 also where it did nothing.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import glob
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tasks import summary
from tasks.errors import RefusedError
from tasks.summary import CODES, DONE, FAILED, INTERRUPTED, Report

CANARY = "canary"  # the group that goes first where no canary is named
NOT_BEGUN = "not_begun"  # the outcome of a host that no slice has come to
DIRECTORY = "rollout"  # <UTC>-rollout, beside the runs' own directories
RECORD = "rollout"  # a file in it
SLICES = "slices"  # where it keeps the reports of its runs
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
    """The hosts that are meant, by `--limit`'s rule: a group's, else those whose name matches."""
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

    A host that is excluded leaves its slice smaller, and the other slices as they were.
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


def left(slices: Sequence[Sequence[str]], known: Mapping[str, Report]) -> dict[int, list[str]]:
    """The hosts of each slice that are not done yet, by the slice's number.

    A host that is done is not run again: with `rotate_password` it would change once more.
    """
    numbered = {
        number: [host for host in hosts if known[host].outcome != DONE]
        for number, hosts in enumerate(slices, 1)
    }
    return {number: hosts for number, hosts in numbered.items() if hosts}


def limit(host: str, groups: Groups) -> str:
    """The `--limit` that means this host alone; its plain name may be a group's as well."""
    name = glob.escape(host)
    is_group = any(name in row for row in groups.values())
    return f"--limit={f'[{name[0]}]{name[1:]}' if is_group else name}"


# --- the record --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """What is kept of a rollout beside its hosts' reports."""

    inventory: str
    data: str  # a digest of --data: hosts yet to come have to get what those before them got
    ended: str = ""

    def write(self, directory: Path) -> None:
        """Write the file, whole or not at all."""
        new = directory / f"{RECORD}.new"
        new.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        new.replace(directory / RECORD)


def record_of(inventory: str, options: Sequence[str]) -> Record:
    """The record of a rollout that begins now."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data", action="append", default=[])
    data = json.dumps(sorted(parser.parse_known_args(options)[0].data))
    return Record(str(Path(inventory).resolve()), hashlib.sha256(data.encode()).hexdigest())


def unfinished(record: Record) -> Path | None:
    """The directory of this inventory's newest rollout, if that has not ended."""
    for path in sorted(summary.base().glob(f"*Z-{DIRECTORY}*/{RECORD}"), reverse=True):
        try:
            found = Record(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RefusedError(f"{path} cannot be read ({error}): start over by --afresh") from None
        if found.inventory != record.inventory:
            continue
        if not found.ended and found.data != record.data:
            raise RefusedError(
                f"the rollout in {path.parent} stopped half-way and had other --data: give the same"
                " to go on with it, or --afresh to start over"
            )
        return None if found.ended else path.parent
    return None


# --- the rollout -------------------------------------------------------------------------------


@dataclass
class Rollout:
    """Goes through the slices; `directory` has a file for each host, as any run's has."""

    inventory: str
    groups: Groups
    slices: list[list[str]]
    options: Sequence[str]
    record: Record
    directory: Path
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> int:
        """Run what is left; gives the exit status."""
        known = self.known()
        done = sum(report.outcome == DONE for report in known.values())
        hosts_in_slices = f"{_count(len(known), 'host')} in {_count(len(self.slices), 'slice')}"
        say(f"{hosts_in_slices}, {done} done before: {self.directory}")
        for number, hosts in left(self.slices, known).items():
            title = f"slice {number} of {len(self.slices)}"
            say(f"{title} begins: {', '.join(hosts)}")
            begun = time.monotonic()
            self._run_slice(hosts)
            known = self.known()
            bad = [f"{host} {known[host].outcome}" for host in hosts if known[host].outcome != DONE]
            result = ", ".join(bad) or f"{_count(len(hosts), 'host')} done"
            say(f"{title} ends after {time.monotonic() - begun:.0f} s: {result}")
            if bad or self.stop.is_set():
                break
        return self._end(known)

    def known(self) -> dict[str, Report]:
        """What is known of each host, from the newest run that spoke of it; written down too."""
        runs = sorted((self.directory / SLICES).iterdir())
        found = {report.host: report for run in runs for report in summary.read(run)}
        known = {
            host: found.get(host, Report(host, "deploy", NOT_BEGUN))
            for hosts in self.slices
            for host in hosts
        }
        for path in self.directory.glob("*.json"):
            path.unlink()  # a host may have been excluded since
        for report in known.values():
            summary.write(self.directory, report)
        return known

    def _run_slice(self, hosts: Sequence[str]) -> None:
        """Run deploy.py on these hosts. Those that pyinfra left without a report get one."""
        place = self.directory / SLICES
        before = set(place.iterdir())
        limits = [limit(host, self.groups) for host in hosts]
        command = [sys.executable, "-m", "pyinfra", self.inventory, "deploy.py", "-y"]
        environment = {**os.environ, summary.VARIABLE: str(place)}
        status = subprocess.call([*command, *limits, *self.options], env=environment)
        new = set(place.iterdir()) - before
        spoken_of = {report.host for run in new for report in summary.read(run)}
        silent = [host for host in hosts if host not in spoken_of]
        if self.stop.is_set() or not silent:
            return
        run = max(new) if new else summary.new_directory("deploy", place)
        cause = f"not reached, or pyinfra gave up (status {status}): see what it printed"
        for host in silent:
            now = summary.now()
            report = Report(host, "deploy", FAILED, cause=cause, started=now, ended=now)
            summary.write(run, report)

    def _end(self, known: Mapping[str, Report]) -> int:
        print("\n".join(summary.table(list(known.values()))), flush=True)
        remaining = left(self.slices, known)
        if not remaining:
            replace(self.record, ended=summary.now()).write(self.directory)
            say(f"Done: {_count(len(known), 'host')}.")
            return CODES[DONE]
        say(
            f"{'Interrupted' if self.stop.is_set() else 'Stopped'}. The same command goes on with "
            f"slice {min(remaining)}; --exclude HOST leaves a host out, --afresh starts over."
        )
        return CODES[INTERRUPTED] if self.stop.is_set() else summary.code(known.values())


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
    parser.add_argument("--afresh", action="store_true", help="do not go on where one stopped")
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
    record = record_of(parsed.inventory, parsed.options)
    directory = None if parsed.afresh else unfinished(record)
    if directory is None:
        directory = summary.new_directory(DIRECTORY)
        (directory / SLICES).mkdir(mode=0o700)
        record.write(directory)
    return Rollout(parsed.inventory, groups, slices, parsed.options, record, directory)


def main(arguments: Sequence[str]) -> int:
    """Begin a rollout or go on with one; gives the exit status."""
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
