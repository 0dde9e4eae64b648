"""The file systems of this host, as the kernel tells whoever asks."""

import os
import re
from typing import Any, List, Tuple

_MOUNTS = "/proc/self/mountinfo"


def is_mount(path: str) -> bool:
    """Whether something is mounted there; also a file of the same file system, by --bind."""
    return os.fsencode(os.path.realpath(path)) in _points(_MOUNTS)


def mount_point(path: str, mounts: str = _MOUNTS) -> str:
    """Where the file system is mounted that a file is on; a bind mount is one of its own."""
    real = os.fsencode(os.path.realpath(path))
    above = [one for one in _points(mounts) if one in (b"/", real) or real.startswith(one + b"/")]
    return max(above, key=len, default=b"/").decode("utf-8", "replace")


def _points(mounts: str) -> List[bytes]:
    with open(mounts, "rb") as file:
        rows = [line.split() for line in file.read(1 << 24).splitlines()]
    return [re.sub(rb"\\([0-7]{3})", _octal, row[4]) for row in rows if len(row) > 4]


def _octal(match: Any) -> bytes:
    return bytes([int(match.group(1), 8) & 255])


def free(path: str) -> Tuple[int, int]:
    """KiB and inodes that the file system there has left; -1: unknown, as on one without inodes."""
    try:
        found = os.statvfs(path)
    except OSError:
        return -1, -1
    kb = found.f_bavail * found.f_frsize // 1024
    return kb, found.f_favail if found.f_files else -1  # btrfs counts none


def is_writable(path: str) -> bool:
    """Whether the file system there takes files at all."""
    try:
        return not os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return False
