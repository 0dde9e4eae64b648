"""What systemd is told and asked about supervisord's service."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.host import programs
from tasks.host.daemon import Daemon, ServiceError
from tasks.host.programs import Finished


@pytest.fixture(name="told")
def _told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    told: list[tuple[str, ...]] = []

    def run(*words: str, **_: Any) -> Finished:
        told.append(words)
        if words[1] == "show":
            return Finished(0, b"MainPID=42\nActiveState=active\n", b"")
        return Finished(1 if words[1] == "enable" else 0, b"", b"Unit is masked.")

    monkeypatch.setattr(programs, "run", run)
    monkeypatch.setattr(programs, "find", lambda name: "/bin/" + name)
    return told


def test_main_pid(told: list[tuple[str, ...]]) -> None:
    assert Daemon("supervisor.service").main_pid() == 42
    assert told[0][-1] == "supervisor.service"


@pytest.mark.parametrize(
    "text", [b"MainPID=42\nActiveState=failed\n", b"MainPID=\nActiveState=active\n", b""]
)
def test_no_main_pid(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(programs, "find", lambda name: "/bin/" + name)
    monkeypatch.setattr(programs, "run", lambda *_, **__: Finished(0, text, b""))
    assert Daemon("supervisor.service").main_pid() == 0


def test_a_masked_unit_is_told(told: list[tuple[str, ...]]) -> None:
    with pytest.raises(ServiceError, match=r"enable --no-reload supervisor\.service: Unit is mask"):
        Daemon("supervisor.service").enable()


def test_a_start_forgets_failures_of_before(told: list[tuple[str, ...]]) -> None:
    Daemon("supervisor.service").start()
    assert [words[1] for words in told] == ["reset-failed", "start"]


def test_without_systemctl_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find", lambda _: "")
    assert Daemon("supervisor.service").main_pid() == 0
    assert not Daemon("supervisor.service").is_enabled()
