"""Whom pyinfra asks for a host's key, and how often it gives a password."""

from __future__ import annotations

import os
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.connectors import ssh, util
from pyinfra.connectors.sshuserclient import client

from tasks import before_connect

ROOT = Path(__file__).resolve().parents[2]


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
    before_connect.follow_ssh_config()
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
