"""Files read by supervisor's own parser, the way supervisord does at its start."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import Any
from unittest.mock import patch

from supervisor import datatypes, options

# The main file as packages bring it, but for its paths.
MAIN = """\
[unix_http_server]
file=/var/run/supervisor.sock   ; (the path to the socket file)
chmod=0700                       ; socket file mode (default 0700)

[supervisord]
logfile={directory}/supervisord.log
pidfile={directory}/supervisord.pid
childlogdir={directory}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = {directory}/conf.d/*.conf
"""


def number(name: str) -> int:
    """The user or group id that a name stands for while a file is read: any name exists."""
    return zlib.crc32(name.encode())


def read(**files: str) -> Any:
    """`ServerOptions` after reading a main file that includes `files`, by name without suffix.

    Raises:
        ValueError: in supervisor's own words, where supervisord would not start.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        patch.object(options, "name_to_uid", number),
        patch.object(datatypes, "name_to_uid", number),
        patch.object(datatypes, "name_to_gid", number),
        patch.object(datatypes, "existing_dirpath", str),  # log directories are made on the host
        patch.object(options.ServerOptions, "usage", _refuse),
    ):
        main = Path(directory) / "supervisord.conf"
        main.write_text(MAIN.format(directory=directory), encoding="utf-8")
        (main.parent / "conf.d").mkdir()
        for name, text in files.items():
            (main.parent / "conf.d" / f"{name}.conf").write_text(text, encoding="utf-8")
        read_options = options.ServerOptions()
        read_options.realize(["-c", str(main)])
        read_options.poller.close()
        return read_options


def _refuse(self: object, message: object) -> None:
    raise ValueError(message)


def servers(read_options: Any, family: int) -> list[dict[str, Any]]:
    """The HTTP servers of an address family."""
    return [config for config in read_options.server_configs if config["family"] == family]
