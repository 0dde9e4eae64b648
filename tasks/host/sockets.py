"""Unix sockets, by /proc/net/unix.

A socket's name may be any bytes, also a newline and then the words of another row, and any local
user may give one. So no row is taken for true that may be such a name.
"""

import collections
import os
from typing import List, NamedTuple, Optional, Set

from tasks.host.processes import PROC, start_of

_ACCEPTS = 0x10000  # __SO_ACCEPTCON, in the flags
_TABLE = 1 << 24  # bytes


class UnixRow(NamedTuple):
    """One Unix socket."""

    inode: int
    is_listening: bool
    name: str  # its path when it was bound; empty: none


def unix_rows(proc: str = PROC) -> List[UnixRow]:
    """The Unix sockets of this system's network namespace.

    A row that cannot be read is left out, and so is an inode that has two rows: one is forged.
    """
    rows = _rows(proc)
    forged = _doubles(rows)
    return [row for row in rows if row.inode not in forged]


def ambiguous(proc: str = PROC) -> Set[int]:
    """The inodes that `unix_rows` leaves out for their two rows.

    Such a name hides these on purpose; it does not come by accident. A caller that needs the
    sockets of a process has to say that they are not known, and not that there are none.
    """
    return _doubles(_rows(proc))


def _rows(proc: str) -> List[UnixRow]:
    try:
        data = start_of(proc + "/net/unix", _TABLE)
    except OSError:
        return []
    # Behind the last newline is nothing, or a row that was cut.
    return [row for row in map(_row, data.split(b"\n")[1:-1]) if row is not None]


def _doubles(rows: List[UnixRow]) -> Set[int]:
    counts = collections.Counter(row.inode for row in rows)
    return {inode for inode, count in counts.items() if count > 1}


def _row(line: bytes) -> Optional[UnixRow]:
    fields = line.split(None, 7)
    if len(fields) < 7:
        return None
    try:
        inode, flags = int(fields[6]), int(fields[3], 16)
    except ValueError:
        return None
    return UnixRow(inode, bool(flags & _ACCEPTS), os.fsdecode(b"".join(fields[7:])))
