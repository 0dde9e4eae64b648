"""The SSH connection that pyinfra has to a host."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from pyinfra.api.host import Host
from pyinfra.connectors import ssh, util
from pyinfra.connectors.sshuserclient.client import AskPolicy, StrictPolicy

# As pyinfra's own, whose script gives a wrong password as often as sudo asks, three times, and each
# counts where an account is locked after some. PPID is sudo, noted as a comment in the script.
_ASKPASS_COMMAND = r"""
temp=$(mktemp "${{TMPDIR:={0}}}/pyinfra-sudo-askpass-XXXXXXXXXXXX")
cat >"$temp"<<'__EOF__'
#!/bin/sh
[ "$(tail -n 1 "$0")" != "# $PPID" ] || exit 1
echo "# $PPID" >>"$0"
printf '%s\n' "${1}"
__EOF__
chmod 755 "$temp"
echo "$temp"
"""


def follow_ssh_config() -> None:
    """Have ~/.ssh/config decide on the key of an unknown host; without a word there one is asked.

    pyinfra's default would win over it. Data (`ssh_strict_host_key_checking`) goes before both.
    """
    ssh.connector_data_meta["ssh_strict_host_key_checking"].default = None
    if not os.isatty(0):  # nobody can be asked, which pyinfra would call an "EOF error"
        setattr(AskPolicy, "missing_host_key", StrictPolicy.missing_host_key)  # noqa: B010


def try_a_password_once() -> None:
    """Have sudo get a password once for each command, although it asks again after a wrong one."""
    util.ASKPASS_COMMAND = _ASKPASS_COMMAND


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
