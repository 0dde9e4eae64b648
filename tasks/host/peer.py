"""Who listens? A password goes to a peer only when that is proven to be supervisord.

Any local user may listen where supervisord should. What proves it is supervisord's main process, as
systemd knows it: on TCP the socket that listens on the port is one of its own and nobody else
listens there, before and after the connection was made; on a socket file it is the kernel's word
about the user who listens (SO_PEERCRED) in a folder that only root can change.
"""

import os
import socket
import struct
from typing import Any, List, Set

from tasks.host import files
from tasks.host.errors import HostError
from tasks.host.files import FileError
from tasks.host.parts import Listener
from tasks.host.processes import PROC, Process, Table, process, tcp_rows
from tasks.host.sockets import unix_rows

# 127.0.0.1 and all addresses, as the kernel writes them on this machine.
_FOR_LOOPBACK = ("%08X" % struct.unpack("=I", bytes((127, 0, 0, 1)))[0], "00000000")


class StrangerError(HostError):
    """Whoever listens is not proven to be supervisord. Nothing was sent."""


class NobodyError(HostError):
    """Nobody listens."""


def connect_tcp(port: int, main_pid: int, timeout: float, proc: str = PROC) -> Any:
    """A connection to supervisord's port on the loopback.

    Raises:
        NobodyError: nobody listens there.
        StrangerError: it is somebody else, or somebody else as well.
    """
    before = _proven_listeners(port, main_pid, proc)
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout)
    except OSError as error:
        raise NobodyError(
            "port %d takes no connection on 127.0.0.1: %s" % (port, error.strerror or error)
        ) from None
    try:
        # The same socket listened all the time, so the connection is to its owner.
        if before != _proven_listeners(port, main_pid, proc):
            raise StrangerError("port %d changed hands while it was looked at: try again" % port)
    except HostError:
        connection.close()
        raise
    return connection


def _proven_listeners(port: int, main_pid: int, proc: str) -> Set[int]:
    rows = [row for row in tcp_rows(proc) if row.is_listening and row.port == port]
    inodes = {row.inode for row in rows}
    if not inodes:
        raise NobodyError("nobody listens on port %d" % port)
    others = strangers(inodes, main_pid, proc)
    if others:
        raise StrangerError(
            "port %d is taken by %s, not by supervisord (PID %d)" % (port, others, main_pid)
        )
    # As long as supervisord has this address nobody else gets it.
    if not any(row.address in _FOR_LOOPBACK for row in rows):
        raise NobodyError("supervisord listens on port %d, but not on 127.0.0.1" % port)
    return inodes


def connect_unix(path: str, main_pid: int, timeout: float) -> Any:
    """A connection to supervisord's socket file.

    Raises:
        NobodyError: nobody listens there.
        StrangerError: it is somebody else.
    """
    main = process(PROC, main_pid)
    if main is None:
        raise NobodyError("supervisord does not run")
    try:
        path = files.real_path(path)
    except (FileError, OSError) as error:
        raise StrangerError("the socket cannot be trusted: %s" % error) from None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
        _prove_unix(connection, path, main)
    except OSError as error:
        connection.close()
        raise NobodyError("nobody listens on %s: %s" % (path, error.strerror or error)) from None
    except HostError:
        connection.close()
        raise
    return connection


def _prove_unix(connection: Any, path: str, main: Process) -> None:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", data)
    # A supervisord that puts itself into the background listens before it forks, so its socket is
    # known by the PID of a parent that has ended.
    if uid != main.uid or (pid != main.pid and not _listens_on(main, path)):
        raise StrangerError(
            "%s is held by PID %d of user %d, not by supervisord (PID %d)"
            % (path, pid, uid, main.pid)
        )


def _listens_on(main: Process, path: str) -> bool:
    """Whether it has a socket of that name. Supervisor binds NAME.PID and links NAME to it."""
    own = main.sockets()
    for row in unix_rows(PROC):
        if row.inode not in own or not row.is_listening or not row.name:
            continue
        head, _, tail = row.name.rpartition(".")
        name = head if tail.isdigit() else row.name
        if os.path.realpath(name) == path:
            return True
    return False


def listening(port: int, proc: str = PROC) -> Set[int]:
    """Inodes of the sockets that listen on a port, whatever the address."""
    return {row.inode for row in tcp_rows(proc) if row.is_listening and row.port == port}


def strangers(inodes: Set[int], main_pid: int, proc: str = PROC) -> str:
    """Processes other than supervisord that have these sockets, in words; empty: none has."""
    main = process(proc, main_pid)
    others = inodes - (main.sockets() if main else set())
    if not others:
        return ""
    words = [
        "%s (PID %d%s)" % (one.name, one.pid, ", " + one.unit if one.unit else "")
        for one in _holders(others, proc)
    ]
    return ", ".join(words) or "another system on this machine, such as a container"


def _holders(inodes: Set[int], proc: str) -> List[Listener]:
    """Who has these sockets. This looks at every open file; in a container they may be nobody's."""
    return [Listener(one.pid, one.name, one.unit) for one in Table(proc) if one.sockets() & inodes]


def listeners(port: int, main_pid: int, proc: str = PROC) -> List[Listener]:
    """Who listens on a port; quick where it is supervisord alone."""
    inodes = listening(port, proc)
    main = process(proc, main_pid)
    if main and inodes and inodes <= main.sockets():
        return [Listener(main.pid, main.name, main.unit)]
    return _holders(inodes, proc) if inodes else []
