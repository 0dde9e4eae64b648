"""What a job of the old backend's is called in a sentence: its shell and what that is to do.

The web user writes these records, so letters and digits alone are taken from them. A job whose name
cannot be had still counts.
"""

import re

from tasks.host.errors import HostError
from tasks.host.queues import Backend
from tasks.host.redis import Word
from tasks.host.replies import RECORD_BYTES, text

_START = 4096  # bytes in which a record says what it is
_CLASS = re.compile(rb'"class":\s*"([A-Za-z0-9_]{1,40})"')
_ACTION = re.compile(rb'"args":\s*\[\s*(?:\[|\{\s*"0":)\s*"([A-Za-z0-9_]{1,40})"')


def name(record: bytes) -> str:
    """Return a name as in "ServerShell pull"; empty for what is no job of MISP's."""
    found = [pattern.search(record[:_START]) for pattern in (_CLASS, _ACTION)]
    words = [match.group(1).decode("ascii") for match in found if match]
    return " ".join(words) if found[0] else ""


def running(old: Backend, key: bytes) -> str:
    """Return the name of the job that a worker has; empty: not known, or it has ended."""
    return _asked(old, "GETRANGE", key, 0, _START - 1)  # a record's end may be long


def first(old: Backend, queue: str) -> str:
    """Return the name of the job that waits first; empty: not known, or taken meanwhile."""
    return _asked(old, "LINDEX", old.key("queue:" + queue), 0)


def _asked(old: Backend, *words: Word) -> str:
    try:
        return name(text(old.redis.command(*words), "a job", RECORD_BYTES) or b"")
    except HostError:
        return ""
