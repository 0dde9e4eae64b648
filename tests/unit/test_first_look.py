"""What of a host's lacks the sources are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks import facts, first_look
from tasks.checks.seen import SeenToMigrate
from tasks.host import parts
from tasks.remote import AnswerError, Call
from tasks.secret import Secret
from tasks.settings import Secrets
from tests import hosts

COMPOSER = ["php", "composer.phar"]
PROXY = "http://user:secret@proxy:3128"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call[Any]]:
    """The calls that are made; each is answered."""
    made: list[Call[Any]] = []

    def get(_target: object, call: Call[Any], *_subjects: str) -> parts.Sources:
        made.append(call)
        return hosts.SOURCES

    monkeypatch.setattr(facts, "get", get)
    return made


def tried(found: hosts.Parts, **data: Any) -> parts.Sources:
    secrets = Secrets(http_proxy=Secret(PROXY))
    target = replace(hosts.target(secrets=secrets, **data), composer=" ".join(COMPOSER))
    return first_look.try_sources(target, hosts.seen(SeenToMigrate, found))


@pytest.mark.parametrize(
    ("changes", "names", "composer"),
    [
        ({}, ["supervisor"], COMPOSER),
        ({"packages": {"installed": {"supervisor": "4"}}}, [], COMPOSER),
        ({"packages": {"supervisor_version": "4.2 by pip"}}, [], COMPOSER),
        ({"libraries": {"missing": []}}, ["supervisor"], []),
        # What a run that was cut off has left of Composer's files is put back first.
        ({"libraries": {"is_unfinished": True}}, ["supervisor"], []),
        ({"tree": {"error": "config.php is a link"}}, ["supervisor"], []),
        ({"php": {"version": (0, 0, 0)}}, ["supervisor"], []),
    ],
)
def test_only_what_is_missing_and_can_be_tried_is_tried(
    calls: list[Call[Any]], changes: dict[str, Any], names: list[str], composer: list[str]
) -> None:
    assert tried(hosts.migrating("debian", **changes), epel=False) == hosts.SOURCES
    [call] = calls
    assert (call.name, call.lock) == ("sources.look", "wait")
    assert (call.arguments["names"], call.arguments["composer"]) == (names, composer)
    assert call.arguments["may_use_epel"] is False
    assert call.arguments["http_proxy"] == PROXY


def test_a_host_without_an_answer_has_that_as_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*_: object) -> None:
        raise AnswerError("the host gave no answer")

    monkeypatch.setattr(facts, "get", get)
    assert tried(hosts.migrating()).problems == ["the host gave no answer"]


def test_a_converged_host_is_not_asked(calls: list[Call[Any]]) -> None:
    assert tried(hosts.converged()) == parts.Sources({}, {}, [], [], [])
    assert calls == []
