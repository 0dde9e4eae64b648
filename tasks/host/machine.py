"""The host itself: room, memory, and whether its sudo keeps what is secret."""

import contextlib
import os

from tasks.host import files, lock
from tasks.host.errors import HostError
from tasks.host.parts import System


def look() -> System:
    """The host as a part of a look."""
    return System(
        files.first_line("/proc/1/comm"),
        _memory_kb(),
        _free_kb("/var/log", "/var/lib"),
        _inodes("/var/lib"),
        _is_writable("/var/lib"),
        lock.holder(""),
        _logs_input(),
        os.environ.get("SUDO_USER", ""),
    )


def _memory_kb() -> int:
    for line in (files.read("/proc/meminfo") or b"").splitlines():
        if line.startswith(b"MemAvailable:"):
            return int(line.split()[1])
    return -1


def _free_kb(*folders: str) -> int:
    found = []
    for folder in folders:
        try:
            status = os.statvfs(folder)
            found.append(status.f_bavail * status.f_frsize // 1024)
        except OSError:
            pass
    return min(found) if found else -1


def _inodes(folder: str) -> int:
    try:
        status = os.statvfs(folder)
    except OSError:
        return -1
    return status.f_favail if status.f_files else -1  # btrfs counts none


def _is_writable(folder: str) -> bool:
    try:
        return not os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _logs_input() -> bool:
    """Whether sudo records standard input. What its files say for anybody counts for everybody."""
    import re

    pattern = re.compile(rb"^\s*Defaults\b[^#\n]*(?<![!\w])log_input|\bLOG_INPUT\s*:", re.MULTILINE)
    paths = ["/etc/sudoers"]
    with contextlib.suppress(OSError):
        paths += ["/etc/sudoers.d/" + name for name in sorted(os.listdir("/etc/sudoers.d"))]
    for path in paths:
        try:
            if pattern.search(files.read(path) or b""):
                return True
        except HostError:
            continue
    return False
