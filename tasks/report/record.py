"""What became of each host in a run: a JSON file per host, on the operator's machine.

pyinfra ends with 0 or 1 and nothing else, so what a script branches on is here. docs/records.md
explains each field.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from tasks import places
from tasks.errors import RefusedError

VARIABLE = "MISP_WORKERS_REPORTS"  # the operator's: the directory that has one for each run
RUN_VARIABLE = "MISP_WORKERS_RUN"  # from `python -m tasks`: the directory of this very run
SCHEMA = 1  # another number: fields have another meaning
OUTPUT = "output.log"  # beside the records: all that pyinfra printed

DONE = "done"
FAILED = "failed"
REFUSED = "refused"
DRAIN_LIMIT = "drain_limit"
NOT_PROVEN_RETURNED = "not_proven_returned"
RETURN_FAILED = "return_failed"
INTERRUPTED = "interrupted"
NO_CONNECTION = "no connection to the host. Try `ssh` to it; once that works, run again"
PLANNED = "planned"  # of a run that only looked, so no record has it
NOT_BEGUN = "not_begun"  # in a run by slices: no slice has come to this host
# The largest of its hosts' codes is a run's.
CODES = {
    DONE: 0,
    FAILED: 1,
    REFUSED: 2,  # nothing on the host was changed
    DRAIN_LIMIT: 3,  # both backends run
    NOT_PROVEN_RETURNED: 4,  # the old workers have it all again
    RETURN_FAILED: 5,
    INTERRUPTED: 97,  # killed, or still at work
}
CHANGED = "changed"  # a step that did something; UNCHANGED: the host was so already
UNCHANGED = "unchanged"

CUT_OFF = (
    "the run did not come to its end here: it was killed, or it is still at work. A call that has "
    "begun on the host goes on to its own end"
)
NO_TURN = "the run ended before this host's turn"
_SILENT = f"the run gave no reason; what it printed is in {OUTPUT}"
_CAUSE_LENGTH = 600
_NAME_LENGTH = 80


class Sample(NamedTuple):
    """The old backend at one look: before the drain and in it."""

    at: str
    waiting: int
    running: int
    delayed: int  # MISP's scheduled tasks are no part of it


@dataclass
class Step:
    """One operation on the host."""

    step: str  # the operation's name
    started: str
    ended: str = ""  # empty: it is at work, or was cut off
    seconds: float = 0.0
    outcome: str = ""  # CHANGED, UNCHANGED or FAILED; empty: as `ended`
    calls: list[str] = field(default_factory=list)  # that change something, with what they do
    says: list[str] = field(default_factory=list)


@dataclass
class Worker:
    """A worker of the set that was proven."""

    name: str
    queue: str
    pid: int
    started: str


@dataclass
class Job:
    """A test job of the proof, by the host's clock."""

    queue: str
    id: str
    started: str
    seconds: float


@dataclass
class Proof:
    """That the new workers work. Without jobs it is an earlier run's, and still holds."""

    at: str
    jobs: list[Job]
    view: dict[str, dict[str, int]]  # what MISP sees of each queue: "workers", and "good" ones
    supervisord_status: bool  # MISP reaches supervisord
    over_rest: bool  # MISP's web tier was asked as well


@dataclass
class Jobs:
    """What became of jobs."""

    drained: int = 0  # that old workers ended from the first look to the last
    converted: int = 0  # from the old backend to the new one
    moved: int = 0  # from the new backend to the old one


@dataclass
class CutOver:
    """When MISP began to use the new backend."""

    enabled: str = ""  # `enabled` was stored; empty: an earlier run did that
    web_tier: str = ""  # and PHP processes of the web tier had it


@dataclass
class Report:
    """What is known of one host in one run; a run that is killed leaves it `interrupted`."""

    host: str
    deploy: str
    outcome: str = INTERRUPTED
    step: str = ""  # the last one that began
    cause: str = ""
    changed: list[str] = field(default_factory=list)  # names of the steps that changed it
    # Calls of the step that failed, or is at work, that may have changed the host.
    may_have_changed: list[str] = field(default_factory=list)
    started: str = ""
    ended: str = ""
    operator: str = ""
    project: dict[str, str] = field(default_factory=dict)  # "version" and "commit"
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)  # "before" and "after"
    plan: dict[str, Any] | None = None
    steps: list[Step] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)  # of a host whose set is proven
    proof: Proof | None = None
    cut_over: CutOver | None = None
    jobs: Jobs = field(default_factory=Jobs)
    drain: list[Sample] = field(default_factory=list)
    scheduled_tasks: list[str] = field(default_factory=list)
    output: str = ""  # path of the run's whole output
    schema: int = SCHEMA

    @property
    def code(self) -> int:
        """The outcome as a number."""
        return CODES.get(self.outcome, 1)

    @property
    def is_unfinished(self) -> bool:
        """The step that failed, or is at work, may have changed the host."""
        return bool(self.may_have_changed)

    @property
    def reason(self) -> str:
        """The cause; never empty where something keeps the host from its end."""
        if self.cause or self.outcome in (DONE, PLANNED):
            return self.cause
        return {INTERRUPTED: CUT_OFF, NOT_BEGUN: NO_TURN}.get(self.outcome, _SILENT)

    def add_cause(self, text: str) -> None:
        """Append to the reasons, in one line and not without end."""
        words = " ".join(text.split())
        if words and words not in self.cause:
            whole = f"{self.cause}; {words}" if self.cause else words
            self.cause = whole[: _CAUSE_LENGTH - 3] + "..." if len(whole) > _CAUSE_LENGTH else whole

    def sentence(self) -> str:
        """The outcome in a line, for the end of a run."""
        count = len(self.changed)
        changed = f"{count or 'no'} operation{'' if count == 1 else 's'} changed"
        where = f" in {self.step}" if self.step and self.outcome != DONE else ""
        cause = f": {self.reason}" if self.reason else ""
        if self.is_unfinished:
            may = "this one may have changed the host before it failed"
            changed = f"{changed}, and {may}" if count else may
        return f"{self.outcome}{where}, {changed}{cause}"


_REPORT = TypeAdapter(Report)


def now(seconds: float = 0.0) -> str:
    """The time as it stands in a report: ISO, UTC, milliseconds.

    Args:
        seconds: since 1970; 0: this moment.
    """
    moment = datetime.fromtimestamp(seconds, timezone.utc) if seconds else _now()
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def moment(text: str) -> datetime | None:
    """The time that a report's text stands for; `None`: there is none."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def seconds_between(start: str, end: str) -> float:
    """Between two times of a report; 0 where one is missing."""
    first, last = moment(start), moment(end)
    return round((last - first).total_seconds(), 3) if first and last else 0.0


def _now() -> datetime:
    return datetime.now(timezone.utc)


def base() -> Path:
    """The directory that has a directory for each run."""
    return Path(os.environ.get(VARIABLE) or places.runs())


def new_directory(deploy: str) -> Path:
    """Make a directory for a run that begins; two runs in one second get two.

    The command `python -m tasks` has made it already: its slices are several runs of pyinfra's.

    Raises:
        RefusedError: there is no place for it.
    """
    if made := os.environ.get(RUN_VARIABLE):
        return Path(made)
    try:
        return _new_directory(deploy)
    except (OSError, RuntimeError) as error:  # the latter: nobody knows the operator's home
        raise RefusedError(
            f"no folder for the records can be made ({error}): have {VARIABLE} name a place for it"
        ) from None


def _new_directory(deploy: str) -> Path:
    place = base()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = f"{_now():%Y-%m-%dT%H%M%SZ}-{deploy}"
    number = 1
    while True:
        directory = place / (stem if number == 1 else f"{stem}-{number}")
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return directory


def newest() -> Path | None:
    """The directory of the run that began last."""
    found = [path for path in base().glob("*Z-*") if path.is_dir()] if base().is_dir() else []
    second = len("2026-01-01T000000Z")
    return max(found, key=lambda path: (path.name[:second], path.stat().st_mtime), default=None)


def file_name(host: str) -> str:
    """A name for a host's file; a host whose name had to be changed gets a digest as well."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", host).strip("-.")[:_NAME_LENGTH]
    if safe != host:
        safe = f"{safe}-{hashlib.sha256(host.encode()).hexdigest()[:8]}"
    return f"{safe}.json"


def write(directory: Path, report: Report) -> None:
    """Write a host's file, whole or not at all, for its owner's eyes only."""
    values = _REPORT.dump_python(report, warnings=False)
    values = {"schema": SCHEMA, **values, "cause": report.reason}
    # In one line while the run is at work: that takes a third of the time.
    text = json.dumps(values, indent=2 if report.ended else None)
    write_text(directory / file_name(report.host), text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file as `write` does."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        new.replace(path)
    except OSError:  # a full disk, say
        new.unlink(missing_ok=True)
        raise


def read(directory: Path) -> list[Report]:
    """The reports of a run, by host. A file that is none counts as a failed host."""
    return sorted((_read(path) for path in directory.glob("*.json")), key=lambda one: one.host)


def _read(path: Path) -> Report:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        schema = values["schema"]
        if schema != SCHEMA:
            raise ValueError(f"it has schema {schema}, and this version reads {SCHEMA}")
        return _REPORT.validate_python(values)
    except ValidationError as error:
        why = f"its field {'.'.join(map(str, error.errors()[0]['loc']))} is not as it should be"
    except (OSError, ValueError, TypeError, KeyError) as error:
        why = f"{type(error).__name__}: {error}"
    return Report(path.stem, "", FAILED, cause=f"{path} cannot be read: {why}")


def named(arguments: Sequence[str], module: str) -> Path | None:
    """The run's directory that a command line means, or the newest; else what is wrong is said."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(f"usage: python -m tasks.report.{module} [DIR]", file=sys.stderr)
        return None
    directory = Path(arguments[0]) if arguments else newest()
    if not directory or not next(directory.glob("*.json"), None):
        print(f"no report of a run in {directory or base()}", file=sys.stderr)
        return None
    return directory
