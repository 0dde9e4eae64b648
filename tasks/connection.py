"""The SSH connection that pyinfra has to a host."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from pyinfra.api.host import Host


def send_at_once(host: Host) -> None:
    """Have no command wait for the network to acknowledge the one before.

    paramiko leaves Nagle's algorithm on, and the kernel of the other side acknowledges after up to
    40 ms what it has no answer to yet: the end of each call's input would come that much later.
    OpenSSH turns it off, too. A connection through another host or a command has no socket of its
    own.
    """
    client: Any = getattr(host.connector, "client", None)  # pyinfra's other connectors have none
    with contextlib.suppress(AttributeError, OSError):
        client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
