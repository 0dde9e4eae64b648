"""PHP-FPM, asked over FastCGI: a server of ours runs the script as PHP-FPM would."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter

from tasks.host import boot, bridge, fpm
from tasks.host.misp import Misp
from tasks.host.parts import Pool
from tasks.host.processes import Table
from tasks.host.site import Desired
from tasks.remote import checked
from tests.unit.host.fake_misp import FakeMisp
from tests.unit.host.fake_proc import FakeProc

CODE = (Path(bridge.__file__).with_suffix(".php")).read_text()
OK = "Content-type: text/html\r\n\r\n"
INODE = 4711
MASTER = os.getpid()


class Server:
    """One socket of PHP-FPM's; `says` is what it answers, None: what the script prints."""

    def __init__(self, folder: Path, proc: FakeProc) -> None:
        self.path = str(folder / "fpm.sock")
        self.proc = proc
        self.says: str | None = None
        self.options: list[str] = []
        self.is_busy = False
        self.scripts: list[str] = []
        self.modes: list[int] = []
        self._sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)]
        self._sockets[0].bind(self.path)
        self._sockets[0].listen()
        threading.Thread(target=self._serve, args=self._sockets, daemon=True).start()
        self.master()
        self.child(81, INODE)
        line = f"0000: 00000002 00000000 00010000 0001 01 {INODE} {self.path}\n"
        (proc.folder / "net/unix").write_text(f"heading\n{line}")

    def master(self, **changes: Any) -> None:
        """Have the process that really listens, this one, be a master of PHP-FPM's."""
        given: dict[str, Any] = {"name": "php-fpm8.2", "sockets": (INODE,), **changes}
        self.proc.add(MASTER, "php-fpm: master process", **given)

    def child(self, pid: int, *sockets: int, parent: int = MASTER, uid: int = 33) -> None:
        """A process of a pool's, which has its own pool's listening socket alone."""
        given: dict[str, Any] = {"name": "php-fpm8.2", "parent": parent, "uid": uid}
        self.proc.add(pid, "php-fpm: pool www", sockets=sockets, **given)

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def listen_on_tcp(self, host: str = "127.0.0.1") -> int:
        """Serve a port as well, and return it."""
        is_new = ":" in host
        new = socket.create_server((host, 0), family=socket.AF_INET6 if is_new else socket.AF_INET)
        self._sockets.append(new)
        threading.Thread(target=self._serve, args=(new,), daemon=True).start()
        port: int = new.getsockname()[1]
        address, table = ("0" * 24 + "01000000", "tcp6") if is_new else ("0100007F", "tcp")
        inode = INODE + len(self._sockets)
        self.proc.listen(port, inode, address, table)
        pid = 88 + 2 * len(self._sockets)
        self.proc.add(pid, "php-fpm: master", name="php-fpm8.1", sockets=(inode,))
        self.child(pid + 1, inode, parent=pid)
        return port

    @contextmanager
    def full_queue(self) -> Iterator[None]:
        """Nobody takes connections, and no more fit into the queue."""
        os.unlink(self.path)  # noqa: PTH108
        with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as waiting:
            full.bind(self.path)
            full.listen(0)
            waiting.connect(self.path)
            yield

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                if self.is_busy:
                    stream.read()
                if not stream.peek(1):
                    continue  # nothing was asked
                said = self._answer(*_question(stream)).encode("utf-8", "surrogatepass")
                stream.write(_record(7, b"PHP message: a warning") + _record(6, said))
                stream.write(_record(6, b"") + _record(3, bytes(8)))

    def _answer(self, script: str, body: bytes) -> str:
        self.scripts.append(script)
        self.modes.append(Path(script).stat().st_mode & 0o7777)
        if self.says is not None:
            return self.says
        words = ["php", *self.options, "-d", "display_errors=1", script]
        done = subprocess.run(words, input=body, capture_output=True, check=True, user=33)
        return OK + done.stdout.decode()


def _question(stream: object) -> tuple[str, bytes]:
    found: dict[int, bytes] = {}
    while True:
        _, kind, _, length, padding = struct.unpack(">BBHHBx", stream.read(8))  # type: ignore[attr-defined]
        content = stream.read(length + padding)[:length]  # type: ignore[attr-defined]
        found[kind] = found.get(kind, b"") + content
        if kind == 5 and not content:
            pairs, parameters = found[4], {}
            while pairs:
                name, value = (size & ~(1 << 31) for size in struct.unpack(">II", pairs[:8]))
                parameters[pairs[8 : 8 + name]] = pairs[8 + name : 8 + name + value]
                pairs = pairs[8 + name + value :]
            return parameters[b"SCRIPT_FILENAME"].decode(), found[5]


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 3) + content + b"\0\0\0"


@pytest.fixture
def server(misp: FakeMisp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(bridge, "CODE", CODE)
    misp.own()
    one = Server(misp.folder, FakeProc(tmp_path / "proc"))
    yield one
    one.close()


def look(misp: FakeMisp, server: Server) -> list[Pool]:
    with Misp(misp.site(), Desired()) as one:
        return fpm.look(one, Table(server.proc.path), server.proc.path)


def test_it_tells_what_it_is_and_nothing_stays_behind(misp: FakeMisp, server: Server) -> None:
    (pool,) = look(misp, server)
    assert (pool.at, pool.error, pool.config_error) == (server.path, "", "")
    assert pool.version >= (7, 0, 0)
    assert "posix" in pool.extensions
    assert (pool.open_basedir, pool.sees_proc) == ("", True)
    (script,) = server.scripts
    assert script.startswith(str(misp.app / "tmp/.misp-workers-asked-"))
    assert server.modes == [0o600]
    assert not Path(script).exists()


def test_one_that_listens_on_a_port_is_asked_too(misp: FakeMisp, server: Server) -> None:
    ports = server.listen_on_tcp(), server.listen_on_tcp("::1")
    assert [(pool.at, pool.error) for pool in look(misp, server)] == [
        (server.path, ""),
        (f"127.0.0.1:{ports[0]}", ""),
        (f"[::1]:{ports[1]}", ""),
    ]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("00000000", "127.0.0.1"),
        ("0" * 32, "127.0.0.1"),  # takes IPv4 as well
        ("0501A8C0", "192.168.1.5"),
        ("0000000000000000FFFF00000100007F", "::ffff:127.0.0.1"),
        ("B80D0120000000000000000005000000", "2001:db8::5"),
    ],
)
def test_the_address_of_one_that_listens(address: str, host: str) -> None:
    assert fpm._host(address) == host


def test_nothing_is_said_to_whoever_is_no_master_of_php_fpms(
    misp: FakeMisp, server: Server
) -> None:
    server.proc.add(90, "php-fpm: master", name="php-fpm8.1", sockets=(INODE,))
    server.child(81, INODE, parent=90)
    server.master(name="nginx", sockets=())
    (pool,) = look(misp, server)
    assert pool.error == f"PID {MASTER} of user 0 listens there, not PHP-FPM's master"
    assert pool.may_be_fit
    assert server.scripts == []


def test_a_socket_that_the_web_user_made_is_no_masters() -> None:
    """Though its process has become a master since, by a link to a setuid program."""
    connection: Any = SimpleNamespace(getsockopt=lambda *_: struct.pack("3i", MASTER, 33, 33))
    with pytest.raises(fpm.StrangerError, match=f"PID {MASTER} of user 33 listens there"):
        fpm._prove(connection, {MASTER})
    init: Any = SimpleNamespace(getsockopt=lambda *_: struct.pack("3i", 1, 0, 0))
    with pytest.raises(fpm.StrangerError, match="PID 1 of user 0"):
        fpm._prove(init, {MASTER})


def test_a_path_that_is_turned_elsewhere_is_not_followed(misp: FakeMisp, server: Server) -> None:
    other = misp.folder / "other.sock"
    Path(server.path).rename(other)
    Path(server.path).symlink_to(other)
    (pool,) = look(misp, server)
    assert (pool.error, pool.may_be_fit) == ("it is no socket now", True)


@pytest.mark.parametrize("name", ["my site.sock", "\u202e.sock", "b\udcff.sock"])
def test_an_odd_name_is_asked_and_not_shown(misp: FakeMisp, server: Server, name: str) -> None:
    table = server.proc.folder / "net/unix"
    path = os.fsencode(f"{misp.folder}/{name}")
    table.write_bytes(table.read_bytes().replace(server.path.encode(), path))
    os.rename(server.path, path)  # noqa: PTH104
    (pool,) = look(misp, server)
    assert (pool.at, pool.error) == ("a socket with an odd name", "")


def test_a_name_that_python_cannot_write_is_an_error(
    misp: FakeMisp, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lstat(path: str) -> None:
        path.encode("ascii")

    table = server.proc.folder / "net/unix"
    table.write_text(table.read_text().replace(server.path, "/ä"))
    with Misp(misp.site(), Desired()) as one:
        found = Table(server.proc.path)
        one.user  # noqa: B018 - which is found before
        monkeypatch.setattr(os, "lstat", lstat)
        (pool,) = fpm.look(one, found, server.proc.path)
    assert "codec can't encode" in pool.error


def test_what_it_may_not_do_is_told(misp: FakeMisp, server: Server) -> None:
    basedir = str(misp.app / "tmp")
    server.options = ["-d", "disable_functions=curl_exec, exec", "-d", f"open_basedir={basedir}"]
    (pool,) = look(misp, server)
    assert pool.disabled == ["curl_exec", "exec"]
    assert (pool.open_basedir, pool.sees_proc) == (basedir, False)
    assert pool.config_error.startswith("cannot be read by www-data")


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("Status: 403 Forbidden\r\n\r\nAccess denied.\n", "403 Forbidden Access denied."),
        ("Status: 404 Not Found\r\n\r\nNo input file specified.\n", "404 Not Found No input file"),
        ("", "it closes the connection"),
        (OK + "<html>", "<html>"),
        (OK + '{"value": [1]}\n{"value": []}\n', "no answer"),
        *(
            (f'{OK}{{"value": {{"version": {value}}}}}\n{{"value": []}}\n', '{"value": {"version"')
            for value in ("NaN", "1" * 21, "9e99", '"\\ud800"', "[" * 20 + "]" * 20)
        ),
    ],
)
def test_no_answer_is_an_error(misp: FakeMisp, server: Server, says: str, error: str) -> None:
    server.says = says
    (pool,) = look(misp, server)
    assert error in pool.error


@pytest.mark.parametrize("uids", [(65534,), (0,), (33, 65534)])
def test_nothing_is_said_to_a_pool_of_another_user(
    misp: FakeMisp, server: Server, uids: tuple[int, ...]
) -> None:
    """It would run, as its own user, what the web user puts in the script's place."""
    for pid, uid in enumerate(uids, 81):
        server.child(pid, INODE, uid=uid)
    assert look(misp, server) == []
    assert server.scripts == []


def test_a_pool_without_a_process_may_be_fit_and_is_not_asked(
    misp: FakeMisp, server: Server
) -> None:
    """As with `pm = ondemand`. A child of another pool's has not this one's socket."""
    server.child(81, INODE + 9)
    (pool,) = look(misp, server)
    assert (pool.error, pool.may_be_fit) == (
        "it has no process now that would say as whom it runs",
        True,
    )
    assert server.scripts == []


def test_where_apache_itself_runs_php_no_pool_beside_it_counts(
    misp: FakeMisp, server: Server
) -> None:
    server.proc.add(70, "apache2", name="apache2", maps="/usr/lib/libphp8.2.so")
    assert [pool.at for pool in look(misp, server)] == [server.path]  # Apache runs it as root
    server.proc.add(
        71, "apache2", name="apache2", parent=70, uid=misp.user.uid, maps="/usr/lib/libphp8.2.so"
    )
    assert look(misp, server) == []
    assert len(server.scripts) == 1
    server.proc.add(71, "apache2", name="apache2", parent=70, uid=misp.user.uid)
    assert [pool.at for pool in look(misp, server)] == [server.path]  # a server without PHP


def test_a_look_alike_of_the_web_users_is_not_asked(misp: FakeMisp, server: Server) -> None:
    server.master(uid=33)
    assert look(misp, server) == []
    server.master(real_uid=33)  # a setuid program by a link of that name
    assert look(misp, server) == []
    server.master()
    assert len(look(misp, server)) == 1


def test_the_names_of_others_sockets_change_nothing(misp: FakeMisp, server: Server) -> None:
    with (server.proc.folder / "net/unix").open("a") as file:
        file.write("0000: 00000002 00000000 00010000 0001 01 1 /x\na b c d e f g h\n")
    assert [pool.at for pool in look(misp, server)] == [server.path]
    with (server.proc.folder / "net/unix").open("a") as file:
        file.write(f"0000: 00000002 00000000 00010000 0001 01 {INODE} /evil\n")
    (pool,) = look(misp, server)
    assert (pool.at, pool.may_be_fit) == ("a socket of its", True)
    assert "hides it in /proc/net/unix" in pool.error
    assert len(server.scripts) == 1


def test_odd_values_in_an_answer_are_none(misp: FakeMisp, server: Server) -> None:
    php = {"version": [8], "extensions": [{}, "posix"], "disabled": 5, "basedir": 1, "proc": 1}
    server.says = f'{OK}{json.dumps({"value": php})}\n{{"error": [2]}}\n'
    (pool,) = look(misp, server)
    assert pool == Pool(server.path, "", (0, 0, 0), ["", "posix"], [], "", False, "")


def test_half_a_character_makes_no_look_unreadable(misp: FakeMisp, server: Server) -> None:
    server.says = OK + '{"value": {"extensions": ["\\ud83d"]}}\n{"value": []}\n'
    pools = boot.plain(look(misp, server))
    (pool,) = checked(TypeAdapter(list[Pool]), pools, "look")
    assert pool.error.endswith('{"value": []}')


def test_a_pool_that_is_busy_may_be_fit(
    misp: FakeMisp, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fpm, "_SECONDS", 0.6)
    server.is_busy = True
    (pool,) = look(misp, server)
    assert (pool.error, pool.may_be_fit) == ("no answer within 1 s", True)
    with server.full_queue():
        (pool,) = look(misp, server)
        assert (pool.error, pool.may_be_fit) == ("no answer within 1 s", True)


def test_all_pools_have_one_time_limit(
    misp: FakeMisp, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fpm, "_ALL_SECONDS", 1.0)
    server.is_busy = True
    port = server.listen_on_tcp()
    assert [(pool.at, pool.error, pool.may_be_fit) for pool in look(misp, server)] == [
        (server.path, "no answer within 1 s", True),
        (f"127.0.0.1:{port}", "the others took all the time", True),
    ]


def test_what_a_run_that_was_cut_off_has_left_is_removed(misp: FakeMisp, server: Server) -> None:
    left = misp.app / "tmp/.misp-workers-asked-0.php"
    left.touch()
    assert len(look(misp, server)) == 1
    assert not left.exists()


def test_a_socket_that_nobody_serves_is_an_error(misp: FakeMisp, server: Server) -> None:
    os.unlink(server.path)  # noqa: PTH108
    (pool,) = look(misp, server)
    assert "No such file" in pool.error
