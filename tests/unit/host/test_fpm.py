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
NO_ACCESS = (
    "Status: 403 Forbidden\r\n\r\nAccess denied.\n",
    "Status: 404 Not Found\r\n\r\nFile not found.\n",  # "Primary script unknown" in its log
)


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
        proc.add(80, "php-fpm: master process", name="php-fpm8.2", sockets=(INODE,))
        proc.add(81, "php-fpm: pool www", name="php-fpm8.2", parent=80, uid=33)
        line = f"0000: 00000002 00000000 00010000 0001 01 {INODE} {self.path}\n"
        (proc.folder / "net/unix").write_text(f"heading\n{line}")

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def listen_on_tcp(self) -> str:
        """Serve a port as well; as in `127.0.0.1:9000`."""
        new = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(new)
        threading.Thread(target=self._serve, args=(new,), daemon=True).start()
        port = new.getsockname()[1]
        row = f"0: 0100007F:{port:04X} 00000000:0000 0A 0:0 00:0 0 0 0 {INODE + 1} 1\n"
        (self.proc.folder / "net/tcp").write_text(f"heading\n{row}")
        self.proc.add(90, "php-fpm: master", name="php-fpm8.1", sockets=(INODE + 1,))
        return f"127.0.0.1:{port}"

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
                    continue
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
    at = server.listen_on_tcp()
    assert [(pool.at, pool.error) for pool in look(misp, server)] == [(server.path, ""), (at, "")]


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
        *((said, "it may not run a PHP file there") for said in NO_ACCESS),
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


@pytest.mark.parametrize("says", NO_ACCESS)
def test_a_pool_of_another_user_is_not_misps(misp: FakeMisp, server: Server, says: str) -> None:
    server.says = says
    server.proc.add(81, "php-fpm: pool www", name="php-fpm8.2", parent=80, uid=65534)
    assert look(misp, server) == []


def test_where_apache_itself_runs_php_no_pool_beside_it_counts(
    misp: FakeMisp, server: Server
) -> None:
    server.proc.add(70, "apache2", name="apache2", maps="/usr/lib/libphp8.2.so")
    assert [pool.at for pool in look(misp, server)] == [server.path]  # its children are others'
    server.proc.add(
        71, "apache2", name="apache2", parent=70, uid=misp.user.uid, maps="/usr/lib/libphp8.2.so"
    )
    assert look(misp, server) == []
    assert len(server.scripts) == 1
    server.proc.add(71, "apache2", name="apache2", parent=70, uid=misp.user.uid)
    assert [pool.at for pool in look(misp, server)] == [server.path]  # a server without PHP


def test_a_look_alike_of_the_web_users_is_not_asked(misp: FakeMisp, server: Server) -> None:
    server.proc.add(80, "php-fpm: master process", name="php-fpm", uid=33, sockets=(INODE,))
    assert look(misp, server) == []


def test_the_names_of_others_sockets_change_nothing(misp: FakeMisp, server: Server) -> None:
    with (server.proc.folder / "net/unix").open("a") as file:
        file.write("0000: 00000002 00000000 00010000 0001 01 1 /x\na b c d e f g h\n")
    assert [pool.at for pool in look(misp, server)] == [server.path]
    with (server.proc.folder / "net/unix").open("a") as file:
        file.write(f"0000: 00000002 00000000 00010000 0001 01 {INODE} /evil\n")
    assert look(misp, server) == []


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
    at = server.listen_on_tcp()
    assert [(pool.at, pool.error, pool.may_be_fit) for pool in look(misp, server)] == [
        (server.path, "no answer within 1 s", True),
        (at, "the others took all the time", True),
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
