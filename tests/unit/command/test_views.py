from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from tasks.command.fleet import Fleet
from tasks.command.views import Lines, Screen, drawn, shown

NAMES = [f"misp{number:02}.a-rather-long-name.example.org" for number in range(20)]
EVENTS: list[dict[str, Any]] = [
    {"kind": "step", "step": "Drain: the old workers finish their jobs", "limit": 600},
    {"kind": "waits", "text": "job 12 (Pull, PID 7)", "elapsed": 65, "limit": 600},
    {"kind": "refused", "problems": ["PID 1 is bash", "no Composer"], "heading": "refused before"},
    {"kind": "end", "outcome": "failed", "cause": "it broke " * 30},
    {"kind": "end", "outcome": "done", "changed": ["a", "b"]},
]


@pytest.fixture
def fleet() -> Fleet:
    """Twenty hosts, five of which are each at something else."""
    made = Fleet(NAMES)
    made.begin(NAMES[:6])
    for name, event in zip(NAMES, EVENTS, strict=False):
        made.take({"host": name, "at": 1000.0, **event})
    return made


def rows(fleet: Fleet, height: int = 40) -> list[str]:
    return [row.plain for row in drawn(fleet, 80, height, 1005.0)]


def test_each_host_has_a_line_of_eighty_columns(fleet: Fleet) -> None:
    lines = rows(fleet)
    assert len(lines) == 20
    assert max(map(len, lines)) <= 80
    name = re.escape(f"{NAMES[0][:27]}…")
    assert re.fullmatch(rf"{name}  Drain +0:05/10:00  the old workers fin…", lines[0])
    assert lines[1].endswith("1:10/10:00  job 12 (Pull, PID 7)")
    assert lines[2].endswith("refused  PID 1 is bash; no Composer")
    assert "failed  it broke it broke" in lines[3]
    assert lines[4].endswith("  done  2 changes")
    assert "  first look " in lines[5]
    assert lines[6].endswith("  waiting")


def test_on_a_low_terminal_what_failed_stays(fleet: Fleet) -> None:
    lines = rows(fleet, 8)
    assert len(lines) == 8
    assert "refused" in lines[0]
    assert "failed" in lines[1]
    assert "Drain" in lines[2]
    assert lines[-1] == "1 done, 12 more"


def test_names_with_markup_or_wide_letters_stay_as_they_are() -> None:
    fleet = Fleet(["[red]a[/red]", "界" * 60])
    lines = rows(fleet)
    assert lines[0].startswith("[red]a[/red]")
    assert len(lines[1]) <= 60


def lines_of(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], *events: dict[str, Any]
) -> list[str]:
    view = Lines(fleet)
    for event in events:
        if host := fleet.take({"host": NAMES[0], **event}):
            view.happened({"host": NAMES[0], **event}, host)
    said = capsys.readouterr()
    assert said.out == ""
    return [line.partition(f" {NAMES[0]}: ")[2] for line in said.err.splitlines()]


def test_in_a_pipe_a_wait_is_told_each_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet(NAMES)
    step = {"kind": "step", "step": "Drain: jobs", "at": 100.0}
    waits = [
        {"kind": "waits", "text": "2 jobs", "elapsed": gone, "limit": 600, "at": 100.0 + gone}
        for gone in range(0, 100, 10)
    ]
    assert lines_of(fleet, capsys, step, *waits, step, *waits[:3]) == [
        "step Drain: jobs",
        "0:30 of 10:00: 2 jobs",
        "1:00 of 10:00: 2 jobs",
        "1:30 of 10:00: 2 jobs",
        "step Drain: jobs",
    ]


def test_in_a_pipe_problems_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    end = {"kind": "end", "outcome": "refused", "cause": "PID 1 is bash; no Composer"}
    assert lines_of(Fleet(NAMES), capsys, EVENTS[2], end, {"kind": "says", "text": "late"}) == [
        "refused before: PID 1 is bash; no Composer"
    ]


def test_without_a_terminal_or_when_asked_for_lines_are_plain() -> None:
    for is_plain in (True, False):
        with shown(Fleet(NAMES), is_plain=is_plain) as view:
            assert isinstance(view, Lines)


@pytest.mark.parametrize("no_color", [True, False])
def test_a_screen_is_drawn_anew_and_leaves_only_what_was_said(fleet: Fleet, no_color: bool) -> None:
    console = Console(
        force_terminal=True, width=80, height=30, no_color=no_color, color_system="standard"
    )
    with (
        console.capture() as capture,
        Live(console=console, auto_refresh=False, transient=True) as live,
    ):
        view = Screen(fleet, live)
        view.tick()
        view.happened({"kind": "says", "text": "[b]note[/b]"}, fleet[NAMES[0]])
    said = capture.get()
    assert f"{NAMES[0]}: [b]note[/b]" in said
    assert "20 hosts: 3 at work, 1 done, 1 failed, 1 refused, 14 waiting" in said
    assert ("\x1b[33m" in said) is not no_color
