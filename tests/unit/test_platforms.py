"""The platform table against the os-release texts of the systems it names."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tasks.errors import RefusedError
from tasks.platforms import Platform, detect, parse_os_release
from tests.unit.samples import OS_RELEASES, platform

EPEL = ("epel-release",)
SUPPORTED = {
    "debian-11": ("debian", ()),
    "debian-12": ("debian", ()),
    "debian-13": ("debian", ()),
    "debian-sid": ("debian", ()),
    "ubuntu-20.04": ("debian", ()),
    "ubuntu-22.04": ("debian", ()),
    "ubuntu-24.04": ("debian", ()),
    "linuxmint-22": ("debian", ()),
    "rhel-8": ("rhel", EPEL),
    "rhel-9": ("rhel", EPEL),
    "rhel-10": ("rhel", EPEL),
    "rocky-8": ("rhel", EPEL),
    "rocky-9": ("rhel", EPEL),
    "rocky-10": ("rhel", EPEL),
    "almalinux-8": ("rhel", EPEL),
    "almalinux-9": ("rhel", EPEL),
    "almalinux-10": ("rhel", EPEL),
    "centos-stream-8": ("rhel", EPEL),
    "centos-stream-9": ("rhel", EPEL),
    "centos-stream-10": ("rhel", EPEL),
    "ol-8": ("rhel", ("oracle-epel-release-el8",)),
    "ol-9": ("rhel", ("oracle-epel-release-el9",)),
    "ol-10": ("rhel", ("oracle-epel-release-el10",)),
    "fedora-40": ("rhel", ()),
    "fedora-42": ("rhel", ()),
}
REFUSED = {
    "debian-10": "Debian GNU/Linux 10 (buster) is too old: debian 11 is the oldest",
    "ubuntu-18.04": "Ubuntu 18.04.6 LTS is too old: ubuntu 20.04 is the oldest",
    "centos-7": "CentOS Linux 7 (Core) is too old: centos 8 is the oldest",
    "amzn-2": "Amazon Linux 2 is not supported: Amazon Linux has no EPEL",
    "amzn-2023": "Amazon Linux 2023.6.20241010 is not supported: Amazon Linux has no EPEL",
    "alpine-3.20": "Alpine Linux v3.20 (ID=alpine) is not supported",
    "arch": "Arch Linux (ID=arch) is not supported",
    "opensuse-leap-15.6": "openSUSE Leap 15.6 (ID=opensuse-leap) is not supported",
    "sles-15.6": "SUSE Linux Enterprise Server 15 SP6 (ID=sles) is not supported",
    "freebsd-14": "FreeBSD 14.1-RELEASE (ID=freebsd) is not supported",
}


def test_every_os_release_text_is_used() -> None:
    assert {path.name for path in OS_RELEASES.iterdir()} == SUPPORTED.keys() | REFUSED.keys()


@pytest.mark.parametrize(("name", "family", "epel"), [(k, *v) for k, v in SUPPORTED.items()])
def test_family_and_epel_of_a_supported_system(
    name: str, family: str, epel: tuple[str, ...]
) -> None:
    found = platform(name)
    assert (found.family, found.manager.epel) == (family, list(epel))


@pytest.mark.parametrize("name", SUPPORTED)
def test_systems_of_one_family_differ_in_name_and_epel_only(name: str) -> None:
    found = platform(name)
    first = platform({"debian": "debian-11", "rhel": "rhel-8"}[found.family])
    assert found == dataclasses.replace(
        first,
        manager=first.manager._replace(epel=found.manager.epel),
    )


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_another_system_is_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        platform(name)
    assert reason in str(refusal.value)


def test_a_refusal_says_what_is_supported() -> None:
    with pytest.raises(RefusedError, match=r"Debian, Ubuntu and the RHEL family"):
        platform("arch")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "debian-12",
            {
                "supervisor_unit": "supervisor",
                "supervisor_conf": "/etc/supervisor/supervisord.conf",
                "include_file": "/etc/supervisor/conf.d/misp-workers.conf",
                "offered": [],
                "supervisor_socket": "/var/run/supervisor.sock",
            },
        ),
        (
            "rocky-9",
            {
                "supervisor_unit": "supervisord",
                "supervisor_conf": "/etc/supervisord.conf",
                "include_file": "/etc/supervisord.d/misp-workers.ini",
                "offered": [
                    *("dnf", "-q", "--setopt=errorlevel=3"),
                    *("--setopt=timeout=30", "--setopt=retries=3", "info"),
                ],
                "supervisor_socket": "/run/supervisor/supervisor.sock",
            },
        ),
    ],
)
def test_supervisor_is_where_the_family_packages_it(name: str, expected: dict[str, Any]) -> None:
    found = platform(name)
    assert {
        **dataclasses.asdict(found),
        "offered": found.manager.offered,
        "include_file": found.include_file("misp-workers"),
    }.items() >= expected.items()


@pytest.mark.parametrize(
    ("name", "option"),
    [("debian-12", "Acquire::http::Proxy="), ("rocky-9", "--setopt=proxy=")],
)
def test_the_hosts_own_proxy_can_be_put_out_of_use(name: str, option: str) -> None:
    assert option in platform(name).manager.own_proxy_off


@pytest.mark.parametrize("name", ["debian-12", "rocky-9"])
def test_package_commands_never_ask(name: str) -> None:
    assert {"-y", "install"} <= set(platform(name).manager.install)
    # Of a mirror that does not answer.
    assert "imeout=30" in " ".join(platform(name).manager.install)


def _detected(**keys: str) -> Platform:
    return detect(keys)


@pytest.mark.parametrize(
    ("keys", "family"),
    [
        ({"ID": "el-like", "ID_LIKE": "rhel centos fedora", "VERSION_ID": "9.0"}, "rhel"),
        ({"ID": "cloudlinux", "ID_LIKE": "rhel fedora centos", "VERSION_ID": "8.10"}, "rhel"),
        ({"ID": "raspbian", "ID_LIKE": "debian", "VERSION_ID": "12"}, "debian"),
        ({"ID": "LINUXMINT", "ID_LIKE": "Ubuntu", "VERSION_ID": "6"}, "debian"),  # own count
        ({"ID": "unheard-of", "ID_LIKE": "unknown debian rhel"}, "debian"),  # closest first
        ({"ID": "debian", "VERSION_ID": "99"}, "debian"),  # newer than anything known
    ],
)
def test_a_derivative_or_newer_release_goes_with_its_family(
    keys: dict[str, str], family: str
) -> None:
    assert _detected(**keys).family == family


@pytest.mark.parametrize(
    ("identity", "oldest", "too_old"),
    [
        ("debian", "11", "10"),
        ("ubuntu", "20.04", "19.10"),
        ("rhel", "8.0", "7.9"),
        ("centos", "8", "7"),
        ("rocky", "8.4", "7"),
        ("almalinux", "8.3", "7"),
        ("ol", "8.0", "7.9"),
        ("fedora", "38", "37"),
    ],
)
def test_the_oldest_release_is_let_through_and_the_one_before_is_not(
    identity: str, oldest: str, too_old: str
) -> None:
    assert _detected(ID=identity, VERSION_ID=oldest).family
    with pytest.raises(RefusedError, match=f"{identity} {too_old} is too old"):
        _detected(ID=identity, VERSION_ID=too_old)


@pytest.mark.parametrize("keys", [{}, {"ID": ""}, {"ID_LIKE": "debian", "NAME": "Debian"}])
def test_a_system_without_id_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(RefusedError, match="no ID"):
        detect(keys)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ID=debian", {"ID": "debian"}),
        ('ID="rhel"', {"ID": "rhel"}),
        ("ID='ol'", {"ID": "ol"}),
        ("  ID=arch  ", {"ID": "arch"}),
        ("ID=", {"ID": ""}),
        ('NAME="a \\"b\\" c"', {"NAME": 'a "b" c'}),
        ("URL=https://x/?a=b", {"URL": "https://x/?a=b"}),
        ('NAME="never closed', {"NAME": '"never closed'}),
        ("# ID=comment", {}),
        ("lower=case", {}),
        ("no separator", {}),
        ("", {}),
    ],
)
def test_a_line_of_os_release_is_read_as_a_shell_would(line: str, expected: dict[str, str]) -> None:
    assert parse_os_release([line]) == expected


def test_the_last_of_two_equal_keys_counts() -> None:
    assert parse_os_release(["ID=first", "ID=second"]) == {"ID": "second"}
