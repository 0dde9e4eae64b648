"""Where the queues are: a Redis server, a database there and what the keys begin with."""

import re
from typing import Any, Mapping, NamedTuple

_LOCAL = ("localhost", "127.0.0.1", "::1")
_GUIDE_HOST = "127.0.0.1"  # the migration guide's values, for what nobody has set
_GUIDE_PORT = 6379
_GUIDE_DATABASE = 1
_GUIDE_NAMESPACE = "background_jobs"
_GUIDE_TTL = 86400


class Place(NamedTuple):
    """Where a backend's queues are."""

    host: str
    port: int  # 0 with a socket file
    database: int
    namespace: str
    password: str  # empty: none
    history_ttl: int = _GUIDE_TTL  # seconds; the new backend's max_job_history_ttl

    @property
    def is_socket(self) -> bool:
        """Whether Redis is reached by a socket file."""
        return self.host.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether its server runs on this host."""
        return self.is_socket or self.host in _LOCAL

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return self.namespace + ":"

    def __repr__(self) -> str:
        """The place in words; the password is left out, since errors and logs show this."""
        namespace = self.namespace or "(none)"
        return f"{self.host}:{self.port}, database {self.database}, namespace {namespace}"


def wanted_place(
    desired: Mapping[str, Any], block: Mapping[str, Any], misp: Mapping[str, Any]
) -> Place:
    """Return where the new backend shall be.

    First that is given: the operator's value, what MISP's block has, what MISP itself uses, the
    guide's.

    Args:
        desired: the operator's values, by the names of MISP's settings (redis_host, ...).
        block: MISP's settings SimpleBackgroundJobs, as they are stored.
        misp: MISP's settings MISP.
    """
    host = _first_text("redis_host", _GUIDE_HOST, desired, block, misp)
    port = _first_whole("redis_port", _GUIDE_PORT, desired, block, misp)
    place = Place(
        host,
        0 if host.startswith("/") else port,  # phpredis takes a socket for a host name otherwise
        _first_whole("redis_database", _GUIDE_DATABASE, desired, block),
        _first_text("redis_namespace", _GUIDE_NAMESPACE, desired, block),
        "",
        _first_whole("max_job_history_ttl", _GUIDE_TTL, desired, block),
    )
    return place._replace(password=_wanted_password(place, desired, block, misp))


def stored_place(block: Mapping[str, Any], misp: Mapping[str, Any]) -> Place:
    """Return where MISP has its new backend, if it uses that."""
    # Without the setting MISP's keys begin with the colon that follows it.
    return wanted_place({}, block, misp)._replace(namespace=_text(block.get("redis_namespace")))


def old_place(config: Mapping[str, Any]) -> Place:
    """Return where the old backend is, by the block `Redis` of CakeResque's configuration."""
    host = _text(config.get("host")) or _GUIDE_HOST
    return Place(
        host,
        0 if host.startswith("/") else _first_whole("port", _GUIDE_PORT, config),
        _first_whole("database", 0, config),
        "resque" if config.get("namespace") is None else _text(config.get("namespace")),
        _text(config.get("password")),
    )


def left_place(
    desired: Mapping[str, Any], block: Mapping[str, Any], misp: Mapping[str, Any]
) -> Place:
    """Return where a CakeResque that is gone had its queues, as far as anybody knows by now.

    MISP's own configuration of it (INSTALL/setup/config.php) has database 0 and namespace resque of
    the server that MISP uses itself. The password is today's.
    """
    own = wanted_place({}, {}, misp)._replace(database=0, namespace="resque")
    new = wanted_place(desired, block, misp)
    is_same = _is_same_server(new, own.host, own.port, new.port)
    return own._replace(password=new.password) if is_same else own


def _wanted_password(
    place: Place, desired: Mapping[str, Any], block: Mapping[str, Any], misp: Mapping[str, Any]
) -> str:
    if desired.get("redis_password") is not None:
        return _text(desired["redis_password"])
    misps_host = _text(misp.get("redis_host")) or _GUIDE_HOST
    is_misps = _is_same_server(place, misps_host, misp.get("redis_port"), _GUIDE_PORT)
    blocks_host = _text(block.get("redis_host")) or place.host
    # The block's password is that of the block's server, which may be another one so far.
    is_blocks = _is_same_server(place, blocks_host, block.get("redis_port"), place.port)
    blocks_password = _text(block.get("redis_password"))
    if blocks_password and (is_blocks or not is_misps):
        return blocks_password
    return _text(misp.get("redis_password")) if is_misps else ""


def _is_same_server(place: Place, host: str, port: Any, default: int) -> bool:
    is_same_host = host == place.host or (host in _LOCAL and place.host in _LOCAL)
    has_port = default if port is None else _whole(port)
    return is_same_host and (place.is_socket or has_port == place.port)


def _first_text(key: str, default: str, *sources: Mapping[str, Any]) -> str:
    for source in sources:
        if source.get(key) not in (None, ""):
            return _text(source[key])
    return default


def _first_whole(key: str, default: int, *sources: Mapping[str, Any]) -> int:
    for source in sources:
        if source.get(key) not in (None, ""):
            return _whole(source[key])
    return default


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _whole(value: Any) -> int:
    """As PHP's (int) has it: the web user's configuration may hold anything."""
    if isinstance(value, (int, float)) and abs(value) < 2**31:
        return int(value)
    digits = re.match(r"\s*([+-]?\d{1,9})(?!\d)", value) if isinstance(value, str) else None
    return int(digits.group(1)) if digits else 0
