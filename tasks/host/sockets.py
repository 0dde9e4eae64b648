"""Unix sockets, by /proc/net/unix.

A socket's name may be any bytes, also a newline and then the words of another row, and any local
user may give one. So no row is taken for true that may be such a name.
"""

import collections
import os
from typing import List, NamedTuple, Optional

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
    try:
        data = start_of(proc + "/net/unix", _TABLE)
    except OSError:
        return []
    # Behind the last newline is nothing, or a row that was cut.
    rows = [row for row in map(_row, data.split(b"\n")[1:-1]) if row is not None]
    counts = collections.Counter(row.inode for row in rows)
    return [row for row in rows if counts[row.inode] == 1]


def _row(line: bytes) -> Optional[UnixRow]:
    fields = line.split(None, 7)
    if len(fields) < 7:
        return None
    try:
        inode, flags = int(fields[6]), int(fields[3], 16)
    except ValueError:
        return None
    return UnixRow(inode, bool(flags & _ACCEPTS), os.fsdecode(b"".join(fields[7:])))
