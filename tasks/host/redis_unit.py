"""The unit of a Redis on this host, for a sentence about one that does not answer."""

from typing import Any, Dict

from tasks.host import systemd
from tasks.host.errors import HostError

# Debian's first, whose unit is also called redis.service; then the RHEL family's and the forks.
_NAMES = ["redis-server.service", "redis.service", "valkey-server.service", "valkey.service"]
_LOCAL = ("localhost", "127.0.0.1", "::1")


def words(at: Dict[str, Any]) -> str:
    """Words as in " (redis-server.service is inactive)"; empty: it is elsewhere, or has no unit."""
    host = str(at.get("host"))
    if host not in _LOCAL and not host.startswith("/"):
        return ""
    try:
        found = [unit for unit in systemd.show(_NAMES) if unit.is_there]
    except HostError:
        return ""
    return " (%s is %s)" % (found[0].name, found[0].active) if found else ""
