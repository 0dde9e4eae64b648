"""The one place that knows distributions.

Everything else asks a `Platform` for a path, a name or a package, so both families run the same
operations with other arguments. Add a distribution here and nowhere else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.errors import RefusedError
from tasks.host.packages import Manager
from tasks.host.trial import Trial

DEBIAN = "debian"
RHEL = "rhel"


@dataclass(frozen=True)
class Platform:
    """What differs between the two families, as plain values.

    Paths are absolute; unit names carry no suffix. `package_query` is words with blanks between
    them, to put package names behind; it prints "NAME installed VERSION" for each that is there.
    """

    family: str
    package_query: str
    manager: Manager
    trial: Trial
    supervisor_package: str
    supervisor_unit: str
    supervisor_conf: str
    supervisor_include_dir: str
    supervisor_include_suffix: str
    supervisor_socket: str
    selinux_packages: tuple[str, ...]

    def include_file(self, name: str) -> str:
        """Path of a supervisor include file called `name`, without its suffix."""
        return f"{self.supervisor_include_dir}/{name}{self.supervisor_include_suffix}"


# Oldest release of each distribution that the guide's packages and PHP >= 7.4 can be had on. A
# release that is newer than anything known here is let through: preflight checks what matters.
_OLDEST: Mapping[str, tuple[str, float]] = {
    "debian": (DEBIAN, 11),
    "ubuntu": (DEBIAN, 20.04),
    "rhel": (RHEL, 8),
    "centos": (RHEL, 8),
    "rocky": (RHEL, 8),
    "almalinux": (RHEL, 8),
    "ol": (RHEL, 8),
    "fedora": (RHEL, 38),
}

# Say "like RHEL" in os-release but have neither EPEL nor a supervisor package of their own.
_REFUSED = {
    "amzn": "Amazon Linux has no EPEL, so no supervisor package",
    "mageia": "it only looks like Fedora in os-release",
}


def parse_os_release(lines: Iterable[str]) -> dict[str, str]:
    """os-release(5) lines as a dict with the upper-case keys; quoting undone, junk skipped."""
    values = {}
    for line in lines:
        key, separator, value = line.strip().partition("=")
        if not separator or not re.fullmatch(r"[A-Z][A-Z0-9_]*", key):
            continue
        try:
            values[key] = "".join(shlex.split(value))
        except ValueError:  # an unbalanced quote: keep the text as it is
            values[key] = value
    return values


def detect(os_release: Mapping[str, str]) -> Platform:
    """The `Platform` of a host.

    Raises:
        RefusedError: the deploy was not made for it; the text says what for.
    """
    identity = os_release.get("ID", "").lower()
    pretty = os_release.get("PRETTY_NAME") or f"{identity} {os_release.get('VERSION_ID', '')}"
    if not identity:
        raise RefusedError("/etc/os-release has no ID: this system cannot be told")
    if identity in _REFUSED:
        raise RefusedError(f"{pretty} is not supported: {_REFUSED[identity]}")
    family = _family(identity, os_release.get("ID_LIKE", "").lower().split())
    if family is None:
        raise RefusedError(
            f"{pretty} (ID={identity}) is not supported: the migration guide covers Debian, "
            "Ubuntu and the RHEL family (RHEL, Rocky, Alma, Oracle, CentOS Stream, Fedora)"
        )
    _refuse_old(identity, pretty, os_release.get("VERSION_ID", ""))
    if family == DEBIAN:
        return _debian()
    return _rhel(identity, os_release.get("VERSION_ID", "").partition(".")[0])


def _family(identity: str, like: list[str]) -> str | None:
    for name in (identity, *like):
        if name in _OLDEST:
            return _OLDEST[name][0]
    return None


def _refuse_old(identity: str, pretty: str, version: str) -> None:
    if identity not in _OLDEST:
        return  # a derivative counts its own versions
    oldest = _OLDEST[identity][1]
    try:
        number = float(version)
    except ValueError:
        return  # Debian testing/sid carry no VERSION_ID
    if number < oldest:
        raise RefusedError(
            f"{pretty} is too old: {identity} {oldest:g} is the oldest release supported"
        )


# Another apt that runs is waited for; a mirror that is silent is not, but it is asked again.
_APT_LIMITS = (
    "-o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "
    "-o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30"
)
# Empty values fall back to the environment (observed, apt 2.6). What the host says for one mirror
# (`Acquire::http::Proxy::NAME`) or one repository (`proxy=` in its section) stays.
_APT_OWN_PROXY_OFF = (
    "-o Acquire::http::Proxy= -o Acquire::https::Proxy= "
    "-o Acquire::http::Proxy-Auto-Detect= -o Acquire::https::Proxy-Auto-Detect="
)

_APT_TRIAL = (
    "-o APT::Get::Download-Only=true -o Debug::NoLocking=true -o Dir::State::Lists={0}/known "
    "-o Dir::Cache={0} -o Dir::Cache::Archives={0}/packages -o Dir::Cache::pkgcache= "
    "-o Dir::Cache::srcpkgcache= -o Acquire::Languages=none -o Acquire::Retries=1 "
    "-o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10"
)


def _debian() -> Platform:
    return Platform(
        family=DEBIAN,
        package_query="dpkg-query -W -f=${Package}\\t${db:Status-Status}\\t${Version}\\n",
        manager=Manager(
            install=(
                f"apt-get -y -qq --no-install-recommends {_APT_LIMITS} "
                "-o Dpkg::Options::=--force-confold install"
            ).split(),
            repair=["dpkg", "--force-confold", "--configure", "-a"],
            refresh=f"apt-get -qq {_APT_LIMITS} update".split(),
            offered=[],
            epel=[],
            own_proxy_off=_APT_OWN_PROXY_OFF.split(),
        ),
        trial=Trial(_APT_TRIAL.split(), "/var/lib/apt/lists"),
        supervisor_package="supervisor",
        supervisor_unit="supervisor",
        supervisor_conf="/etc/supervisor/supervisord.conf",
        supervisor_include_dir="/etc/supervisor/conf.d",
        supervisor_include_suffix=".conf",
        supervisor_socket="/var/run/supervisor.sock",
        selinux_packages=("selinux-policy-dev", "policycoreutils-python-utils", "setools"),
    )


# At its usual error level -q hides which repository could not be reached.
_DNF_LIMITS = "--setopt=errorlevel=3 --setopt=timeout=30 --setopt=retries=3"
_DNF_OWN_PROXY_OFF = "--setopt=proxy= --setopt=proxy_username= --setopt=proxy_password="
# A check of a package's signature may take a key into the host's own database.
_DNF_TRIAL = (
    "--downloadonly --nogpgcheck --setopt=destdir={0}/packages --setopt=cachedir={0}/known "
    "--setopt=system_cachedir={0}/known --setopt=persistdir={0} --setopt=logdir={0} "
    "--setopt=timeout=10 --setopt=retries=1"
)


def _rhel(identity: str, major: str) -> Platform:
    # Oracle ships EPEL's key and repository under a name of its own; Fedora needs no EPEL.
    epel = {"ol": [f"oracle-epel-release-el{major}"], "fedora": []}
    return Platform(
        family=RHEL,
        package_query="rpm -q --qf %{NAME}\\tinstalled\\t%{VERSION}\\n",
        manager=Manager(
            install=f"dnf -y -q {_DNF_LIMITS} install".split(),
            repair=[],
            refresh=[],  # dnf looks for itself whether its lists are old
            offered=f"dnf -q {_DNF_LIMITS} info".split(),
            epel=epel.get(identity, ["epel-release"]),
            own_proxy_off=_DNF_OWN_PROXY_OFF.split(),
        ),
        trial=Trial(_DNF_TRIAL.split(), "/var/cache/dnf"),
        supervisor_package="supervisor",
        supervisor_unit="supervisord",
        supervisor_conf="/etc/supervisord.conf",
        supervisor_include_dir="/etc/supervisord.d",
        supervisor_include_suffix=".ini",
        supervisor_socket="/run/supervisor/supervisor.sock",
        selinux_packages=(
            "selinux-policy-devel",
            "setools-console",
            "policycoreutils-python-utils",
        ),
    )
