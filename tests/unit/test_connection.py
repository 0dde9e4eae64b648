"""The SSH connection: over a real socket, where there is none, and when it is cut."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from paramiko.ssh_exception import SSHException

from tasks import connection
from tasks.connection import CutError
from tasks.report import events
from tests.unit.pyinfra_fakes import Run


def _host(sock: object) -> Any:
    transport = SimpleNamespace(sock=sock)
    client = SimpleNamespace(get_transport=lambda: transport)
    return SimpleNamespace(connector=SimpleNamespace(client=client))


def test_what_is_sent_waits_for_no_acknowledgement() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
    ):
        assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.prepare(_host(sock))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_host_that_is_silent_is_given_up_after_two_minutes() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
    ):
        connection.prepare(_host(sock))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, pause, count, unanswered = (
            sock.getsockopt(socket.IPPROTO_TCP, number)
            for number in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
        )
    assert idle + pause * count == unanswered / 1000 == connection.PATIENCE == 120


@pytest.mark.parametrize(
    "host",
    [
        _host(object()),  # a channel through another host, or a command's pipes
        SimpleNamespace(connector=SimpleNamespace(client=None)),
        SimpleNamespace(connector=SimpleNamespace()),  # @local, @fake
        SimpleNamespace(connector=SimpleNamespace(client=SimpleNamespace(get_transport=object))),
    ],
)
def test_a_connection_without_a_socket_of_its_own_is_left_alone(host: Any) -> None:
    connection.prepare(host)


def test_so_is_one_that_is_no_tcp() -> None:
    one, other = socket.socketpair()
    with one, other:
        connection.prepare(_host(one))


# --- a cut ---------------------------------------------------------------------------------------

CUTS = [[], EOFError(), ConnectionResetError("reset"), SSHException("SSH session not active")]


@pytest.fixture(autouse=True)
def paramiko() -> Iterator[None]:
    yield
    logging.getLogger("paramiko").setLevel(logging.NOTSET)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time goes by the pauses alone."""
    now, slept = [1000.0], list[float]()

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if seconds >= 1:
            slept.append(seconds)

    monkeypatch.setattr("tasks.connection.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tasks.connection.time.sleep", sleep)
    return slept


@pytest.mark.parametrize("cut", CUTS)
def test_a_look_is_made_again_over_a_new_connection(
    run: Run, naps: list[float], cut: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run.host.answers = [["found"]]
    run.host.refusals = 3
    run.host.cut(cut)
    assert connection.surviving(run.host, lambda: run.host.get_fact(str)) == ["found"]
    assert not logging.getLogger("paramiko.transport").isEnabledFor(logging.ERROR)  # its traces
    assert naps == [1.0, 2.0, 4.0]
    assert "[misp1] the connection to the host was cut; it is made again" in caplog.text
    assert run.host.connector.client.is_up


def test_a_connection_that_does_not_come_back_is_given_up(run: Run, naps: list[float]) -> None:
    run.host.refusals = 1000
    run.host.cut([])
    with pytest.raises(CutError, match=r"does not come back within 120 s .*Connection refused"):
        connection.surviving(run.host, lambda: run.host.get_fact(str))
    assert 105 < sum(naps) <= 120
    assert naps[-1] == 15


def test_one_that_is_cut_again_and_again_too(run: Run, naps: list[float]) -> None:
    def ask() -> list[str]:
        run.host.cut([])
        return run.host.get_fact(str)  # type: ignore[no-any-return]

    with pytest.raises(CutError, match="was cut"):
        connection.surviving(run.host, ask)
    assert len(run.host.commands) == 5


def test_a_reader_of_events_sees_how_long_it_takes(
    run: Run, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv(events.VARIABLE, str(writer))
    run.host.answers, run.host.refusals = [["found"]], 1
    run.host.cut([])
    connection.surviving(run.host, lambda: run.host.get_fact(str))
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert (
            '"text": "the connection is made again", "elapsed": 1.0, "limit": 120' in lines.read()
        )


def test_no_answer_over_a_connection_that_stands_is_no_cut(run: Run, naps: list[float]) -> None:
    assert connection.surviving(run.host, lambda: run.host.get_fact(str)) == []
    run.host.error = OSError("odd")
    with pytest.raises(CutError, match=r"has failed \(odd\)"):
        connection.surviving(run.host, lambda: run.host.get_fact(str))
    assert len(run.host.commands) == 2


@pytest.mark.parametrize("cut", CUTS)
def test_what_changes_something_is_sent_once(run: Run, naps: list[float], cut: Any) -> None:
    run.host.answers = [["found"]]
    run.host.cut(cut)
    with pytest.raises(CutError, match=r"was cut .*Run again: the next run waits for that end"):
        connection.once(run.host, lambda: run.host.get_fact(str))
    assert len(run.host.commands) == 1
    assert not run.host.connector.client.is_up


def test_one_that_was_cut_before_is_made_again_first(run: Run, naps: list[float]) -> None:
    run.host.answers = [["found"]]
    run.host.connector.client.close()
    assert connection.once(run.host, lambda: run.host.get_fact(str)) == ["found"]
    assert len(run.host.commands) == 1
