"""THE loop that waits: short naps first, since most waits are short, then longer ones."""

import time
from typing import Callable, TypeVar

T = TypeVar("T")

_FIRST = 0.02  # seconds
_GROWTH = 1.3


def wait_until(condition: Callable[[], T], seconds: float, longest: float = 0.5) -> T:
    """Ask again and again until the answer is true or the time is over; return the last answer.

    The condition is asked once at least, and once more after the last nap.
    """
    deadline = time.monotonic() + seconds
    nap = _FIRST
    while True:
        answer = condition()
        left = deadline - time.monotonic()
        if answer or left <= 0:
            return answer
        time.sleep(min(nap, longest, left))
        nap = min(nap * _GROWTH, longest)
