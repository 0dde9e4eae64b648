"""A Redis that says what a test has it say, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable

from tasks.host.errors import HostError
from tasks.host.redis import Redis, RedisError, Reply, Word
from tasks.host.waiting import Clock

Lie = Callable[[tuple[Word, ...]], Reply]

# What no command of ours gets from a Redis; each has to end in a plain sentence, or in "nothing".
LIES: dict[str, Reply] = {
    "nil": None,
    "a negative number": -1,
    "a huge number": 2**70,
    "true": True,
    "a text": b"OK",
    "not UTF-8": b"\xff\xfe\x00",
    "a long text": b"9" * 10_000_000,
    "an empty list": [],
    "a list of numbers": [1, 2, 3],
    "a list of nil": [None],
    "nested lists": [[[[[b"x"]]]]],
    "a cursor without an end": [b"7", [b"resque:worker:x"]],
    "a job": [b'{"id":"a","command":"event","args":[]}'],
    "deep JSON": [b"[" * 100_000],
    "a number of many digits": [b'{"id":' + b"1" * 100_000 + b"}"],
}


class LyingRedis(Redis):
    """Always the same reply, and not for ever."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.asked = 0

    def command(self, *_words: Word) -> Reply:
        self.asked += 1
        assert self.asked < 150_000, "it is asked without end"
        return self._reply


class Refusing(Redis):
    """An ACL forbids some commands."""

    def __init__(self, redis: Redis, *forbidden: str, error: type[HostError] = RedisError) -> None:
        self._redis, self._forbidden, self._error = redis, forbidden, error

    def command(self, *words: Word) -> Reply:
        if words[0] in self._forbidden:
            raise self._error("NOPERM this user has no permissions")
        return self._redis.command(*words)


class Hooked(Redis):
    """A real one, with something that happens before a command."""

    def __init__(self, redis: Redis, before: Callable[[tuple[Word, ...]], None]) -> None:
        self._redis, self._before = redis, before

    def command(self, *words: Word) -> Reply:
        self._before(words)
        return self._redis.command(*words)


class FakeClock(Clock):
    def __init__(self) -> None:
        self.seconds = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.seconds

    def epoch(self) -> int:
        return 1_800_000_000 + int(self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.on_sleep()
