"""An [inet_http_server] that the operator made: who can read its password, and how long that is."""

import os
import stat

from tasks.host import systemd
from tasks.host.parts import OwnRpc
from tasks.host.site import Site
from tasks.host.supervisor_access import read_files


def look(site: Site) -> OwnRpc:
    """The operator's own RPC as a part of a look; nothing where there is none."""
    server = read_files(site, systemd.main_pid(site.unit)).foreign_inet(site.rpc_file)
    if server is None:
        return OwnRpc(-1, 0)
    try:
        mode = stat.S_IMODE(os.stat(server.file).st_mode)
    except OSError:
        mode = -1
    return OwnRpc(mode, len(server.clear_password))
