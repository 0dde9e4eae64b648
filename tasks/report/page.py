"""A run as one HTML page, for the change ticket: no script, and nothing that it has to fetch.

python -m tasks.report.page [DIR]    # report.html and junit.xml of the newest run, or of DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.report import junit, record
from tasks.report.record import Job, Report, Sample, Step, moment

FILE = "report.html"
WIDTH, HEIGHT = 600, 100  # of the old backend's curve, in its own units


class Meaning(NamedTuple):
    """An outcome in words, and its colour."""

    word: str
    kind: str
    sentence: str


_MEANINGS = {
    record.DONE: Meaning("Done", "good", ""),
    record.FAILED: Meaning("Failed", "bad", ""),
    record.REFUSED: Meaning("Refused", "warn", "Nothing on this host was changed."),
    record.DRAIN_LIMIT: Meaning(
        "Drain limit", "warn", "No job was cut. In a migration both backends run."
    ),
    record.NOT_PROVEN_RETURNED: Meaning(
        "Returned", "warn", "This host is on its old workers, as before."
    ),
    record.RETURN_FAILED: Meaning("Return failed", "bad", "The way back stopped half-way."),
    record.INTERRUPTED: Meaning("Interrupted", "idle", ""),
}
_NAMES = {"misp": "MISP", "php": "PHP", "redis": "Redis"}
_DONE = {
    "deploy": "This host is migrated: its new workers are proven.",
    "rollback": "This host is on its old workers again.",
    "healthcheck": "This host has the health check for its monitor.",
}
_TITLES = {"deploy": "Migration", "rollback": "Rollback", "healthcheck": "Health check"}


@dataclass
class Queue:
    """A queue's workers, its test job, and what MISP sees."""

    name: str
    pids: list[int]
    started: str  # of the youngest worker
    job: Job | None
    seen: str


class Host:
    """A report, and what the page computes of it."""

    def __init__(self, report: Report, number: int) -> None:
        self.report = report
        self.id = f"host-{number}"
        known = _MEANINGS.get(report.outcome)
        self.meaning = known or Meaning(report.outcome.replace("_", " "), "idle", "")
        if report.outcome == record.DONE:
            self.meaning = self.meaning._replace(sentence=_DONE.get(report.deploy, ""))
        times = [report.started, report.ended]
        times += [time for step in report.steps for time in (step.started, step.ended)]
        times += [sample.at for sample in report.drain[-1:]]
        moments = [at for at in map(moment, times) if at]
        self.start, self.end = min(moments, default=None), max(moments, default=None)

    @property
    def seconds(self) -> float:
        """From the host's first moment to its last."""
        return (self.end - self.start).total_seconds() if self.start and self.end else 0.0

    def place(self, text: str) -> float | None:
        """Where a time is on the host's timeline, in percent; `None`: nowhere."""
        at = moment(text)
        if at is None or self.start is None or not self.seconds:
            return None
        return round(min(100.0, max(0.0, _after(self.start, at) / self.seconds * 100)), 2)

    def bar(self, step: Step) -> tuple[float, float]:
        """Where the step's bar begins, and how wide it is, in percent."""
        left = self.place(step.started) or 0.0
        right = self.place(step.ended) if step.ended else 100.0
        return left, round(max(0.0, (right or 0.0) - left), 2)

    @property
    def cut(self) -> float | None:
        """Where the cut-over is on the timeline."""
        return self.place(self.report.cut_over.web_tier) if self.report.cut_over else None

    @cached_property
    def queues(self) -> list[Queue]:
        """The worker set and its proof, by queue."""
        report = self.report
        jobs = {job.queue: job for job in report.proof.jobs} if report.proof else {}
        view = report.proof.view if report.proof else {}
        found = []
        for name in dict.fromkeys(worker.queue for worker in report.workers):
            workers = [worker for worker in report.workers if worker.queue == name]
            seen = view.get(name)
            words = f"{seen.get('good', 0)} of {seen.get('workers', 0)} good" if seen else ""
            pids = [worker.pid for worker in workers]
            started = max(worker.started for worker in workers)
            found.append(Queue(name, pids, started, jobs.get(name), words))
        return found

    @property
    def versions(self) -> list[tuple[str, str, str]]:
        """Name, version before and version after; empty: not there, or not asked."""
        before, after = (self.report.versions.get(when, {}) for when in ("before", "after"))
        names = dict.fromkeys([*before, *after])
        return [
            (_NAMES.get(name, name), before.get(name, ""), after.get(name, "")) for name in names
        ]

    @cached_property
    def curve(self) -> Curve | None:
        """The old backend over time; `None`: it had nothing to do, or was looked at once."""
        samples = self.report.drain
        highest = max((max(sample[1:]) for sample in samples), default=0)
        if not highest or len(samples) < 2:
            return None
        first, last = moment(samples[0].at), moment(samples[-1].at)
        return Curve(samples, first, _after(first, last), highest) if first and last else None


@dataclass
class Curve:
    """How many jobs the old backend had, in three lines."""

    samples: Sequence[Sample]
    first: datetime
    seconds: float
    highest: int

    def line(self, field: str) -> str:
        """An SVG path; straight between two looks, since nobody knows better."""
        points = [
            f"{self.place(one.at):.1f} {HEIGHT - getattr(one, field) / self.highest * HEIGHT:.1f}"
            for one in self.samples
        ]
        return f"M{'L'.join(points)}"

    def place(self, text: str) -> float:
        """Where a time is, in the curve's units."""
        seconds = _after(self.first, moment(text) or self.first)
        return round(min(1.0, max(0.0, seconds / (self.seconds or 1))) * WIDTH, 1)

    def most(self, field: str) -> int:
        """The highest number of a line."""
        return max(int(getattr(sample, field)) for sample in self.samples)


def _after(first: datetime, second: datetime) -> float:
    return (second - first).total_seconds()


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clock(text: str) -> str:
    """The time of day, UTC; a dash where there is none."""
    at = moment(text)
    return f"{at:%H:%M:%S}" if at else "–"  # noqa: RUF001


def day(text: str) -> str:
    """The date and the time of day, UTC."""
    at = moment(text)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else ""


def html(name: str, reports: Sequence[Report]) -> str:
    """The page's text. Whatever comes from a host is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, clock=clock, day=day)
    hosts = [Host(report, number) for number, report in enumerate(reports, 1)]
    counts: dict[str, Any] = {}
    for host in sorted(hosts, key=lambda one: one.report.code):
        counts.setdefault(host.meaning.word, [host.meaning, 0])[1] += 1
    template = environment.get_template("page.html.j2")
    titles = [_TITLES[one.deploy] for one in reports if one.deploy in _TITLES]
    kind = titles[0] if titles else "Run"  # no report can be read
    title = f"{kind} of {len(hosts)} MISP host{'' if len(hosts) == 1 else 's'}"
    return template.render(
        name=name, title=title, hosts=hosts, counts=counts, width=WIDTH, height=HEIGHT
    )


def write(directory: Path) -> None:
    """Write the page beside the run's reports.

    Raises:
        OSError: it cannot be written.
    """
    record.write_text(directory / FILE, html(directory.name, record.read(directory)))


def main(arguments: Sequence[str]) -> int:
    """Write a run's page and junit.xml anew; gives the exit status."""
    directory = record.named(arguments, "page")
    if not directory:
        return 1
    junit.write(directory)
    write(directory)
    print(directory / FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
