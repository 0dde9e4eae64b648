"""The host itself: room, memory, and whether its sudo keeps what is secret."""

import os
import re
from typing import Iterable

from tasks.host import files, lock, mounts, programs
from tasks.host.parts import System
from tasks.host.site import STATE_DIR


def look() -> System:
    """The host as a part of a look."""
    login = os.environ.get("SUDO_USER", "")
    state = state_place(STATE_DIR)
    free = [mounts.free(place) for place in ("/var/log", state)]
    return System(
        files.first_line("/proc/1/comm"),
        _memory_kb(),
        _least(kb for kb, _ in free),
        _least(inodes for _, inodes in free),
        mounts.is_writable(state),
        lock.holder(""),
        _logs_input(login),
        login,
    )


def _memory_kb() -> int:
    for line in (files.read("/proc/meminfo") or b"").splitlines():
        if line.startswith(b"MemAvailable:"):
            return int(line.split()[1])
    return -1


def state_place(folder: str) -> str:
    """Where the state directory is, or will be: a folder that there is."""
    return folder if os.path.isdir(folder) else os.path.dirname(folder)


def _least(known: Iterable[int]) -> int:
    return min((one for one in known if one >= 0), default=-1)


def _logs_input(login: str) -> bool:
    """Whether sudo records standard input for this login, as sudo itself says it."""
    if not login or not programs.find("sudo"):
        return False
    said = programs.run("sudo", "-l", "-U", login, timeout=20.0).text[:65536]
    defaults, _, commands = said.partition(" may run the following")
    flags = re.findall(r"(!?)\blog_(?:input|stdin)\b", defaults)
    return bool(flags and flags[-1] != "!") or "LOG_INPUT:" in commands
