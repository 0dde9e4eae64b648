"""Processes as a hostile /proc shows them, and some real ones."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import processes
from tasks.host.processes import Process, Table, Workers
from tasks.host.web_user import WebUser
from tests.unit.host.fake_proc import FakeProc

ROOT = "/var/www/MISP"
WORKER = (
    "php",
    "-q",
    ROOT + "/app/Console/cake.php",
    "-working",
    ROOT + "/app",
    "start_worker",
    "prio",
)
NOBODY = WebUser("nobody", 65534, 65534, (65534,), "/nonexistent", "nogroup")


@pytest.fixture(name="proc")
def _proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


@pytest.fixture(name="sleeper")
def _sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], user=65534, group=65534) as process:
        yield process
        process.kill()


def _one(proc: FakeProc, pid: int) -> Process:
    process = Table(proc.path).get(pid)
    assert process is not None
    return process


def test_a_setuid_program_is_not_wholly_roots(proc: FakeProc) -> None:
    proc.add(70, "php-fpm")
    proc.add(71, "sudo", real_uid=33)
    proc.add(72, "php-fpm", uid=33)
    proc.add(73, "php-fpm")
    (proc.folder / "73/status").unlink()
    assert [one.pid for one in Table(proc.path) if one.is_wholly_roots] == [70]
    own = processes.process("/proc", os.getpid())
    assert own is not None
    assert own.is_wholly_roots == (os.getuid() == 0)


def test_a_process_chooses_its_name_but_no_command_of_ours(proc: FakeProc) -> None:
    proc.add(70, "x", name="run `id`\x1b[2J")
    assert _one(proc, 70).name == "run 'id' [2J"


def test_a_process_is_read_whole(proc: FakeProc) -> None:
    proc.add(
        70,
        *WORKER,
        parent=60,
        uid=33,
        started=4711,
        cwd=ROOT,
        environ={"HOME": "/var/www"},
        cgroup="0::/system.slice/supervisor.service\n",
    )
    one = _one(proc, 70)
    assert (one.pid, one.parent, one.started, one.uid, one.state) == (70, 60, 4711, 33, "S")
    assert one.name == "php"
    assert one.argv == list(WORKER)
    assert one.argv[-2:] == ["start_worker", "prio"]
    assert one.cwd == ROOT
    assert one.environ == {"HOME": "/var/www"}
    assert one.unit == "supervisor.service"
    assert not one.is_in_a_container
    assert not one.is_hidden


def test_no_byte_is_an_error(proc: FakeProc) -> None:
    proc.add(70, b"php\xff", b"\xfe", environ={"A": b"\xc3(", "B": "good"})
    (proc.folder / "70" / "stat").write_bytes(b"70 (a) S 9 \xff) (b) R 5 " + b"0 " * 17 + b"88 0\n")
    one = _one(proc, 70)
    assert (one.parent, one.started, one.state) == (5, 88, "R")
    assert one.argv == ["php\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}"]
    assert one.environ["B"] == "good"


def test_an_odd_stat_is_no_process(proc: FakeProc) -> None:
    for pid, text in ((70, b""), (71, b"71 (x) S"), (72, b"72 (x) S a b " + b"z " * 20)):
        proc.add(pid, "x")
        (proc.folder / str(pid) / "stat").write_bytes(text)
    assert list(Table(proc.path)) == []


def test_arguments_and_environment_are_bounded(proc: FakeProc) -> None:
    proc.add(70, "x" * 3_000_000, environ={"A": "x" * 3_000_000})
    one = _one(proc, 70)
    assert len(one.argv[0]) == len("A=") + len(one.environ["A"]) == 1 << 18


def test_a_pid_that_was_given_anew_is_another_process(proc: FakeProc) -> None:
    proc.add(70, *WORKER, started=100)
    old = _one(proc, 70)
    proc.add(70, "rm", "-rf", started=200)
    assert not old.is_alive
    assert old.argv == []
    assert Workers(NOBODY, [old], proc.path).send([70], signal.SIGTERM) == []


def test_the_remains_of_a_process_are_not_alive(proc: FakeProc) -> None:
    proc.add(70, *WORKER)
    one = _one(proc, 70)
    proc.set_stat(70, name="php", state="Z")
    assert not one.is_alive


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/supervisor.service\n", "supervisor.service"),
        ("0::/system.slice/supervisor.service/php.service/x\n", "php.service"),
        ("4:memory:/a.service\n1:name=systemd:/system.slice/b.service\n", "b.service"),
        ("4:memory:/system.slice/a.service\n", "a.service"),
        ("0::/docker/0123/system.slice/supervisord.service\n", "supervisord.service"),
        ("0::/own.slice/supervisor.service\n", "supervisor.service"),
        ("0::/own.slice/x`id`;$(id) a.service\n", "x?id????id??a.service"),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/supervisor.service\n", ""),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("", ""),
    ],
)
def test_unit(proc: FakeProc, cgroup: str, unit: str) -> None:
    proc.add(70, "x", cgroup=cgroup)
    assert _one(proc, 70).unit == unit


def test_containers_are_other_systems(proc: FakeProc) -> None:
    proc.add(70, *WORKER, uid=33, is_in_a_container=True)
    proc.add(71, *WORKER, uid=33)
    proc.add(72, *WORKER, uid=99)
    (proc.folder / "71" / "ns" / "pid").unlink()  # root may not look
    assert [one.pid for one in Table(proc.path).of_users(0, 33)] == [71]


def test_misps_folder_in_directory_or_arguments(proc: FakeProc) -> None:
    proc.add(70, *WORKER)
    proc.add(71, "php", "./bin/resque", cwd=ROOT + "/app/Vendor (deleted)")
    proc.add(72, "php", cwd=ROOT + "2")
    proc.add(73, "php", "-f=" + ROOT, environ={"ROOT": ROOT})
    table = Table(proc.path)
    assert sorted(one.pid for one in table if one.is_below([ROOT])) == [70, 71]


def test_children(proc: FakeProc) -> None:
    for pid, parent in ((70, 1), (71, 70), (72, 70), (73, 71)):
        proc.add(pid, "x", parent=parent)
    table = Table(proc.path)
    assert sorted(one.pid for one in table.children(70)) == [71, 72]
    assert table.children(73) == []
    assert Workers(NOBODY, table, proc.path).with_child([70, 72, 71]) == {70, 71}


def test_the_web_tier(proc: FakeProc) -> None:
    proc.add(70, "php-fpm: pool www", name="php-fpm8.2", uid=33)
    proc.add(71, "/usr/sbin/apache2", maps="7f r-xp /usr/lib/apache2/modules/libphp8.2.so\n")
    proc.add(72, "/usr/sbin/apache2", maps="7f r-xp /usr/lib/libc.so\n")
    proc.add(73, "php-fpm", name="php-fpm", is_in_a_container=True)
    proc.add(74, "php", name="php")
    assert [one.pid for one in Table(proc.path).web_tier()] == [70, 71]


def test_ports_of_a_worker(proc: FakeProc) -> None:
    proc.add(70, *WORKER, sockets=[501, 502])
    proc.connect(40001, 501)
    proc.connect(40002, 502, table="tcp6")
    proc.connect(40003, 503)
    workers = Workers(NOBODY, Table(proc.path), proc.path)
    assert workers.local_ports(70) == {40001, 40002}
    assert workers.local_ports(99) == set()
    assert workers.takes_jobs(70)
    assert not workers.takes_jobs(99)


def test_this_very_process() -> None:
    table = Table()
    me = table.get(os.getpid())
    assert me is not None
    assert me.is_alive
    assert me.uid == os.geteuid()
    assert me.cwd == str(Path.cwd())
    assert not me.is_in_a_container
    assert me.maps(b"libc")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        rows = [row for row in processes.tcp_rows() if row.port == listener.getsockname()[1]]
        assert [row.inode for row in rows if row.is_listening] == [
            os.fstat(listener.fileno()).st_ino
        ]
        assert rows[0].inode in me.sockets()


def test_age_is_told_without_proc_uptime(sleeper: subprocess.Popen[bytes]) -> None:
    one = Table().get(sleeper.pid)
    assert one is not None
    assert 0 <= processes.now_ticks() - one.started < 20 * processes.ticks_per_second()


def test_freeze_and_thaw_as_the_web_user(sleeper: subprocess.Popen[bytes]) -> None:
    one = Table().get(sleeper.pid)
    assert one is not None
    workers = Workers(NOBODY, [one])
    workers.send([one.pid], signal.SIGSTOP)
    for _ in range(100):
        if workers.is_stopped(one.pid):
            break
        time.sleep(0.01)
    assert workers.is_stopped(one.pid)
    workers.send([one.pid], signal.SIGCONT)
    assert workers.send([one.pid], signal.SIGTERM) == [one.pid]
    assert sleeper.wait(5) == -signal.SIGTERM
    assert not workers.exists(one.pid)


def test_a_process_of_roots_takes_no_signal_of_the_web_users() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command) as process:
        one: Any = Table().get(process.pid)
        assert Workers(NOBODY, [one]).send([one.pid], signal.SIGTERM) == []
        assert process.poll() is None
        process.kill()
