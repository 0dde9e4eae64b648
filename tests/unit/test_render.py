"""Rendered files, as supervisor's own parser reads them."""

from __future__ import annotations

import configparser
import hashlib
import signal
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from supervisor.datatypes import RestartUnconditionally
from supervisor.http import encrypted_dictionary_authorizer

from tasks import render
from tasks.host.queues import QUEUES
from tasks.host.site import PASSWORD_SHA1_TOKEN
from tasks.render import Program
from tasks.setting_types import DEFAULT_WORKERS
from tests.unit.samples import target
from tests.unit.supervisor_files import number, read, servers

WANTED = render.programs(DEFAULT_WORKERS, scheduler=True)
GUIDE = render.worker_group(WANTED, "/var/www/MISP", "www-data")


def _processes(text: str) -> dict[str, Any]:
    """Name, as `supervisorctl status` has it, to supervisor's own configuration of a process."""
    (group,) = read(group=text).process_group_configs
    return {f"{group.name}:{process.name}": process for process in group.process_configs}


def test_programs_are_the_queues_in_the_guides_order() -> None:
    counts = {"update": 1, "cache": 4, "email": 3, "prio": 2, "default": 9}
    assert render.programs(counts, scheduler=False) == (
        Program("default", "start_worker default", 9),
        Program("prio", "start_worker prio", 2),
        Program("email", "start_worker email", 3),
        Program("cache", "start_worker cache", 4),
        Program("update", "start_worker update", 1),
    )


def test_the_scheduler_is_one_program_more() -> None:
    without = render.programs(DEFAULT_WORKERS, scheduler=False)
    assert WANTED[-1] == Program("scheduler", "scheduler_worker", 1)
    assert WANTED[:-1] == without


def test_process_names_are_those_that_misp_expects() -> None:
    names = render.process_names((Program("prio", "", 11), Program("default", "", 1)))
    assert names[0] == "misp-workers:default_00"
    assert names[1:] == tuple(f"misp-workers:prio_{number:02d}" for number in range(11))


def test_supervisor_finds_exactly_the_wanted_processes_in_one_group() -> None:
    assert tuple(sorted(_processes(GUIDE))) == render.process_names(WANTED)
    assert len(_processes(GUIDE)) == 22


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("misp-workers:default_04", "start_worker default"),
        ("misp-workers:update_00", "start_worker update"),
        ("misp-workers:scheduler_00", "scheduler_worker"),
    ],
)
def test_supervisor_starts_a_worker_as_the_guide_does(name: str, arguments: str) -> None:
    process = _processes(GUIDE)[name]
    assert process.command == f"/var/www/MISP/app/Console/cake {arguments}"
    assert process.directory == "/var/www/MISP"
    assert process.uid == number("www-data")


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("autostart", True),
        ("startsecs", 5),
        ("startretries", 100),
        ("stopsignal", signal.SIGTERM),
        ("stopwaitsecs", 10),
        ("stopasgroup", False),  # a job, the worker's child, goes on to its end
        ("killasgroup", False),
        ("redirect_stderr", True),
        ("stderr_logfile", None),
        ("stdout_logfile_maxbytes", 5 * 1024 * 1024),
        ("stdout_logfile_backups", 2),
        ("environment", {}),
    ],
)
def test_supervisor_reads_the_same_setting_for_every_process(attribute: str, value: object) -> None:
    assert {str(getattr(process, attribute)) for process in _processes(GUIDE).values()} == {
        str(value)
    }


def test_workers_come_back_whatever_status_they_ended_with() -> None:
    assert {p.autorestart for p in _processes(GUIDE).values()} == {RestartUnconditionally}


def test_ten_seconds_without_redis_leave_no_worker_fatal() -> None:
    (process, *_) = _processes(GUIDE).values()
    waits = sum(range(1, process.startretries + 1))  # supervisord waits a second longer each time
    assert waits > 3600


def test_no_two_processes_write_one_log_file() -> None:
    logs = {name: process.stdout_logfile for name, process in _processes(GUIDE).items()}
    assert logs["misp-workers:prio_02"] == "/var/log/misp-workers/prio_02.log"
    assert len(set(logs.values())) == len(logs)


def test_a_group_file_that_supervisor_refuses_is_noticed_here() -> None:
    with pytest.raises(ValueError, match="badly formatted"):
        read(group=GUIDE.replace("/var/www/MISP", "/var/www/100%"))


counts = st.fixed_dictionaries(
    {queue: st.just(1) if queue == "update" else st.integers(1, 99) for queue in QUEUES}
)
roots = st.from_regex(r"(/[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,12}){1,4}", fullmatch=True)
users = st.from_regex(r"[a-z_][a-z0-9_-]{0,30}", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(workers=counts, root=roots, user=users, scheduler=st.booleans())
def test_any_accepted_worker_settings_come_back_from_supervisors_parser(
    workers: dict[str, int], root: str, user: str, scheduler: bool
) -> None:
    data = {"misp_workers": workers, "misp_root": root, "misp_scheduler": scheduler}
    wanted = target(data, web_user=user)
    processes = _processes(wanted.group_text())
    assert tuple(sorted(processes)) == wanted.process_names
    assert len(processes) == sum(workers.values()) + scheduler
    assert {process.uid for process in processes.values()} == {number(user)}
    assert {process.directory for process in processes.values()} == {root}
    assert {process.command for process in processes.values()} == {
        f"{root}/app/Console/cake {program.arguments}" for program in wanted.programs
    }


@settings(max_examples=40, deadline=None)
@given(
    port=st.integers(1, 65535),
    user=st.from_regex(r"[A-Za-z0-9]{1,20}", fullmatch=True),
    password=st.from_regex(r"[A-Za-z0-9]{32,64}", fullmatch=True),
)
def test_any_accepted_rpc_settings_come_back_from_supervisors_parser(
    port: int, user: str, password: str
) -> None:
    sha1 = hashlib.sha1(password.encode()).hexdigest()  # noqa: S324 - supervisor knows no other
    (server,) = servers(read(rpc=render.rpc_over_tcp(port, user, sha1)), socket.AF_INET)
    assert (server["host"], server["port"], server["username"]) == ("127.0.0.1", port, user)
    check = encrypted_dictionary_authorizer({server["username"]: server["password"]})
    assert check.authorize((user, password))
    assert not check.authorize((user, password[:-1]))


def test_the_rpc_over_tcp_leaves_the_packaged_socket_alone() -> None:
    found = read(rpc=render.rpc_over_tcp(9001, "supervisor", "0" * 40))
    (server,) = servers(found, socket.AF_UNIX)
    assert (server["file"], server["chmod"]) == ("/var/run/supervisor.sock", 0o700)
    assert len(found.server_configs) == 2


def test_the_rpc_file_holds_a_token_where_the_host_puts_the_hash() -> None:
    text = render.rpc_over_tcp(9001, "supervisor")
    assert text.count(PASSWORD_SHA1_TOKEN) == 1
    sha1 = "0123456789abcdef" * 2 + "01234567"
    filled = text.replace(PASSWORD_SHA1_TOKEN, sha1)
    assert filled == render.rpc_over_tcp(9001, "supervisor", sha1)
    (server,) = servers(read(rpc=filled), socket.AF_INET)
    assert server["password"] == f"{{SHA}}{sha1}"


@settings(max_examples=20, deadline=None)
@given(group=users)
def test_the_rpc_over_the_socket_opens_the_packaged_one_to_the_web_group(group: str) -> None:
    found = read(rpc=render.rpc_over_socket("/run/supervisor/supervisor.sock", group))
    (server,) = found.server_configs
    assert server["family"] == socket.AF_UNIX
    assert server["file"] == "/run/supervisor/supervisor.sock"
    assert (server["chmod"], server["chown"]) == (0o770, (number("root"), number(group)))
    assert (server["username"], server["password"]) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        GUIDE,
        render.rpc_over_tcp(9001, "supervisor"),
        render.rpc_over_socket("/run/s.sock", "www-data"),
        render.selinux_module(),
    ],
)
def test_a_rendered_file_is_whole_lines_without_template_syntax(text: str) -> None:
    assert text.endswith("\n")
    assert not any(mark in text for mark in ("{{", "{%", "%}", "}}", "\n\n\n"))
    assert text.isascii()


def test_a_rendered_file_says_nothing_twice() -> None:
    for text in (GUIDE, render.rpc_over_tcp(1, "u"), render.rpc_over_socket("/s", "g")):
        strict = configparser.RawConfigParser(strict=True, inline_comment_prefixes=(" ;", " #"))
        strict.read_string(text)
        assert strict.sections()


def test_a_template_with_a_value_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render._rendered("supervisor-rpc.conf.j2", transport="tcp", port=9001)


def test_the_selinux_module_has_the_guides_name_and_rules() -> None:
    text = render.selinux_module()
    assert "policy_module(misp-workers-httpd, 1.0)" in text
    assert "domtrans_pattern(unconfined_service_t, httpd_sys_script_exec_t, httpd_t);" in text
    assert "allow httpd_t httpd_sys_script_exec_t:file entrypoint;" in text
