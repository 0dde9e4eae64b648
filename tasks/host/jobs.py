"""The records of jobs, as each backend writes them, and what becomes of them on the other side."""

import hashlib
import json
import re
import uuid
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tasks.host.old_backend import delayed_until
from tasks.host.queues import NEW_QUEUES, SHELLS
from tasks.host.remedies import MOST_OF_A_NAME, quoted
from tasks.host.replies import parsed, plain

# Gives rows of MISP's table `jobs` another `process_id`, by pairs of the present and the next one:
# MISP's page of jobs finds a job's state by it. It may be called again with the same pairs.
Rename = Callable[[List[Tuple[str, str]]], None]

_ID = re.compile(r"[!-~]{1,200}\Z")  # part of a key's name, and of a row
# Big input is in Redis, and the argument says where (enqueueDataFile). Other text that a user may
# have begun with "redis:" is no such thing.
_DATA = re.compile(r"redis:([0-9A-Fa-f-]{36})\Z")


class OldJob(NamedTuple):
    """A job of MISP's on the old backend."""

    queue: str
    id: str
    command: str
    args: List[Any]


class NewJob(NamedTuple):
    """A job of MISP's on the new backend."""

    id: str
    command: str
    args: List[Any]

    @property
    def old_id(self) -> str:
        """Its id on the old backend: always the same one, so that a move can be repeated."""
        return hashlib.md5(self.id.encode()).hexdigest()  # noqa: S324  # CakeResque's ids look so

    @property
    def data(self) -> Dict[int, str]:
        """Its arguments that are in Redis: UUIDs by position."""
        found = {}
        for position, argument in enumerate(self.args):
            match = _DATA.match(argument) if isinstance(argument, str) else None
            if match:
                found[position] = match.group(1)
        return found


def new_id() -> str:
    """Return an id as the new backend's jobs have."""
    return str(uuid.uuid4())


def is_id(value: Any) -> bool:
    """Whether a value can be a job's id."""
    return isinstance(value, str) and _ID.match(value) is not None


def old_job(name: str, record: bytes) -> Optional[OldJob]:
    """Return the job of a record in an old list; None for what is no job of MISP's.

    A delayed record has its id and its queue in other places than a waiting one
    (php-resque-ex-scheduler).
    """
    found = parsed(record)
    arguments = found.get("args") if isinstance(found, dict) else None
    if not isinstance(arguments, list) or not arguments:
        return None
    args, id_, queue = arguments[0], found.get("id"), name.partition(":")[2]
    if delayed_until(name):
        id_ = args.get("id") if isinstance(args, dict) else None
        queue = found.get("queue")
    if isinstance(args, dict):  # PHP writes a list with further keys (id, s_time) as a map
        args = [value for key, value in args.items() if key not in ("id", "s_time")]
    commands = [command for command, shell in SHELLS.items() if shell == found.get("class")]
    if not isinstance(args, list) or not is_id(id_) or not commands or queue not in NEW_QUEUES:
        return None
    return OldJob(queue, str(id_), commands[0], args)


def new_job(record: bytes) -> Optional[NewJob]:
    """Return the job of a record in a new queue; None for what is no job of MISP's."""
    found = parsed(record)
    if not isinstance(found, dict):
        return None
    id_, command, args = found.get("id"), found.get("command"), found.get("args", [])
    if not is_id(id_) or not isinstance(args, list):
        return None
    if not isinstance(command, str) or command not in SHELLS:
        return None
    return NewJob(str(id_), command, args)


def new_record(job: OldJob, id_: str, epoch: int) -> str:
    """Return a job in the new backend's wire format (BackgroundJob.php), its keys in that order."""
    return compact(
        {
            "id": id_,
            "command": job.command,
            "args": job.args,
            "createdAt": epoch,
            "updatedAt": None,
            "status": 1,
            "output": None,
            "error": None,
            "metadata": [],
        }
    )


def old_record(job: NewJob, args: List[Any]) -> str:
    """Return a job in the old backend's wire format (Resque_Job)."""
    return compact({"class": SHELLS[job.command], "args": [args], "id": job.old_id})


def compact(value: Any) -> str:
    """Return JSON as PHP writes it, but for its escaped slashes."""
    return json.dumps(value, separators=(",", ":"))


def named(name: str, record: bytes, reason: str) -> str:
    """Return why a record stays in its list, for the operator."""
    return f"{quoted(name, MOST_OF_A_NAME)}: {reason}: {quoted(plain(record))}"
