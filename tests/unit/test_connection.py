"""The SSH connection, over a real socket and where there is none."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import connection


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
        connection.send_at_once(_host(sock))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


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
    connection.send_at_once(host)


def test_so_is_one_that_is_no_tcp() -> None:
    one, other = socket.socketpair()
    with one, other:
        connection.send_at_once(_host(one))
