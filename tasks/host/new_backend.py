"""The new backend in Redis (BackgroundJobsTool.php): its jobs, setting them aside, the lock.

Workers may take jobs at any moment. Whatever has to be one step for them is a script inside Redis.
"""

import os
import re
from contextlib import suppress
from typing import List, NamedTuple, Optional, Union

from tasks.host.errors import HostError
from tasks.host.queues import ASIDE, LOCK, MOVED, MOVING, NEW_QUEUES, Backend, NewBackend
from tasks.host.redis import RedisError, Reply
from tasks.host.remedies import MOST_OF_A_NAME, quoted
from tasks.host.replies import escaped, matching, number, odd, plain, text
from tasks.host.waiting import Clock

LOCK_SECONDS = 30  # longer than one job takes to move
LOCK_PATIENCE = 600

_KEYS = 20000  # as many are looked at
_SHOWN = 3
_CLIENTS_BYTES = 8 * 1024 * 1024

# KEYS: the queues' lists and those beside them, in pairs. ARGV: "aside", or "back" for all of it in
# the queues. All move in one step, so a job is always in one of the two; what was set aside first
# stays first. A key of another type fails at the first command, when nothing has changed yet.
_MOVE = """
for i = 1, #KEYS, 2 do redis.call("LLEN", KEYS[i]) redis.call("LLEN", KEYS[i + 1]) end
for i = 1, #KEYS, 2 do
  if redis.call("EXISTS", KEYS[i]) == 1 then
    if redis.call("EXISTS", KEYS[i + 1]) == 0 then
      redis.call("RENAME", KEYS[i], KEYS[i + 1])
    else
      for _, job in ipairs(redis.call("LRANGE", KEYS[i], 0, -1)) do
        redis.call("RPUSH", KEYS[i + 1], job)
      end
      redis.call("DEL", KEYS[i])
    end
  end
  if ARGV[1] == "back" and redis.call("EXISTS", KEYS[i + 1]) == 1 then
    redis.call("RENAME", KEYS[i + 1], KEYS[i])
  end
end
return 1
"""
_RENEW = """
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("EXPIRE", KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])
"""


class BusyError(HostError):
    """Another host moves jobs out of the same Redis."""


class Client(NamedTuple):
    """A connection to the new backend's Redis, to any of its databases."""

    id: int
    port: int  # at the client's end; 0 through a socket file
    command: bytes  # its last one; blpop while a worker waits for a job
    database: int


def look(new: Backend, database: int) -> NewBackend:
    """Return what the new backend has, and whether its Redis is fit for it."""
    waiting = {queue: _length(new, queue) for queue in NEW_QUEUES}
    keys, found, info = foreign_keys(new), clients(new), _info(new)
    answers = (("SCAN", keys), ("CLIENT LIST", found), ("INFO", info))
    return NewBackend(
        waiting=waiting,
        foreign_keys=keys or [],
        aside=_aside(new),
        blocked_clients=len(waiting_clients(found or [], database)),
        eviction=_line_of(info, b"maxmemory_policy:([a-z-]{1,40})"),
        version=_line_of(info, b"redis_version:([0-9A-Za-z.-]{1,40})"),
        refused=tuple(command for command, answer in answers if answer is None),
    )


def takes_scripts(new: Backend) -> bool:
    """Whether this Redis runs scripts for MISP's user; without them no job can be moved."""
    try:
        return truth(new.redis.command("EVAL", "return 1", 0), "what a script returns")
    except RedisError:
        return False


def _length(new: Backend, name: str) -> int:
    return number(new.redis.command("LLEN", new.key(name)), "the length of a queue")


def _aside(new: Backend) -> int:
    names = [ASIDE + queue for queue in NEW_QUEUES]
    return sum(_length(new, name) for name in names) if exists(new, *names) else 0


def exists(backend: Backend, *names: str) -> bool:
    """Whether there is one of some keys: a Redis is asked once for what is mostly not there."""
    reply = backend.redis.command("EXISTS", *[backend.key(name) for name in names])
    return number(reply, "whether keys exist") > 0


def foreign_keys(new: Backend) -> Optional[List[str]]:
    """Return some keys of the namespace that the new backend does not make; None: no SCAN here."""
    queues = "|".join(NEW_QUEUES)
    ours = re.compile(
        re.escape(new.prefix)
        + f"(job_status:|running:|data_content:|{MOVED}|{MOVING}|({ASIDE})?({queues})$)"
    )
    try:
        found = matching(new.redis, escaped(new.prefix) + "*", _KEYS)
    except RedisError:
        return None
    foreign = [key for key in found if not ours.match(key.decode("utf-8", "replace"))]
    return [quoted(plain(key), MOST_OF_A_NAME) for key in foreign[:_SHOWN]]


def clients(new: Backend) -> Optional[List[Client]]:
    """Return all clients; None where an ACL forbids the question."""
    try:
        reply = new.redis.command("CLIENT", "LIST")
    except RedisError:
        return None
    lines = (text(reply, "its clients", _CLIENTS_BYTES) or b"").splitlines()
    return [client for client in map(_client, lines) if client is not None]


def _client(line: bytes) -> Optional[Client]:
    """One line of CLIENT LIST."""
    words = dict(word.split(b"=", 1) for word in line.split(b" ") if b"=" in word)
    port = words.get(b"addr", b"").rpartition(b":")[2]
    numbers = (words.get(b"id", b""), port, words.get(b"db", b""))
    if not all(re.match(rb"[0-9]{1,18}\Z", one) for one in numbers):
        return None
    return Client(int(numbers[0]), int(port), words.get(b"cmd", b""), int(numbers[2]))


def waiting_clients(found: List[Client], database: int) -> List[Client]:
    """Return those that wait for a job in a database."""
    return [one for one in found if one.command == b"blpop" and one.database == database]


def _info(new: Backend) -> Optional[bytes]:
    """Return what Redis says of itself; None where an ACL forbids the question."""
    try:
        return text(new.redis.command("INFO"), "its state", 65536) or b""
    except RedisError:
        return None


def _line_of(info: Optional[bytes], pattern: bytes) -> str:
    found = re.search(b"^" + pattern + b"\r?$", info or b"", re.MULTILINE)
    return found.group(1).decode() if found else ""


def put_aside(new: Backend) -> bool:
    """Move what waits to lists that no worker knows. False: this Redis allows no scripts."""
    try:
        _move(new, "aside")
    except RedisError:
        return False
    return True


def take_back(new: Backend) -> None:
    """Move what was set aside back to the heads of the queues."""
    if exists(new, *[ASIDE + queue for queue in NEW_QUEUES]):
        _move(new, "back")


def _move(new: Backend, where: str) -> None:
    names = [name for queue in NEW_QUEUES for name in (queue, ASIDE + queue)]
    keys = [new.key(name) for name in names]
    truth(new.redis.command("EVAL", _MOVE, len(keys), *keys, where), "a move of jobs")


def truth(reply: Reply, what: str) -> bool:
    """Return the 1 or 0 of a script or a command."""
    if reply not in (0, 1) or isinstance(reply, bool):
        raise odd(what)
    return reply == 1


class Lock:
    """Held while jobs move between the backends: hosts may share a Redis. A context manager.

    A run that was killed leaves it for at most LOCK_SECONDS.
    """

    def __init__(self, new: Backend, clock: Clock) -> None:
        self._new, self._clock = new, clock
        self._token = os.urandom(16).hex()
        self._key = new.key(LOCK)
        self._renewed = 0.0

    def __enter__(self) -> "Lock":
        end = self._clock.now() + LOCK_PATIENCE
        words: List[Union[str, int]] = ["SET", self._key, self._token, "NX", "EX", LOCK_SECONDS]
        while self._new.redis.command(*words) is None:
            if self._clock.now() >= end:
                raise BusyError(
                    "another host has been moving jobs out of this Redis for ten minutes "
                    f"(key {self._key}): run again when it has finished"
                )
            self._clock.sleep(0.5)
        self._renewed = self._clock.now()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(HostError):  # it ends by itself; what went wrong before matters more
            self._new.redis.command("EVAL", _RELEASE, 1, self._key, self._token)

    def renew(self) -> None:
        """Keep it; to be called before each job."""
        if self._clock.now() - self._renewed < LOCK_SECONDS / 6:
            return
        reply = self._new.redis.command("EVAL", _RENEW, 1, self._key, self._token, LOCK_SECONDS)
        if not truth(reply, "the lock"):
            raise BusyError(
                f"another host moves jobs out of this Redis as well (key {self._key}): "
                "run again when it has finished"
            )
        self._renewed = self._clock.now()
