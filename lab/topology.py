"""The hosts of a lab, as data: a list of specifications."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from lab.bases import Family, lookup

Launcher = Literal[
    "unit-always",
    "unit-execstop",
    "unit-other-name",
    "rc-local",
    "cron-reboot",
    "bare",
]

DEFAULT_ROOT = "/var/www/MISP"
QUEUES = ("default", "email", "cache", "prio", "update")
OLD_WORKER_INTERVAL = 5
"""Seconds that MISP's old workers sleep between two looks at their queue."""
WEB_USERS: Mapping[Family, str] = MappingProxyType({"debian": "www-data", "rhel": "apache"})


@dataclass(frozen=True)
class HostSpec:
    """One MISP host: its system, the state its MISP is in, and the operator's data for it.

    Attributes:
        base: a key of ``lab.bases.BASES``.
        profile: the MISP version that the stub stands for.
        launcher: how the old workers are started (``lab/stub/install-launcher.sh``).
        redis: on the host itself, or the lab's shared Redis, which wants a password.
        waiting_jobs: jobs put into each old queue before the migration.
        old_worker_interval: seconds the old workers sleep between two looks at their queue, which
            is also how long they take to leave. `None`: as MISP's ``start.sh`` says, which is
            `OLD_WORKER_INTERVAL`. Nothing that publishes a time may have them look more often.
        way_out: how the host reaches what is outside of the lab: by itself, or only by a proxy that
            wants a user and a password.
        data: host data for the inventory, laid over what the lab sets.
    """

    name: str
    base: str
    profile: str = "2.5.1"
    launcher: Launcher = "unit-always"
    misp_root: str = DEFAULT_ROOT
    redis: Literal["local", "shared"] = "local"
    waiting_jobs: int = 2
    old_worker_interval: int | None = None
    way_out: Literal["direct", "proxy"] = "direct"
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """The distribution family of the base."""
        return lookup(self.base).family

    @property
    def web_user(self) -> str:
        """The account that MISP's web tier runs as."""
        return WEB_USERS[self.family]


MISP_DEBIAN = HostSpec("misp-debian", "debian-12")
# SELinux is off in a container: the module is built there for real, and not loaded.
MISP_EL = HostSpec(
    "misp-el", "el-like", profile="2.4.199", redis="shared", data={"selinux": "build"}
)
MISP_TRIXIE = HostSpec("misp-trixie", "debian-13", launcher="unit-execstop", misp_root="/opt/misp")
MISP_UBUNTU = HostSpec("misp-ubuntu", "ubuntu-24.04")

BOTH_FAMILIES: tuple[HostSpec, ...] = (MISP_DEBIAN, MISP_EL)
"""A host of each family, of bases that can be had wherever Debian's packages can."""

KNOWN: Mapping[str, HostSpec] = MappingProxyType(
    {spec.name: spec for spec in (MISP_DEBIAN, MISP_EL, MISP_TRIXIE, MISP_UBUNTU)}
)
