"""Who answers on a host, and what a target gets from the first look."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import identity
from tasks.checks.seen import Seen
from tasks.errors import RefusedError
from tasks.target import Target
from tests import hosts


@pytest.mark.parametrize(("family", "unit"), [("debian", "supervisor"), ("rhel", "supervisord")])
def test_a_host_tells_its_platform_and_its_python(family: str, unit: str) -> None:
    platform, python = identity.system_of(hosts.identity(family))
    assert (platform.supervisor_unit, python) == (unit, "/usr/bin/python3")


def test_the_first_python_that_is_new_enough_is_taken() -> None:
    lines = hosts.identity("rhel", "/usr/bin/python3 3.5")
    lines.append("python\t/usr/libexec/platform-python 3.6")
    assert identity.system_of(lines)[1] == "/usr/libexec/platform-python"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "no command runs as root here (no word from the host). Give the login user sudo"),
        (["user\t1000"], "the login is not root: set _sudo = True"),
        (["no tab"], "the login is not root"),
        (["user\t0"], "/etc/os-release has no ID"),
        (["user\t0", "os-release\tID=alpine"], "(ID=alpine) is not supported"),
        (
            hosts.identity("debian", "/usr/bin/python3 3.5"),
            "3.6 or newer, which the deploy's funct",
        ),
        (hosts.identity("debian", "/usr/bin/python3 3.5"), "(/usr/bin/python3 is 3.5): install"),
        (hosts.identity("debian", "/usr/bin/python3 "), "(/usr/bin/python3 is 0.0): install"),
        (["user\t0", "os-release\tID=debian"], "(there is none in /usr/bin): install the distrib"),
    ],
)
def test_a_host_that_cannot_be_worked_on_is_refused(lines: list[str], sentence: str) -> None:
    with pytest.raises(RefusedError) as caught:
        identity.system_of(lines)
    (problem,) = caught.value.problems
    assert sentence in problem


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("sudo: a password is required", "root here (sudo: a password is required). Give"),
        (
            "Sorry, try again. sudo: 1 incorrect password attempt",
            "sudo does not take the password (",
        ),
        ("sudo-rs: Authentication failed, try again.", "give the right one, then run again"),
    ],
)
def test_sudos_own_words_are_part_of_the_sentence(said: str, sentence: str) -> None:
    with pytest.raises(RefusedError) as caught:
        identity.system_of([], said)
    assert sentence in caught.value.problems[0]


def completed(data: dict[str, Any] | None = None, **changes: dict[str, Any]) -> Target:
    seen = hosts.seen(Seen, hosts.converged(**changes))
    return identity.with_answers(hosts.target(**(data or {})), seen)


def test_a_target_gets_what_the_host_says() -> None:
    target = completed(
        tree={"web_user": "misp", "web_group": "web", "version": (2, 4, 199)},
        settings={"is_in_database": True},
    )
    assert (target.web_user, target.web_group, target.version) == ("misp", "web", (2, 4, 199))
    assert (target.composer, target.redis) == ("php composer.phar", hosts.PLACE)
    assert (target.database_mode, target.is_on) == (True, True)


@pytest.mark.parametrize(
    ("supervisor", "expected"),
    [
        ({}, ("", 9001, "supervisor")),
        (
            {"inet_file": "/etc/s.conf", "inet_address": "127.0.0.1:9100", "inet_user": "boss"},
            ("/etc/s.conf", 9100, "boss"),
        ),
        ({"inet_file": "/etc/s.conf", "inet_address": "9100"}, ("/etc/s.conf", 9100, "")),
        ({"inet_file": "/etc/s.conf", "inet_address": "*:x"}, ("/etc/s.conf", 0, "")),
        ({"inet_file": "/etc/s.conf", "inet_address": "*:" + "9" * 5000}, ("/etc/s.conf", 0, "")),
        ({"inet_file": "/etc/s.conf"}, ("/etc/s.conf", 0, "")),
    ],
)
def test_an_rpc_of_the_operators_is_used(
    supervisor: dict[str, Any], expected: tuple[str, int, str]
) -> None:
    target = completed(supervisor=supervisor)
    assert (target.rpc_elsewhere, target.rpc_port, target.rpc_user) == expected


@pytest.mark.parametrize(
    ("socket", "expected"), [("/run/s.sock", "/run/s.sock"), ("", "/var/run/supervisor.sock")]
)
def test_the_socket_is_the_hosts_or_the_platforms(socket: str, expected: str) -> None:
    data = {"supervisor_transport": "unix"}
    target = completed(data, supervisor={"unix_socket": socket, "inet_file": "/etc/s.conf"})
    assert (target.rpc_socket, target.rpc_elsewhere) == (expected, "")


@pytest.mark.parametrize(
    ("choice", "mode", "expected"),
    [
        ("auto", "Enforcing", "load"),
        ("auto", "Permissive", "load"),
        ("auto", "Disabled", "none"),
        ("auto", "", "none"),
        ("off", "Enforcing", "none"),
        ("build", "Absent", "build"),
    ],
)
def test_selinux_follows_the_host_and_the_operator(choice: str, mode: str, expected: str) -> None:
    assert completed({"selinux": choice}, selinux={"mode": mode}).selinux == expected
