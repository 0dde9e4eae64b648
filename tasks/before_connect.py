"""What pyinfra is to do otherwise when it connects: config.py has it so, before the first host."""

from __future__ import annotations

import os

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
