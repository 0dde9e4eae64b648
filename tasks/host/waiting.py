"""Time, and THE loop that waits: short naps first, since most waits are short, then longer ones."""

import time
from typing import Callable, TypeVar

T = TypeVar("T")

_FIRST = 0.02  # seconds
_GROWTH = 1.3


class Clock:
    """The host's own clock. A test gives another one, so it has waits of minutes in no time."""

    def now(self) -> float:
        """Seconds since some moment; never set back."""
        return time.monotonic()

    def epoch(self) -> int:
        """The time of day, as MISP writes it into a job."""
        return int(time.time())

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


_CLOCK = Clock()


def span(seconds: float) -> str:
    """A time in words, as in "90 s", "12 min" or "3 h 5 min"."""
    if seconds < 120:
        return "%.0f s" % seconds
    minutes = int(seconds // 60)
    return "%d min" % minutes if minutes < 120 else "%d h %d min" % divmod(minutes, 60)


def wait_until(
    condition: Callable[[], T], seconds: float, longest: float = 0.5, clock: Clock = _CLOCK
) -> T:
    """Ask again and again until the answer is true or the time is over; return the last answer.

    The condition is asked once at least, and once more after the last nap.
    """
    deadline = clock.now() + seconds
    nap = _FIRST
    while True:
        answer = condition()
        left = deadline - clock.now()
        if answer or left <= 0:
            return answer
        clock.sleep(min(nap, longest, left))
        nap = min(nap * _GROWTH, longest)
