"""Locks between threads and processes: test workers build and start labs at the same time."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager

from lab.paths import state_dir


@contextmanager
def exclusively(name: str) -> Iterator[None]:
    """Let one thread of one process at a time into blocks of this NAME (not re-entrant)."""
    folder = state_dir() / "locks"
    folder.mkdir(exist_ok=True)
    # Each entry opens the file anew, so that the lock holds between threads as well.
    with (folder / re.sub(r"[^\w.-]", "_", name)).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
