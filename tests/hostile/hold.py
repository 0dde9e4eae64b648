"""Another account's program: holds a lock on every file of the tool's that it can open.

hold.py FILE    writes the names of those that it holds to FILE
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator

PLACES = ("/run", "/var/lib", "/var/lock", "/var/tmp", "/tmp")  # noqa: S108 # to look, not to write
OURS = "misp-workers"


def ours() -> Iterator[str]:
    for place in PLACES:
        for folder, _, files in os.walk(place):
            for name in files:
                if OURS in folder or OURS in name:
                    yield os.path.join(folder, name)


def main(out: str) -> None:
    held: dict[str, int] = {}
    while True:
        for path in set(ours()) - set(held):
            try:
                held[path] = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                fcntl.flock(held[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            with open(out, "a", encoding="utf-8") as report:
                report.write(path + "\n")
        time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
