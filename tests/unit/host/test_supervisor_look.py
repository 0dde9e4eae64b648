"""Which supervisord it is, how root asks it, and what a look says of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host.parts import Supervisor, Unit
from tasks.host.processes import Process, Table
from tasks.host.supervisor import NoAnswerError
from tasks.host.supervisor_access import conf_of, control, read_files
from tasks.host.supervisor_look import look
from tasks.host.waiting import wait_until
from tests.unit.host.fake_proc import FakeProc
from tests.unit.host.real_supervisord import (
    IDLE,
    RealSupervisord,
    free_port,
    group_text,
    site,
    workers_text,
)

INET = "[inet_http_server]\nport=127.0.0.1:{port}\nusername=mine\npassword={password}\n"


@pytest.fixture(name="daemon")
def _daemon(tmp_path: Path) -> Iterator[RealSupervisord]:
    daemon = RealSupervisord(tmp_path)
    yield daemon
    daemon.stop()


def _unit(daemon: RealSupervisord) -> Unit:
    pid = daemon.main_pid()
    return Unit("supervisor.service", "active" if pid else "inactive", "enabled", pid, True)


def _look(daemon: RealSupervisord, port: int = 9001, password: str = "") -> Supervisor:
    return look(site(daemon.folder, port), _unit(daemon), Table(), password)


def test_supervisord_that_runs(daemon: RealSupervisord) -> None:
    ours = daemon.include("misp-workers", group_text("default"))
    with ours.open("a") as file:
        file.write("directory=/var/www/MISP\n")
    daemon.start()
    found = _look(daemon, free_port())
    assert found.error == ""
    assert found.conf == str(daemon.conf)
    assert found.include == [f"{daemon.folder}/conf.d/*.conf"]
    assert found.unix_socket == f"{daemon.folder}/s.sock"
    assert [one.name for one in found.workers] == [
        "misp-workers:default_00",
        "misp-workers:default_01",
    ]
    assert (found.group_elsewhere, found.group_extra, found.inet_file) == ({}, [], "")
    assert found.group_root == "/var/www/MISP"
    assert not found.is_listening


def test_supervisord_that_does_not_run_has_no_programs(daemon: RealSupervisord) -> None:
    daemon.include("misp-workers", group_text("default"))
    found = _look(daemon, free_port())
    assert (found.error, found.workers) == ("", [])
    assert found.conf == str(daemon.conf)


@pytest.mark.parametrize(
    ("password", "known", "answer"),
    [
        ("mine", "", "ok"),
        ("{SHA}", "mine", "ok"),
        ("{SHA}", "other", "the password there is hashed, and is not the one that is known"),
        ("{SHA}", "", ""),
    ],
)
def test_a_foreign_inet_server(
    daemon: RealSupervisord, password: str, known: str, answer: str
) -> None:
    port = free_port()
    if password == "{SHA}":
        password += hashlib.sha1(b"mine").hexdigest()  # noqa: S324
    file = daemon.include("own", INET.format(port=port, password=password))
    daemon.start()
    found = _look(daemon, password=known)
    assert found.inet_file == str(file)
    assert (found.inet_address, found.inet_user) == (f"127.0.0.1:{port}", "mine")
    assert found.inet_answer == answer
    assert [one.pid for one in found.listeners] == [daemon.main_pid()]


def test_our_own_rpc_file_is_not_foreign(daemon: RealSupervisord) -> None:
    port = free_port()
    daemon.include("misp-rpc", INET.format(port=port, password="x"))
    daemon.start()
    found = _look(daemon, port)
    assert (found.inet_file, found.inet_answer) == ("", "")
    assert found.is_listening


def test_the_daemons_own_file_counts(daemon: RealSupervisord, tmp_path: Path) -> None:
    daemon.start()
    one = site(tmp_path)._replace(supervisor_conf="/etc/nowhere.conf")
    assert look(one, _unit(daemon), Table()).conf == str(daemon.conf)


def test_a_daemon_outside_of_its_unit(daemon: RealSupervisord) -> None:
    daemon.start()
    unit = Unit("supervisor.service", "inactive", "enabled", 0, True)
    found = look(site(daemon.folder), unit, Table())
    assert f"a supervisord (PID {daemon.main_pid()}, in " in found.other_daemon
    assert "systemctl enable --now supervisor.service" in found.other_daemon


@pytest.mark.parametrize("has_other", [False, True])
def test_a_unit_that_does_not_know_its_daemon(daemon: RealSupervisord, has_other: bool) -> None:
    # As of an init script, or of a script that stays beside supervisord.
    pid = os.getpid() if has_other else 0
    daemon.start()
    unit = Unit("supervisor.service", "active", "enabled", pid, True)
    found = look(site(daemon.folder), unit, Table())
    assert f"systemd does not know the supervisord that it has started (it says PID {pid})" in (
        found.other_daemon
    )
    assert found.workers == []


def test_a_daemon_without_any_unit(daemon: RealSupervisord) -> None:
    daemon.start()
    unit = Unit("supervisor.service", "inactive", "", 0, False)
    found = look(site(daemon.folder), unit, Table())
    assert "remove it, so that the package is installed, or give it a unit called" in (
        found.other_daemon
    )


def test_the_group_of_another_misp_in_another_included_file(daemon: RealSupervisord) -> None:
    text = daemon.conf.read_text().replace("conf.d/*.conf", "conf.d/*.ini conf.d/*.conf")
    daemon.conf.write_text(text)
    file = daemon.include("50-workers", workers_text("/srv/misp2", default=IDLE))
    daemon.start()
    one = site(daemon.folder)._replace(include_suffix=".ini")
    found = look(one, _unit(daemon), Table(), "")
    assert found.group_elsewhere == {str(file): "/srv/misp2"}
    assert [one.other_misp for one in found.workers] == ["/srv/misp2"]
    # Its file is gone, and it runs on.
    file.unlink()
    assert wait_until(
        lambda: [*look(one, _unit(daemon), Table()).group_elsewhere.values()] == ["/srv/misp2"], 9
    )
    daemon.include("50-workers", workers_text("/var/www/MISP", default=IDLE))
    daemon.restart()
    file.unlink()
    found = look(one, _unit(daemon), Table(), "")
    assert (found.group_elsewhere, [one.other_misp for one in found.workers]) == ({}, [""])


def test_a_stopped_worker_of_another_misp_is_known_by_its_file(daemon: RealSupervisord) -> None:
    text = workers_text("/srv/misp2", default=IDLE) + "autostart=false\n"
    daemon.include("misp-workers", text)
    daemon.start()
    (worker,) = _look(daemon).workers
    assert (worker.state, worker.pid, worker.other_misp) == ("STOPPED", 0, "/srv/misp2")


def test_a_program_that_is_started_below_misps_folder_is_this_misps(
    daemon: RealSupervisord,
) -> None:
    command = "command=./Console/cake start_worker prio\ndirectory=/var/www/MISP/app\n"
    file = daemon.include("own", f"[program:prio]\n{command}autostart=false\n")
    assert _look(daemon).group_elsewhere == {str(file): "/var/www/MISP"}


def test_files_that_it_could_not_read_again_are_an_error(daemon: RealSupervisord) -> None:
    daemon.start()
    daemon.include("x", "no section\n")
    found = _look(daemon)
    assert "supervisord cannot read" in found.error


@pytest.mark.parametrize("has_hash", [False, True])
def test_a_socket_with_a_password_that_only_its_section_has(
    tmp_path: Path, *, has_hash: bool
) -> None:
    password = "{SHA}" + hashlib.sha1(b"s%c").hexdigest() if has_hash else "s%%c"  # noqa: S324
    daemon = RealSupervisord(tmp_path, f"username=root\npassword={password}\n")
    daemon.start()
    try:
        found = _look(daemon)
        assert found.error.startswith("supervisord (PID") == has_hash
        if has_hash:
            with daemon.conf.open("a") as file:
                file.write("[supervisorctl]\nusername=root\npassword=s%%c\n")
            assert _look(daemon).error == ""
            assert _look(daemon, password="s%c").error == ""
    finally:
        daemon.stop()


def test_without_a_socket_the_inet_server_is_asked(daemon: RealSupervisord) -> None:
    port = free_port()
    daemon.drop_socket(port)
    daemon.include("own", INET.format(port=port, password="mine"))
    daemon.start()
    found = read_files(site(daemon.folder), daemon.main_pid())
    assert control(found, daemon.main_pid()).status() == []
    daemon.include("own", "")
    found = read_files(site(daemon.folder), daemon.main_pid())
    with pytest.raises(NoAnswerError, match="no server with a known password"):
        control(found, daemon.main_pid())


def _supervisord(tmp_path: Path, *argv: str, cwd: str = "/") -> Process:
    proc = FakeProc(tmp_path / "proc")
    proc.add(50, *argv, cwd=cwd)
    found = Table(proc.path).get(50)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("-n", "-c", "/etc/a.conf"), "/etc/a.conf"),
        (("-c/etc/a.conf",), "/etc/a.conf"),
        (("--configuration", "/etc/a.conf", "-n"), "/etc/a.conf"),
        (("--configuration=/etc/a.conf",), "/etc/a.conf"),
        (("-c", "a.conf"), "/srv/a.conf"),
    ],
)
def test_the_file_by_the_command_line(tmp_path: Path, words: tuple[str, ...], path: str) -> None:
    argv = ("/usr/bin/python3", "/usr/bin/supervisord", *words)
    assert conf_of(_supervisord(tmp_path, *argv, cwd="/srv")) == path


def test_the_file_of_one_without_c(tmp_path: Path) -> None:
    found = conf_of(_supervisord(tmp_path, "/usr/bin/python3", "/usr/bin/supervisord"))
    assert found in ("", "/etc/supervisord.conf", "/etc/supervisor/supervisord.conf")
