"""The host itself: room, memory, and whether its sudo keeps what is secret."""

import os
import re
from typing import Optional

from tasks.host import files, lock, programs
from tasks.host.parts import System


def look() -> System:
    """The host as a part of a look."""
    login = os.environ.get("SUDO_USER", "")
    logs, state = _file_system("/var/log"), _file_system("/var/lib")
    free = [one.f_bavail * one.f_frsize // 1024 for one in (logs, state) if one]
    return System(
        files.first_line("/proc/1/comm"),
        _memory_kb(),
        min(free, default=-1),
        state.f_favail if state and state.f_files else -1,  # btrfs counts none
        state is not None and not state.f_flag & os.ST_RDONLY,
        lock.holder(""),
        _logs_input(login),
        login,
    )


def _memory_kb() -> int:
    for line in (files.read("/proc/meminfo") or b"").splitlines():
        if line.startswith(b"MemAvailable:"):
            return int(line.split()[1])
    return -1


def _file_system(folder: str) -> Optional[os.statvfs_result]:
    try:
        return os.statvfs(folder)
    except OSError:
        return None


def _logs_input(login: str) -> bool:
    """Whether sudo records standard input for this login, as sudo itself says it."""
    if not login or not programs.find("sudo"):
        return False
    said = programs.run("sudo", "-l", "-U", login, timeout=20.0).text[:65536]
    defaults, _, commands = said.partition(" may run the following")
    flags = re.findall(r"(!?)\blog_(?:input|stdin)\b", defaults)
    return bool(flags and flags[-1] != "!") or "LOG_INPUT:" in commands
