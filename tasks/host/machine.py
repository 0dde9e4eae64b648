"""The host itself: room, memory, and whether its sudo keeps what is secret."""

import os

from tasks.host import files, lock, programs
from tasks.host.parts import System


def look() -> System:
    """The host as a part of a look."""
    login = os.environ.get("SUDO_USER", "")
    return System(
        files.first_line("/proc/1/comm"),
        _memory_kb(),
        _free_kb("/var/log", "/var/lib"),
        _inodes("/var/lib"),
        _is_writable("/var/lib"),
        lock.holder(""),
        _logs_input(login),
        login,
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


def _logs_input(login: str) -> bool:
    """Whether sudo records standard input for this login, as sudo itself says it."""
    import re

    if not login or not programs.find("sudo"):
        return False
    said = programs.run("sudo", "-l", "-U", login, timeout=20.0).text[:65536]
    defaults, _, commands = said.partition(" may run the following")
    flags = re.findall(r"(!?)\blog_(?:input|stdin)\b", defaults)
    return bool(flags and flags[-1] != "!") or "LOG_INPUT:" in commands
