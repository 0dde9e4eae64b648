"""Replies of Redis, checked before use: they come through a process of the web user's.

Whatever is not of the expected kind and of a sane size raises WebUserError, and nothing of an odd
reply is shown: it may hold anything.
"""

import json
from typing import Any, List, Optional, Set

from tasks.host.errors import WebUserError
from tasks.host.redis import Redis, Reply, Word

RECORD_BYTES = 32 * 1024 * 1024  # a workflow's job carries whole events in its arguments
NAME_BYTES = 1024
NAMES = 100000
LIST_BYTES = 512 * 1024 * 1024  # of a whole list
ROUNDS = 100000  # of SCAN
PAGE = 500  # records of a list that are asked for at once
_DIGITS = 100  # of a number in a record; Python takes quadratic time for them
_HIGHEST = 2**63 - 1  # Redis's own limit


def odd(what: str) -> WebUserError:
    """Return the error for a reply that Redis does not give to that question."""
    return WebUserError(
        "Redis gave an answer that makes no sense when it was asked for " + what + ": see whether "
        "something other than Redis answers there, or something changes its answers"
    )


def number(reply: Reply, what: str) -> int:
    """Return a count: a number from 0 on."""
    if isinstance(reply, bool) or not isinstance(reply, int) or not 0 <= reply <= _HIGHEST:
        raise odd(what)
    return reply


def counter(reply: Reply, what: str) -> int:
    """Return a count that Redis keeps as text; 0 where there is none."""
    if reply is None:
        return 0
    if not isinstance(reply, bytes) or len(reply) > 19 or not reply.isdigit():
        raise odd(what)
    return int(reply)


def text(reply: Reply, what: str, limit: int = NAME_BYTES) -> Optional[bytes]:
    """Return a text of at most `limit` bytes, None where Redis has none."""
    if reply is not None and (not isinstance(reply, bytes) or len(reply) > limit):
        raise odd(what)
    return reply


def texts(reply: Reply, what: str, limit: int = NAME_BYTES, most: int = NAMES) -> List[bytes]:
    """Return a list of at most `most` texts of at most `limit` bytes each."""
    if not isinstance(reply, list) or len(reply) > most:
        raise odd(what)
    for item in reply:
        if not isinstance(item, bytes) or len(item) > limit:
            raise odd(what)
    return reply


def page(redis: Redis, key: Word, start: int) -> List[bytes]:
    """Return some records of a list, from a position on; empty at its end."""
    reply = redis.command("LRANGE", key, start, start + PAGE - 1)
    return texts(reply, "the jobs of a queue", RECORD_BYTES, PAGE)


def records(redis: Redis, key: Word) -> List[bytes]:
    """Return all records of a list."""
    found: List[bytes] = []
    size = 0
    while size <= LIST_BYTES:
        some = page(redis, key, len(found))
        found.extend(some)
        if len(some) < PAGE:
            return found
        size += sum(map(len, some)) + 64 * PAGE
    raise WebUserError("a queue in Redis holds more than half a gigabyte of jobs")


def matching(redis: Redis, pattern: str, most: int) -> List[bytes]:
    """Return keys of the database by a pattern, each once, and not all where they are many."""
    cursor = b"0"
    found: Set[bytes] = set()
    for _ in range(ROUNDS):
        reply = redis.command("SCAN", cursor, "MATCH", pattern, "COUNT", 500)
        if not isinstance(reply, list) or len(reply) != 2:
            raise odd("its keys")
        cursor = text(reply[0], "its keys", 20) or b""
        if not cursor.isdigit():
            raise odd("its keys")
        found.update(texts(reply[1], "its keys", RECORD_BYTES))
        if cursor == b"0" or len(found) >= most:
            return sorted(found)
    raise odd("its keys")


def escaped(name: str) -> str:
    """Return a name as a pattern for SCAN that matches nothing else."""
    return "".join("\\" + sign if sign in "*?[]^-\\" else sign for sign in name)


def plain(value: bytes, limit: int = 200) -> str:
    """Return the beginning of a text, fit for a terminal."""
    shown = value[:limit].decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() and sign != "\ufffd" else "?" for sign in shown)


def parsed(record: bytes) -> Any:
    """Return a record's JSON; None where it is none, or none that a job of MISP's would be."""

    def whole(digits: str) -> int:
        if len(digits) > _DIGITS:
            raise ValueError(digits)
        return int(digits)

    def constant(name: str) -> Any:  # NaN and Infinity are no JSON to PHP
        raise ValueError(name)

    try:
        value = record.decode("utf-8")
        return json.loads(value, parse_int=whole, parse_constant=constant)
    except (ValueError, RecursionError):
        return None
