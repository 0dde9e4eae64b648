"""Waiting for a condition, with a limit and words for what did not happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import LabError

T = TypeVar("T")


def wait_for(probe: Callable[[], T], seconds: float, what: str, interval: float = 0.2) -> T:
    """Call PROBE until it returns something true, and return that.

    Raises:
        LabError: when it did not within SECONDS; says WHAT was waited for.
    """
    limit = time.monotonic() + seconds
    while not (value := probe()):
        if time.monotonic() > limit:
            raise LabError(f"{what}: nothing within {seconds:.0f} s.")
        time.sleep(interval)
    return value
