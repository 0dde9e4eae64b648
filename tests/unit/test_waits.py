"""What is said while a host is at work on one call."""

from __future__ import annotations

import json
import logging
import os

import gevent
import pytest

from tasks import waits
from tasks.report import events
from tests.unit.pyinfra_fakes import Run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(waits, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(waits, "NEXT_SECONDS", 0.1)
    caplog.set_level(logging.INFO)


def test_a_long_wait_is_told_again_and_again_until_it_ends(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with waits.shown(run.host, "apt-get installs supervisor", 1800):
        gevent.sleep(0.45)
    told = [record.message for record in caplog.records]
    assert len(told) == 3
    assert set(told) == {"[misp1] apt-get installs supervisor: 0 s of at most 30 min"}
    gevent.sleep(0.3)
    assert len(caplog.records) == 3


def test_a_short_wait_and_one_without_words_are_not(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with waits.shown(run.host, "apt-get installs supervisor", 1800):
        gevent.sleep(0.1)
    with waits.shown(run.host, "", 0):
        gevent.sleep(0.3)
    gevent.sleep(0.3)
    assert caplog.records == []


def test_without_a_limit_only_the_time_is_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with waits.shown(run.host, "it works", 0):
        gevent.sleep(0.25)
    assert caplog.records[0].message == "[misp1] it works: 0 s"


def test_it_ends_with_an_error_too(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="gone"), waits.shown(run.host, "it works", 0):
        raise OSError("gone")
    gevent.sleep(0.4)
    assert caplog.records == []


def test_a_reader_of_events_learns_of_it_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv(events.VARIABLE, str(writer))
    with waits.shown(run.host, "apt-get installs supervisor", 1800), os.fdopen(reader) as lines:
        event = json.loads(lines.readline())
    os.close(writer)
    told = {key: event[key] for key in ("kind", "host", "text", "elapsed", "limit")}
    assert told == {
        "kind": "waits",
        "host": "misp1",
        "text": "apt-get installs supervisor",
        "elapsed": 0,
        "limit": 1800,
    }
