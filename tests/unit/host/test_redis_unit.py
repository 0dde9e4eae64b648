"""The unit that a sentence names where a Redis of this host does not answer."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.host import redis_unit, systemd
from tasks.host.parts import Unit
from tasks.host.systemd import UnitError


def have(monkeypatch: pytest.MonkeyPatch, *units: str) -> None:
    monkeypatch.setattr(
        systemd,
        "show",
        lambda names: [Unit(name, "inactive", "", 0, name in units) for name in names],
    )


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ({"host": "localhost"}, " (redis.service is inactive)"),
        ({"host": "127.0.0.1"}, " (redis.service is inactive)"),
        ({"host": "/run/redis.sock"}, " (redis.service is inactive)"),
        ({"host": "redis.example.org"}, ""),
        ({"host": None}, ""),
    ],
)
def test_a_redis_of_this_host_has_its_unit(
    monkeypatch: pytest.MonkeyPatch, at: dict[str, Any], words: str
) -> None:
    have(monkeypatch, "redis.service", "valkey.service")
    assert redis_unit.words(at) == words


def test_debians_name_goes_first_and_none_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, "redis.service", "redis-server.service")
    assert redis_unit.words({"host": "::1"}) == " (redis-server.service is inactive)"
    have(monkeypatch)
    assert redis_unit.words({"host": "::1"}) == ""


def test_one_that_does_not_run_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, "redis.service")
    assert redis_unit.remedy() == ". redis.service is inactive: run `systemctl start redis.service`"
    have(monkeypatch)
    assert redis_unit.remedy() == ""
    running = [Unit("redis.service", "active", "enabled", 9, True)]
    monkeypatch.setattr(systemd, "show", lambda _: running)
    assert redis_unit.remedy() == ""


def test_a_systemd_that_does_not_answer_is_no_new_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise UnitError("no bus")

    monkeypatch.setattr(systemd, "show", fail)
    assert redis_unit.words({"host": "localhost"}) == redis_unit.remedy() == ""
