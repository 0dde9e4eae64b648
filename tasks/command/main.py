"""The four commands. Each is one run of pyinfra, or for slices one after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TextIO

from tasks import places
from tasks.command import arguments, ending, inventory, status_view, streams, views
from tasks.command.arguments import Asked
from tasks.command.child import Child, command, last_error, last_words
from tasks.command.fleet import FAULTY, HEALTHY, NOT_BEGUN, Fleet, Host, count
from tasks.command.inventory import Groups
from tasks.errors import MigrationError, RefusedError
from tasks.plan import document, show
from tasks.report import junit, page, record
from tasks.report.record import CODES, DONE, FAILED, INTERRUPTED, PLANNED, Report


def main(words: Sequence[str]) -> int:
    """Run a command; gives the exit status."""
    with streams.steady():
        return _main(words)


def _main(words: Sequence[str]) -> int:
    # Until pyinfra is at work these end the command; from then on they end pyinfra first.
    _on_signals(signal.default_int_handler)
    try:
        act = _prepared(arguments.parsed(words))
    except (MigrationError, OSError) as error:
        print(f"Nothing began: {error}", file=sys.stderr)
        return CODES[FAILED]
    except KeyboardInterrupt:
        print("Interrupted. Nothing began.", file=sys.stderr)
        return CODES[INTERRUPTED]
    code = act()
    _on_signals(signal.SIG_IGN)  # what is over has its exit status, also if Python is still to end
    return code


def _on_signals(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Have what ends a command come to `handler`; a SIGHUP that nohup keeps off stays off."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _prepared(asked: Asked) -> Callable[[], int]:
    """What is to be run, once everything that is wrong with the command line is known."""
    source, options, approved = asked.source, [*asked.options], None
    if _is_plan(Path(source)):
        source, approved = document.load(Path(source))
        if asked.command != "apply":
            raise RefusedError(f"{asked.source} is a plan for apply: name its inventory {source}")
        options += ["--data", f"approved_plan={Path(asked.source).resolve()}"]
    if asked.expect:
        options += ["--data", f"expect={asked.expect}"]
    _check_out(asked)
    groups = inventory.hosts_of(source, options)
    meant = groups if approved is None else _of_the_plan(groups, approved, source)
    within = inventory.chosen(meant, asked.limit, ())
    taken = inventory.chosen(meant, asked.limit, asked.exclude)
    run = Run(asked, source, options, groups, Fleet(taken))
    if asked.changes:
        slices = inventory.in_slices(within, taken, asked.canary, asked.size)
        kind = "healthcheck" if asked.installs_healthcheck else asked.command
        directory = record.new_directory(kind).resolve()
        run.log = directory / "pyinfra.log"
        run.log.touch(0o600)
        return partial(_change, run, slices, directory)
    descriptor, name = tempfile.mkstemp(prefix="misp-workers-", suffix=".log")
    os.close(descriptor)
    run.log = Path(name)
    return partial(_plan if asked.command == "plan" else _status, run)


def _is_plan(path: Path) -> bool:
    """Tell the file of a plan, which is JSON, from an inventory, which is Python."""
    try:
        return path.read_bytes()[:1] == b"{"
    except OSError:
        return False


def _check_out(asked: Asked) -> None:
    if asked.out:
        path = Path(asked.out)
        if not path.absolute().parent.is_dir():
            raise RefusedError(f"--out: there is no folder {path.parent}")
        if path.exists() and not _is_plan(path):
            raise RefusedError(f"--out: {path} is there and is no plan, so it stays as it is")


def _of_the_plan(groups: Groups, approved: Mapping[str, object], source: str) -> Groups:
    if gone := [host for host in approved if host not in groups]:
        raise RefusedError(f"{', '.join(gone)}: in the plan, but no longer in {source}; plan again")
    return {host: groups[host] for host in groups if host in approved}


class Run:
    """What the hosts of one command line go through."""

    def __init__(
        self, asked: Asked, source: str, options: Sequence[str], groups: Groups, fleet: Fleet
    ) -> None:
        """Nothing begins yet."""
        self.asked = asked
        self.source = source
        self.options = options
        self.groups = groups
        self.fleet = fleet
        self.log = Path()  # all that pyinfra prints
        self.is_stopped = False
        self.ending = ""  # how the last pyinfra ended
        self.has_failed = False
        self.is_warned = False  # that a record could not be written
        self._child: Child | None = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[views.View]:
        """Show what the hosts are at; a signal stops the run from now on."""
        _on_signals(self._stop)
        is_plain = self.asked.asks or self.asked.is_verbose
        with views.shown(self.fleet, is_plain=is_plain) as self.view:
            yield self.view

    def _stop(self, number: int, _frame: object) -> None:
        if self._child:
            self._child.interrupt(number)
        self.is_stopped = True

    def pyinfra(self, hosts: Sequence[str], *flags: str, **environment: str) -> None:
        """Run pyinfra on these hosts up to its end."""
        self.fleet.begin(hosts)
        deploy = places.FILES / self.asked.deploy
        is_all = len(hosts) == len(self.groups)
        limits = [] if is_all else [inventory.limit(host, self.groups) for host in hosts]
        words = command(self.source, str(deploy.resolve()), [*flags, *limits, *self.options])
        with self.log.open(encoding="utf-8", errors="replace") as printed:
            printed.seek(0, os.SEEK_END)
            self._child = Child(words, environment, self.log, asks=self.asked.asks)
            if self.is_stopped and not self._child.is_interrupted:
                self._child.interrupt(signal.SIGTERM)
            self._follow(self._child, printed)
        self.ending, self.has_failed = self._child.ending, self._child.has_failed
        self._child = None

    def _follow(self, child: Child, printed: TextIO) -> None:
        """Show what happens up to the child's end."""
        has_said = False
        for event in child.events():
            if event and (host := self.fleet.take(event)):
                self.view.happened(event, host)
            if self.asked.is_verbose and (new := printed.read()):
                self.view.passes(new)
            if self.is_stopped and not has_said:
                has_said = True
                self.view.says("Interrupted: pyinfra lets go of the hosts; again ends it at once.")
            self.view.tick()

    def code(self) -> int:
        """The exit status: the worst host's, and after a signal that of an interruption."""
        worst = self.fleet.code()
        return CODES[INTERRUPTED] if self.is_stopped and worst else worst

    def silence(self, host: str) -> str:
        """Why nothing was heard of a host's end: the log's last words about it."""
        if self.is_stopped:
            return "interrupted"
        error = last_error(self.log) if self.has_failed else ""
        words = error or last_words(self.log, host) or "it said nothing"
        return f"{words} ({self.ending}, see {self.log})"


# --- apply, rollback ----------------------------------------------------------------------------


def _change(run: Run, slices: Sequence[Sequence[str]], directory: Path) -> int:
    deploy = Path(run.asked.deploy).stem
    with run.shown() as view:
        for name in run.fleet:
            _write(run, directory, Report(name, deploy, NOT_BEGUN))
        for number, hosts in enumerate(slices, 1):
            title = f"slice {number} of {len(slices)}" if len(slices) > 1 else ""
            if title:
                view.says(f"{title} begins: {', '.join(hosts)}")
            run.pyinfra(hosts, "-y", **{record.RUN_VARIABLE: str(directory)})
            _settle(run, hosts, directory)
            bad = run.fleet.not_good(hosts)
            if title:
                said = ", ".join(f"{host.name} {host.outcome}" for host in bad)
                view.says(f"{title} ends: {said or count(len(hosts), 'host') + ' done'}")
            if bad or run.is_stopped:
                break
    for host in run.fleet.values():
        host.outcome = host.outcome or NOT_BEGUN
    _write_evidence(run, directory)
    print("\n".join(ending.report(run.fleet)))
    return _closed(run, ("Record", directory), ("Log", run.log))


def _write_evidence(run: Run, directory: Path) -> None:
    """Make the page and the tests' file anew: of all slices, and with what pyinfra did not end."""
    for make in (page.write, junit.write):
        try:
            make(directory)
        except OSError as error:
            if not run.is_warned:
                print(f"{directory} is not complete: {error}", file=sys.stderr)
            run.is_warned = True


def _settle(run: Run, hosts: Sequence[str], directory: Path) -> None:
    """Take each host's outcome from its record. One that pyinfra left without an end gets one."""
    reports = {report.host: report for report in record.read(directory)}
    for name in hosts:
        report = reports.get(name) or Report(name, Path(run.asked.deploy).stem, NOT_BEGUN)
        if _learn(report, run.fleet[name]):
            _write(run, directory, report)
        if report.outcome == NOT_BEGUN and not run.is_stopped:
            report.outcome, report.started, report.ended = FAILED, record.now(), record.now()
            report.cause = ""  # the record's was that of a host that waits
            report.add_cause(run.silence(name))
            _write(run, directory, report)
        elif report.outcome == INTERRUPTED and not report.ended:
            waiting = run.fleet[name].waiting
            report.ended = record.now()
            report.cause = report.cause.replace(record.CUT_OFF, "")  # here more is known
            report.add_cause(run.silence(name))
            report.add_cause(f"at that time: {waiting}" if waiting else "")
            _write(run, directory, report)
        elif report.cause.startswith(record.NO_CONNECTION):
            report.add_cause(last_words(run.log, name))
            _write(run, directory, report)
        run.fleet[name].take_report(report)


def _learn(report: Report, host: Host) -> bool:
    """Bring a record up to what the host's events told, which a full disk may have kept out of it.

    Gives whether something was missing.
    """
    if host.has_ended and host.outcome != report.outcome:
        report.outcome, report.cause, report.changed = host.outcome, host.cause, host.changed
        report.ended = "" if host.outcome == INTERRUPTED else record.now()
        if host.outcome == DONE:
            report.may_have_changed = []
    elif host.step and report.outcome == NOT_BEGUN:
        report.outcome, report.cause = INTERRUPTED, ""
    else:
        return False
    report.step = host.step or report.step
    report.started = report.started or record.now()
    return True


def _write(run: Run, directory: Path, report: Report) -> None:
    """Write a record. A full disk on the operator's machine must stop no migration."""
    try:
        record.write(directory, report)
    except OSError as error:
        if not run.is_warned:
            run.view.says(f"{report.host}: its record cannot be written: {error}. The run goes on")
        run.is_warned = True


# --- plan, status -------------------------------------------------------------------------------


@contextlib.contextmanager
def _looked(run: Run) -> Iterator[None]:
    """Have the hosts looked at. The log stays where a host's end is in no event."""
    with run.shown():
        run.pyinfra([*run.fleet], "--dry", "--json")
    for host in run.fleet.values():
        if run.is_stopped and host.outcome in ("", PLANNED):
            host.outcome, host.cause = INTERRUPTED, "before its end"
        elif not host.outcome or (host.outcome == PLANNED and not host.plan):
            host.outcome, host.cause = FAILED, run.silence(host.name)
        elif host.cause.startswith(record.NO_CONNECTION):
            host.cause += f"; {last_words(run.log, host.name)}"
    yield
    if not run.fleet.keys_of(FAILED):
        run.log.unlink()


def _plan(run: Run) -> int:
    with _looked(run):
        plans = {name: run.fleet[name].plan for name in run.fleet.keys_of(PLANNED)}
        if plans:
            print("\n".join(show.lines(plans)))
        if any(name not in plans for name in run.fleet):
            print("\n".join(ending.report(run.fleet)))
    if run.asked.out and plans:
        source = Path(run.source)
        kept = str(source.resolve()) if source.exists() else run.source
        try:
            document.save(Path(run.asked.out), plans, kept)
        except (MigrationError, OSError) as error:
            print(f"The plan is not kept: {error}", file=sys.stderr)
            return CODES[FAILED]
        whole = f"{len(plans)} of {count(len(run.fleet), 'host')}"
        print(f"\nThe plan of {whole} is in {run.asked.out}.")
    elif run.asked.out:
        print(f"\nNo plan is kept: no host has one.{_as_it_was(Path(run.asked.out))}")
    return _closed(run, ("Log", run.log if run.log.exists() else None))


def _as_it_was(file: Path) -> str:
    """That an older plan is still there, as a sentence of its own."""
    if not file.exists():
        return ""
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.stat().st_mtime))
    return f" {file} stays as it was on {at}."


def _status(run: Run) -> int:
    with _looked(run):
        documents = []
        for name, host in run.fleet.items():
            one = status_view.document(name, host.status, host.problems or [host.cause])
            if host.outcome == INTERRUPTED:
                one = status_view.interrupted(name)
            elif host.status:
                host.outcome = FAULTY if status_view.code([one]) else HEALTHY
            documents.append(one)
        print(
            status_view.as_json(documents)
            if run.asked.as_json
            else "\n".join(status_view.table(documents))
        )
    if run.log.exists():
        print(f"Log: {run.log}", file=sys.stderr)
    return run.code()


def _closed(run: Run, *kept: tuple[str, Path | None]) -> int:
    step = ending.next_step(run.asked, run.source, run.fleet)
    print("\n".join(ending.closing(kept, step)), flush=True)
    return run.code()
