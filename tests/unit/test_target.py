"""The operator's data and a host's answers, joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.host.parts import Packages
from tasks.host.site import Desired
from tasks.settings import Secrets
from tests.unit.samples import (
    API_KEY,
    REDIS_PASSWORD,
    SUPERVISOR_PASSWORD,
    target,
)

SECRET_PARTS = (SUPERVISOR_PASSWORD, "50%", API_KEY)  # a part that no quoting changes
BLOCK = "SimpleBackgroundJobs."


@pytest.mark.parametrize(
    ("version", "said", "has_scheduler"),
    [
        ((2, 4, 199), None, False),
        ((2, 5, 17), None, False),
        ((2, 5, 18), None, True),
        ((2, 6, 0), None, True),
        ((2, 5, 18), False, False),
        ((2, 4, 199), True, True),
    ],
)
def test_the_scheduler_comes_with_misps_version_unless_data_says_otherwise(
    version: tuple[int, int, int], said: bool | None, has_scheduler: bool
) -> None:
    wanted = target({} if said is None else {"misp_scheduler": said}, version=version)
    assert ("misp-workers:scheduler_00" in wanted.process_names) == has_scheduler
    assert len(wanted.process_names) == 21 + has_scheduler


def test_counts_from_data_make_the_worker_set() -> None:
    wanted = target({"misp_workers": {"default": 2, "prio": 1, "email": 1, "cache": 1}})
    assert wanted.process_names == (
        "misp-workers:cache_00",
        "misp-workers:default_00",
        "misp-workers:default_01",
        "misp-workers:email_00",
        "misp-workers:prio_00",
        "misp-workers:update_00",
    )


def test_settings_are_eleven_with_the_types_of_the_code_and_enabled_last() -> None:
    found = target(rpc_port=9002, rpc_user="rpc").misp_settings()
    assert list(found.items()) == [
        (BLOCK + "redis_host", "127.0.0.1"),
        (BLOCK + "redis_port", 6379),
        (BLOCK + "redis_database", 1),
        (BLOCK + "redis_password", {"secret": "redis_password"}),
        (BLOCK + "redis_namespace", "background_jobs"),
        (BLOCK + "max_job_history_ttl", 86400),
        (BLOCK + "supervisor_host", "127.0.0.1"),
        (BLOCK + "supervisor_port", 9002),
        (BLOCK + "supervisor_user", "rpc"),
        (BLOCK + "supervisor_password", {"secret": "supervisor_password"}),
        (BLOCK + "enabled", True),
    ]
    assert type(found[BLOCK + "enabled"]) is bool
    assert type(found[BLOCK + "supervisor_port"]) is int


@pytest.mark.parametrize(
    ("data", "socket", "host"),
    [
        ({}, "", "127.0.0.1"),
        ({"supervisor_host": "localhost"}, "", "localhost"),
        ({"supervisor_transport": "unix"}, "/run/s.sock", "unix:/run/s.sock"),
    ],
)
def test_misp_is_told_where_supervisord_listens(
    data: dict[str, Any], socket: str, host: str
) -> None:
    assert target(data, rpc_socket=socket).misp_settings()[BLOCK + "supervisor_host"] == host


def test_redis_is_asked_for_only_what_the_operator_gave() -> None:
    assert target(secrets=Secrets()).desired() == Desired()


def test_everything_the_operator_said_of_redis_is_asked_for_even_zero() -> None:
    data = {
        "misp_redis_host": "redis.example.org",
        "misp_redis_port": 6380,
        "misp_redis_database": 0,
        "misp_redis_namespace": "jobs",
        "misp_max_job_history_ttl": 60,
    }
    assert target(data).desired() == Desired(
        redis_host="redis.example.org",
        redis_port=6380,
        redis_database=0,
        redis_namespace="jobs",
        redis_password=REDIS_PASSWORD,
        max_job_history_ttl=60,
        supervisor_password=SUPERVISOR_PASSWORD,
    )


def test_what_every_host_function_is_told_holds_no_secret() -> None:
    told = repr(target().site())
    assert "/var/www/MISP" in told
    assert not [one for one in (SUPERVISOR_PASSWORD, REDIS_PASSWORD, API_KEY) if one in told]


@pytest.mark.parametrize("system", ["debian-12", "rocky-9"])
@pytest.mark.parametrize("selinux", ["none", "build", "load"])
def test_selinux_tools_are_wanted_only_where_there_is_use_for_them(
    system: str, selinux: str
) -> None:
    wanted = target(system=system, selinux=selinux)
    tools = () if selinux == "none" else wanted.platform.selinux_packages
    assert wanted.packages() == ("supervisor", *tools)
    assert wanted.platform.selinux_packages


RHEL = target(system="rocky-9", selinux="build")


@pytest.mark.parametrize(
    "found",
    [
        Packages({}, "", False),
        Packages({"supervisor": "4.2.2"}, "4.2.2", False),
        Packages({"supervisor": "4.2.2"}, "", False),  # somebody removed the program
    ],
)
def test_supervisor_is_a_package(found: Packages) -> None:
    assert RHEL.wanted(found) == list(RHEL.packages())
    assert RHEL.platform.supervisor_package in RHEL.packages()


def test_a_supervisord_of_pips_gets_none_beside_it() -> None:
    """Though SELinux's tools, which are missing, are to be installed."""
    found = Packages({}, "4.2.5", False)
    assert RHEL.wanted(found) == [name for name in RHEL.packages() if name != "supervisor"]
    assert RHEL.wanted(found)
    assert target().wanted(found) == []


def test_the_rpc_file_follows_the_transport() -> None:
    tcp = target(rpc_port=9005, rpc_user="rpc").rpc_text()
    assert "port=127.0.0.1:9005\nusername=rpc\n" in tcp
    assert "unix_http_server" not in tcp
    unix = target({"supervisor_transport": "unix"}, rpc_socket="/s.sock", web_group="web")
    assert "file=/s.sock\nchmod=0770\nchown=root:web\n" in unix.rpc_text()
    assert "inet_http_server" not in unix.rpc_text()


def test_the_group_file_has_the_hosts_web_user_and_the_operators_root() -> None:
    text = target({"misp_root": "/srv/misp"}, web_user="apache").group_text()
    assert text.count("\nuser=apache\n") == text.count("\ndirectory=/srv/misp\n") == 5


@pytest.mark.parametrize(
    "shown",
    [
        repr(target()),
        str(target()),
        f"{target()}",
        repr([target()]),
        repr(target().secrets),
        repr(target().settings),
        repr(target().platform),
        target().rpc_text(),
        target().group_text(),
        json.dumps(target().misp_settings()),
    ],
)
def test_no_secret_shows_in_a_target_or_in_what_it_renders(shown: str) -> None:
    assert shown
    assert not any(part in shown for part in SECRET_PARTS)


def test_a_target_with_other_answers_is_another_one() -> None:
    assert target(web_user="apache") != target()
    assert target(web_user="apache") == target(web_user="apache")
