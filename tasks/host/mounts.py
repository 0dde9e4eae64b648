"""The file systems of this host, as the kernel tells whoever asks."""

import os
import re
from typing import Any


def is_mount(path: str) -> bool:
    """Whether something is mounted there; also a file of the same file system, by --bind."""
    with open("/proc/self/mountinfo", "rb") as file:
        rows = [line.split() for line in file.read(1 << 24).splitlines()]
    points = [re.sub(rb"\\([0-7]{3})", _octal, row[4]) for row in rows if len(row) > 4]
    return os.fsencode(os.path.realpath(path)) in points


def _octal(match: Any) -> bytes:
    return bytes([int(match.group(1), 8) & 255])


def free_kb(path: str) -> int:
    """Return how much the file system there has left; -1: unknown."""
    try:
        found = os.statvfs(path)
    except OSError:
        return -1
    return found.f_bavail * found.f_frsize // 1024
