"""The SSH connection, over a real socket and where there is none."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.connectors import ssh, util
from pyinfra.connectors.sshuserclient import client

from tasks import connection

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As pyinfra does it before it connects."""
    checking = ssh.connector_data_meta["ssh_strict_host_key_checking"]
    monkeypatch.setattr(util, "ASKPASS_COMMAND", util.ASKPASS_COMMAND)
    monkeypatch.setattr(checking, "default", checking.default)
    asks = client.AskPolicy.missing_host_key
    monkeypatch.setattr(client.AskPolicy, "missing_host_key", asks)
    runpy.run_path(str(ROOT / "config.py"))
    yield


@pytest.mark.parametrize(
    ("config", "data", "policy"),
    [
        ("", {}, client.AskPolicy),
        ("StrictHostKeyChecking ask", {}, client.AskPolicy),
        ("StrictHostKeyChecking yes", {}, client.StrictPolicy),
        ("StrictHostKeyChecking accept-new", {}, client.AcceptNewPolicy),
        (
            "StrictHostKeyChecking no",
            {"ssh_strict_host_key_checking": "yes"},
            client.StrictPolicy,
        ),
    ],
)
@pytest.mark.usefixtures("configured")
def test_ssh_config_decides_on_an_unknown_host_unless_data_does(
    tmp_path: Path, config: str, data: dict[str, str], policy: type
) -> None:
    file = tmp_path / "config"
    file.write_text(f"Host misp*\n  UserKnownHostsFile {tmp_path}/fleet\n  {config}\n")
    inventory = Inventory((["misp1"], {**data, "ssh_config_file": str(file)}))
    State(inventory, Config())
    kwargs: dict[str, Any] = inventory.get_host("misp1").connector.make_paramiko_kwargs()  # type: ignore[attr-defined]
    found = client.SSHClient().parse_config(
        kwargs["hostname"],
        ssh_config_file=kwargs["_pyinfra_ssh_config_file"],
        strict_host_key_checking=kwargs["_pyinfra_ssh_strict_host_key_checking"],
    )
    assert type(found[3]) is policy
    assert found[4] == (f"{tmp_path}/fleet",)
    assert kwargs["_pyinfra_ssh_known_hosts_file"] is None  # else it would win


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_nobody_is_asked_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    asks, refuses = object(), client.StrictPolicy.missing_host_key
    monkeypatch.setattr(client.AskPolicy, "missing_host_key", asks)
    monkeypatch.setattr(os, "isatty", lambda number: is_terminal and number == 0)
    connection.follow_ssh_config()
    assert client.AskPolicy.missing_host_key is (asks if is_terminal else refuses)


@pytest.mark.usefixtures("configured")
def test_a_wrong_password_is_given_once_to_each_sudo(tmp_path: Path) -> None:
    command = util.ASKPASS_COMMAND.format(tmp_path, "SECRET")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "SECRET": "it's \\wrong"}
    script = subprocess.check_output(["sh", "-c", command], env=environment, text=True).strip()
    for _ in range(2):
        sudo = 'for _ in 1 2 3; do "$1" "[sudo] password:"; echo "$?"; done'
        done = subprocess.check_output(["sh", "-c", sudo, "sh", script], env=environment, text=True)
        assert done.splitlines() == ["it's \\wrong", "0", "1", "1"]
