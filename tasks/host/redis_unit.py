"""The unit of a Redis on this host, for a sentence about one that does not answer."""

from typing import Any, Dict, List

from tasks.host import systemd
from tasks.host.errors import HostError
from tasks.host.parts import Unit
from tasks.host.remedies import word

# Debian's first, whose unit is also called redis.service; then the RHEL family's and the forks.
_NAMES = ["redis-server.service", "redis.service", "valkey-server.service", "valkey.service"]
_LOCAL = ("localhost", "127.0.0.1", "::1")


def words(at: Dict[str, Any]) -> str:
    """Words as in " (redis-server.service is inactive)"; empty: it is elsewhere, or has no unit."""
    host = str(at.get("host"))
    found = _units() if host in _LOCAL or host.startswith("/") else []
    return " (%s is %s)" % (found[0].name, found[0].active) if found else ""


def remedy() -> str:
    """A sentence about a Redis of this host that does not run; empty: it runs, or there is none."""
    found = _units()
    if not found or found[0].active == "active":
        return ""
    name = word(found[0].name)
    return ". %s is %s: run `systemctl start %s`" % (name, found[0].active, name)


def _units() -> List[Unit]:
    try:
        return [unit for unit in systemd.show(_NAMES) if unit.is_there]
    except HostError:
        return []
