"""A function that is killed at each of its commands in turn, and then runs again to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tasks.host.queues import Backend
from tasks.host.redis import Word
from tests.unit.host.fakes import Hooked


class KilledError(BaseException):
    """SIGKILL; a lock that is held then is held on."""


class Cut:
    """Counts what is done, and ends it before a certain command or call."""

    def __init__(self, before: int) -> None:
        self._left = before
        self.is_dead = False

    def count(self, _words: object = None) -> None:
        if self._left <= 0 or self.is_dead:
            self.is_dead = True
            raise KilledError
        self._left -= 1

    def backend(self, backend: Backend) -> Backend:
        return backend._replace(redis=Hooked(backend.redis, self._before))

    def _before(self, words: tuple[Word, ...]) -> None:
        self.count(words)


def each_cut(begin: Callable[[], None], body: Callable[[Cut], None]) -> Iterator[int]:
    """Let `body` be killed before its 1st, 2nd, ... command, each time from a new beginning."""
    for before in range(10_000):
        begin()
        cut = Cut(before)
        try:
            body(cut)
        except KilledError:
            yield before
        else:
            return
    raise AssertionError("it does not end")
