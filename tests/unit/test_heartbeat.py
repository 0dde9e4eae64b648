"""A run's sign of life on hosts that wait for others."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from tasks import heartbeat, remote
from tasks.host import lock
from tests.unit.pyinfra_fakes import FakeHost, Run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS", 0.1)


def note(host: Any, **arguments: Any) -> None:
    heartbeat.note(host, "/usr/bin/python3", arguments)


def test_a_lease_is_renewed_more_than_once_before_it_ends() -> None:
    assert lock.LEASE / 4 * 1.5 * 2 < lock.LEASE


def test_a_host_that_waits_is_renewed_again_and_again(run: Run) -> None:
    note(run.host, _sudo=True, _stdin="the step's own")
    gevent.sleep(0.5)
    assert len(run.host.commands) >= 2
    assert set(run.host.commands) == {remote.Call(lock.renew).words("/usr/bin/python3")}
    arguments = run.host.arguments[0]
    assert arguments["_sudo"] is True
    assert isinstance(arguments["_stdin"], remote.Script)


def test_a_host_with_a_step_just_now_needs_none(run: Run) -> None:
    for _ in range(8):
        note(run.host)
        gevent.sleep(0.05)
    assert run.host.commands == []
    assert len(heartbeat._greenlets) == 1


def test_a_host_that_is_gone_keeps_no_other_from_its_beat(run: Run) -> None:
    other: Any = FakeHost("misp2")
    run.host.error = OSError("gone")
    note(run.host)
    note(other)
    gevent.sleep(0.4)
    assert run.host.commands
    assert len(other.commands) >= 2


def test_a_host_that_hangs_keeps_no_other_from_its_beat(run: Run) -> None:
    other: Any = FakeHost("misp2")
    run.host.run_shell_command = lambda *_, **__: gevent.sleep(60)
    note(run.host)
    note(other)
    gevent.sleep(0.4)
    assert len(other.commands) >= 2
