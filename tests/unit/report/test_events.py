"""Events reach the process that asked for them, and nobody else."""

from __future__ import annotations

import json
import os

import pytest

from tasks.report import events


def test_an_event_is_one_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv(events.VARIABLE, str(writer))
    events.emit("says", "misp1", text="two\nlines")
    events.emit("step", "misp1", step="Proof", limit=0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        found = [json.loads(line) for line in lines]
    assert [(one["kind"], one["host"]) for one in found] == [("says", "misp1"), ("step", "misp1")]
    assert found[0]["text"] == "two\nlines"


@pytest.mark.parametrize("number", ["", "no number", "987654"])
def test_without_a_reader_nothing_happens(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(events.VARIABLE, number)
    events.emit("says", "misp1", text="nobody hears")
