"""Supervisord's RPC, with real supervisords, and those who only pretend."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host import peer, supervisor
from tasks.host.peer import NobodyError, StrangerError
from tasks.host.supervisor import (
    Door,
    FaultError,
    FaultyFilesError,
    NoAnswerError,
    PasswordError,
    Supervisord,
    answers_as_misp,
)
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser
from tests.unit.host.fake_proc import FakeProc
from tests.unit.host.real_supervisord import RealSupervisord, free_port, group_text

PASSWORD = "Password0123456789abcdefGHIJKLMNO"
INET = "[inet_http_server]\nport=127.0.0.1:{port}\nusername=supervisor\npassword={password}\n"
WEB = WebUser("nobody", 65534, 65534, (65534,), "/nonexistent", "nogroup")


@pytest.fixture(name="daemon")
def _daemon(tmp_path: Path) -> Iterator[RealSupervisord]:
    daemon = RealSupervisord(tmp_path)
    yield daemon
    daemon.stop()


def _unix(daemon: RealSupervisord) -> Supervisord:
    return Supervisord(Door(f"{daemon.folder}/s.sock", 0), daemon.main_pid())


class Squatter:
    """Listens where supervisord should, answers nicely, and keeps what it is sent."""

    def __init__(self, port: int = 0, path: str = "") -> None:
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(path)
        else:
            self.socket = socket.create_server(("127.0.0.1", port))
        self.socket.listen()
        self.heard = b""
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(0.5)
            try:
                while data := connection.recv(65536):
                    self.heard += data
            except OSError:
                pass
            connection.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def test_a_squatter_on_the_port_gets_nothing(daemon: RealSupervisord) -> None:
    daemon.start()
    port = free_port()
    squatter = Squatter(port)
    door = Door("", port, "supervisor", PASSWORD)
    with pytest.raises(StrangerError, match=rf"port {port} is taken by .*PID {os.getpid()}"):
        Supervisord(door, daemon.main_pid()).pid()
    answer = answers_as_misp(door, daemon.main_pid())
    assert "not by supervisord" in answer
    time.sleep(0.1)
    squatter.close()
    assert squatter.connections == 0
    assert squatter.heard == b""


def test_a_squatter_that_comes_between_look_and_connection_gets_nothing(
    daemon: RealSupervisord, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    daemon.include("rpc", INET.format(port=port, password=PASSWORD))
    daemon.start()
    main_pid = daemon.main_pid()
    create_connection = socket.create_connection
    squatters = []

    def swap(*arguments: object) -> object:
        os.kill(main_pid, signal.SIGKILL)
        daemon.process.wait()
        squatters.append(Squatter(port))
        return create_connection(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", swap)
    with pytest.raises(StrangerError):
        Supervisord(Door("", port, "supervisor", PASSWORD), main_pid).pid()
    time.sleep(0.1)
    squatters[0].close()
    assert squatters[0].connections == 1
    assert squatters[0].heard == b""


def test_whoever_else_listens_on_the_port_makes_it_unproven(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc")
    proc.add(50, "supervisord", sockets=[700])
    proc.add(60, "nc", uid=65534, sockets=[701], cgroup="0::/user.slice/x.service\n")
    proc.listen(9001, 700)
    proc.listen(9001, 701, address="0" * 24 + "01000000", table="tcp6")
    with pytest.raises(StrangerError, match=r"port 9001 is taken by nc \(PID 60\)"):
        peer.connect_tcp(9001, 50, 1, proc.path)
    assert [one.pid for one in peer.listeners(9001, 50, proc.path)] == [50, 60]


def test_supervisord_on_another_address_only(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc")
    proc.add(50, "supervisord", sockets=[700])
    proc.listen(9001, 700, address="0501A8C0")
    with pytest.raises(NobodyError, match=r"not on 127\.0\.0\.1"):
        peer.connect_tcp(9001, 50, 1, proc.path)


def test_a_pid_that_does_not_listen_is_not_trusted(daemon: RealSupervisord) -> None:
    port = free_port()
    daemon.include("rpc", INET.format(port=port, password=PASSWORD))
    daemon.start()
    with pytest.raises(StrangerError):
        Supervisord(Door("", port, "supervisor", PASSWORD), os.getpid()).pid()
    with pytest.raises(StrangerError):
        Supervisord(Door("", port, "supervisor", PASSWORD), 0).pid()


def test_a_squatter_on_the_socket_file_gets_nothing(
    daemon: RealSupervisord, tmp_path: Path
) -> None:
    daemon.start()
    pid = os.fork()
    path = str(tmp_path / "x.sock")
    if pid == 0:  # another user listens in a folder of root's
        os.chdir(tmp_path)
        tmp_path.chmod(0o777)
        one = socket.socket(socket.AF_UNIX)
        os.setuid(65534)
        one.bind("x.sock")
        one.listen()
        time.sleep(30)
        os._exit(0)
    for _ in range(200):
        if Path(path).exists():
            break
        time.sleep(0.02)
    tmp_path.chmod(0o755)
    try:
        with pytest.raises(StrangerError, match="of user 65534, not by supervisord"):
            Supervisord(Door(path, 0), daemon.main_pid()).pid()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_socket_in_a_folder_of_others_is_not_used(
    daemon: RealSupervisord, tmp_path: Path
) -> None:
    daemon.start()
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(StrangerError, match="can be changed by others than root"):
        _unix(daemon).pid()
    os.chown(tmp_path, 0, 0)


def test_another_process_of_roots_is_not_supervisord(
    daemon: RealSupervisord, tmp_path: Path
) -> None:
    daemon.start()
    squatter = Squatter(path=str(tmp_path / "x.sock"))
    with pytest.raises(StrangerError):
        Supervisord(Door(str(tmp_path / "x.sock"), 0), daemon.main_pid()).pid()
    time.sleep(0.1)
    squatter.close()
    assert squatter.heard == b""


@pytest.mark.parametrize("forks", [False, True])
def test_supervisord_answers_on_its_socket(tmp_path: Path, *, forks: bool) -> None:
    daemon = RealSupervisord(tmp_path, forks=forks)
    daemon.start()
    try:
        assert _unix(daemon).pid() == daemon.main_pid() > 0
        assert answers_as_misp(Door(f"{tmp_path}/s.sock", 0), daemon.main_pid()) == "ok"
    finally:
        daemon.stop()


@pytest.mark.parametrize("hashed", [False, True])
def test_supervisord_answers_on_its_port(daemon: RealSupervisord, *, hashed: bool) -> None:
    port = free_port()
    digest = hashlib.sha1(PASSWORD.encode()).hexdigest()  # noqa: S324
    stored = "{SHA}" + digest if hashed else PASSWORD
    daemon.include("rpc", INET.format(port=port, password=stored))
    daemon.start()
    right = Door("", port, "supervisor", PASSWORD)
    main_pid = daemon.main_pid()
    assert answers_as_misp(right, main_pid) == "ok"
    assert answers_as_misp(right._replace(password="wrong"), main_pid) == "401"
    assert answers_as_misp(right._replace(port=free_port()), main_pid).startswith("nobody listens")
    assert answers_as_misp(right, 0) == "supervisord does not run"
    assert PASSWORD not in repr(right)


def test_may_connect(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    path = folder / "s.sock"
    path.touch(mode=0o700)
    above = [parent for parent in tmp_path.parents if not parent.stat().st_mode & 1]
    assert not supervisor.may_connect(str(path), WEB)
    path.chmod(0o770)
    os.chown(path, 0, WEB.gid)
    assert supervisor.may_connect(str(path), WEB) == (not above)
    folder.chmod(0o700)
    assert not supervisor.may_connect(str(path), WEB)


def test_a_socket_that_the_web_user_may_not_use(daemon: RealSupervisord) -> None:
    daemon.start()
    door = Door(f"{daemon.folder}/s.sock", 0)
    assert "nobody may not write to" in answers_as_misp(door, daemon.main_pid(), WEB)


def _all_execed(control: Supervisord) -> list[int]:
    """PIDs of the group; a signal before exec is lost in supervisord's own handler."""
    for _ in range(200):
        pids = [one.pid for one in control.group() if one.pid]
        names = [Path(f"/proc/{pid}/comm").read_text() for pid in pids]
        if set(names) == {"sleep\n"}:
            return pids
        time.sleep(0.02)
    raise AssertionError("no sleepers")


def test_status_is_what_supervisorctl_prints(daemon: RealSupervisord) -> None:
    daemon.include("group", group_text("default", "prio"))
    daemon.include("own", "[program:own]\ncommand=/bin/false\nautostart=false\n")
    daemon.start()
    states = ["RUNNING"] * 4 + ["STOPPED"]
    users = ["nobody"] * 4 + [""]  # supervisord's child changes its user after its fork
    assert wait_until(
        lambda: (
            [(one.state, one.user) for one in _unix(daemon).status()]
            == list(zip(states, users, strict=True))
        ),
        10,
    )
    found = _unix(daemon).status()
    printed = [line.split(None, 2) for line in daemon.ctl("status").splitlines()]
    assert sorted((one.name, one.state) for one in found) == sorted(
        (line[0], line[1]) for line in printed
    )
    worker = next(one for one in found if one.name == "misp-workers:prio_01")
    assert worker.group == "misp-workers"
    assert worker.note == f"pid {worker.pid}, uptime 0:00:{worker.uptime:02}"
    assert worker.user == "nobody"
    own = next(one for one in found if one.name == "own")
    assert (own.group, own.pid, own.uptime, own.user) == ("own", 0, 0, "")
    assert len(_unix(daemon).group()) == 4


def test_update_of_one_group_leaves_the_others_alone(daemon: RealSupervisord) -> None:
    daemon.start()
    control = _unix(daemon)
    assert control.status() == []
    daemon.include("group", group_text("default"))
    own = daemon.include("own", "[program:own]\ncommand=/bin/sleep 9\n")
    assert control.reread() == (["misp-workers", "own"], [], [])
    assert control.update()
    before = {one.name: one.pid for one in control.status()}
    assert sorted(before) == ["misp-workers:default_00", "misp-workers:default_01"]
    assert not control.update()

    daemon.include("group", group_text("default", "prio", seconds=1))
    assert control.reread().changed == ["misp-workers"]
    assert control.update()
    after = {one.name: one.pid for one in control.status()}
    assert len(after) == 4
    assert not set(before.values()) & set(after.values())

    own.unlink()
    (daemon.folder / "conf.d" / "group.conf").unlink()
    assert control.update()
    assert control.status() == []


def test_faulty_files_are_refused_in_supervisors_words(daemon: RealSupervisord) -> None:
    daemon.start()
    daemon.include("x", "[program:x]\ndirectory=/\n")
    with pytest.raises(FaultyFilesError, match="program section program:x does not specify a com"):
        _unix(daemon).update()


def test_other_faults_are_supervisors(daemon: RealSupervisord) -> None:
    daemon.start()
    with pytest.raises(FaultError, match="BAD_NAME") as caught:
        _unix(daemon).start_group()
    assert caught.value.code == 10


def test_stop_some_and_start_the_group_again(daemon: RealSupervisord) -> None:
    daemon.include("group", group_text("default"))
    daemon.start()
    control = _unix(daemon)
    _all_execed(control)
    names = ["misp-workers:default_01", "misp-workers:no_such"]
    assert control.send_stop(names) == names[:1]
    assert control.wait_for_stop(names, 5)
    assert [one.state for one in control.group()] == ["RUNNING", "STOPPED"]
    assert control.send_stop(names) == []
    control.start_group()
    assert [one.state for one in control.group()] == ["RUNNING", "RUNNING"]


def test_a_frozen_worker_takes_the_signal_when_it_is_thawed(daemon: RealSupervisord) -> None:
    daemon.include("group", group_text("default"))
    daemon.start()
    control = _unix(daemon)
    _all_execed(control)
    worker = control.group()[0]
    os.kill(worker.pid, signal.SIGSTOP)
    stat = Path(f"/proc/{worker.pid}/stat")
    # A TERM that comes before it is frozen would be taken first.
    assert wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 5)
    assert control.send_stop([worker.name]) == [worker.name]
    assert not control.wait_for_stop([worker.name], 0.3)
    os.kill(worker.pid, signal.SIGCONT)
    assert control.wait_for_stop([worker.name], 5)


def test_a_password_on_the_socket(tmp_path: Path) -> None:
    daemon = RealSupervisord(tmp_path, "username=root\npassword=secret\n")
    daemon.start()
    try:
        door = Door(f"{tmp_path}/s.sock", 0)
        with pytest.raises(PasswordError):
            Supervisord(door, daemon.main_pid()).status()
        right = door._replace(user="root", password="secret")
        assert Supervisord(right, daemon.main_pid()).status() == []
    finally:
        daemon.stop()


def test_who_hangs_is_no_empty_list(daemon: RealSupervisord) -> None:
    daemon.start()
    os.kill(daemon.main_pid(), signal.SIGSTOP)
    try:
        with pytest.raises(NoAnswerError, match="gives no answer"):
            _unix(daemon).call("supervisor.getAllProcessInfo", timeout=0.3)
    finally:
        os.kill(daemon.main_pid(), signal.SIGCONT)


@pytest.mark.parametrize("answer", ["", [1], [{"name": "x"}], {"a": 1}])
def test_an_odd_list_is_no_empty_list(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Supervisord, "call", lambda *_, **__: answer)
    with pytest.raises(NoAnswerError):
        Supervisord(Door("/x", 0), 1).status()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NobodyError, match="nobody listens on"):
        Supervisord(Door(f"{tmp_path}/s.sock", 0), os.getpid()).pid()
    with pytest.raises(NobodyError, match="nobody listens on port"):
        Supervisord(Door("", free_port()), os.getpid()).pid()
