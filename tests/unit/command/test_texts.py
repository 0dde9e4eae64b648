from __future__ import annotations

import os
import shutil
import sys

import pytest

from tasks.command.texts import clock, table, width, wrapped

COMMAND = "`" + "word " * 20 + "end`"


def test_a_command_is_never_broken() -> None:
    lines = wrapped(f"Do this now and do it well: {COMMAND} Then rest.", 40, "  1. ")
    assert COMMAND in [line.strip() for line in lines]
    assert all(len(line) <= 40 for line in lines if COMMAND not in line)
    assert lines[0].startswith("  1. Do")
    assert lines[1].startswith("     ")


def test_a_terminal_that_does_not_know_its_width_has_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for columns, used in ((0, 80), (60, 60), (300, 120)):
        size = os.terminal_size((columns, 24))
        monkeypatch.setattr(shutil, "get_terminal_size", lambda size=size: size)
        assert width() == used


def test_a_tables_last_column_is_wrapped_under_itself() -> None:
    lines = table([("host", "outcome", "cause"), ("a", "failed", "word " * 20)], 40)
    assert lines[0] == "host  outcome  cause"
    assert lines[1] == "a     failed   word word word word word"
    assert lines[2] == "               word word word word word"
    assert max(map(len, lines)) <= 40


def test_it_stands_below_where_it_would_have_no_room() -> None:
    name = "n" * 30
    lines = table(
        [("host", "outcome", "cause"), (name, "failed", "word " * 8), ("b", "done", "")], 50
    )
    assert lines[1:3] == ["    cause", f"{name}  failed"]
    assert lines[3] == "    word word word word word word word word"
    assert lines[-1] == f"{'b':30}  done"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0:00"), (4.6, "0:05"), (720, "12:00"), (3661, "1:01:01")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
