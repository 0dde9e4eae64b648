"""What became of each host in a run: a JSON file per host, on the operator's machine.

pyinfra ends with 0 or 1 and nothing else, so what a script branches on is here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path

from tasks import places

VARIABLE = "MISP_WORKERS_REPORTS"  # the operator's: the directory that has one for each run
RUN_VARIABLE = "MISP_WORKERS_RUN"  # from `python -m tasks`: the directory of this very run

DONE = "done"
FAILED = "failed"
REFUSED = "refused"
DRAIN_LIMIT = "drain_limit"
NOT_PROVEN_RETURNED = "not_proven_returned"
RETURN_FAILED = "return_failed"
INTERRUPTED = "interrupted"
NO_CONNECTION = "no connection to the host"
PLANNED = "planned"  # of a run that only looked, so no record has it
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

_CAUSE_LENGTH = 600
_NAME_LENGTH = 80


@dataclass
class Report:
    """What is known of one host in one run; a run that is killed leaves it `interrupted`."""

    host: str
    deploy: str
    outcome: str = INTERRUPTED
    step: str = ""  # the operation's name
    cause: str = ""
    changed: list[str] = field(default_factory=list)  # names of the operations that changed it
    is_unfinished: bool = False  # the step that failed may have changed the host
    started: str = ""
    ended: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    workers: int | None = None  # of a host whose set is proven

    @property
    def code(self) -> int:
        """The outcome as a number."""
        return CODES.get(self.outcome, 1)

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
        cause = f": {self.cause}" if self.cause else ""
        if self.is_unfinished:
            may = "this one may have changed the host before it failed"
            changed = f"{changed}, and {may}" if count else may
        return f"{self.outcome}{where}, {changed}{cause}"


def now() -> str:
    """The time as it stands in a report: ISO, UTC, whole seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def base() -> Path:
    """The directory that has a directory for each run."""
    return Path(os.environ.get(VARIABLE) or places.runs())


def new_directory(deploy: str) -> Path:
    """Make a directory for a run that begins; two runs in one second get two.

    The command `python -m tasks` has made it already: its slices are several runs of pyinfra's.
    """
    if made := os.environ.get(RUN_VARIABLE):
        return Path(made)
    place = base()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = f"{datetime.now(timezone.utc):%Y-%m-%dT%H%M%SZ}-{deploy}"
    number = 1
    while True:
        directory = place / (stem if number == 1 else f"{stem}-{number}")
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return directory


def file_name(host: str) -> str:
    """A name for a host's file; a host whose name had to be changed gets a digest as well."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", host).strip("-.")[:_NAME_LENGTH]
    if safe != host:
        safe = f"{safe}-{hashlib.sha256(host.encode()).hexdigest()[:8]}"
    return f"{safe}.json"


def write(directory: Path, report: Report) -> None:
    """Write a host's file, whole or not at all, for its owner's eyes only."""
    path = directory / file_name(report.host)
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(report), file, indent=2)
        file.write("\n")
    new.replace(path)


def read(directory: Path) -> list[Report]:
    """The reports of a run, by host. A file that is none counts as a failed host."""
    return sorted((_read(path) for path in directory.glob("*.json")), key=lambda one: one.host)


def _read(path: Path) -> Report:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {key.name for key in fields(Report)}
        return Report(**{key: value for key, value in values.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return Report(path.stem, "", FAILED, cause=f"{path} cannot be read: {error}")


def code(reports: Iterable[Report]) -> int:
    """A run's exit code: the largest of its hosts'."""
    return max((report.code for report in reports), default=0)
