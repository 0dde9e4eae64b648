"""Which process started a container, so that a later run can tell what a crash left."""

from __future__ import annotations

import os
import socket
from pathlib import Path

KEPT = "kept"
"""The owner of what is to stay."""


def current() -> str:
    """Name this process: machine, number and start time."""
    return f"{socket.gethostname()} {os.getpid()} {_start_time(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Tell whether the process that OWNER names ran on this machine and has ended."""
    parts = owner.split(" ")
    if len(parts) != 3 or parts[0] != socket.gethostname() or not parts[1].isdigit():
        return False
    return _start_time(int(parts[1])) != parts[2]


def _start_time(pid: int) -> str:
    # Tells a process from a later one of the same number.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""
