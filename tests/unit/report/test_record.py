from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.report import record
from tasks.report.record import Report
from tests import runs


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(record.VARIABLE, str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.mark.parametrize("name", ["misp-debian", "10.0.0.1", "misp_1.example.org"])
def test_a_plain_name_is_kept(name: str) -> None:
    assert record.file_name(name) == f"{name}.json"


@pytest.mark.parametrize(
    "name", ["@docker/a", "../../etc/passwd", ".", "a b", "ä", "a/b", "x" * 300]
)
def test_any_other_becomes_safe_and_stays_different(name: str) -> None:
    made = record.file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}\.json", made)
    assert made != record.file_name(f"{name}x")


def test_names_that_look_the_same_when_made_safe_do_not_meet() -> None:
    assert record.file_name("a/b") != record.file_name("a b")


def test_two_runs_in_one_second_have_two_directories(base: Path) -> None:
    made = {record.new_directory("deploy") for _ in range(3)}
    assert len(made) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*made, base)} == {0o700}


def test_what_is_written_is_read_again() -> None:
    directory = record.new_directory("deploy")
    report = replace(runs.sample()[0], host="a/b")
    old = os.umask(0)
    try:
        record.write(directory, report)
    finally:
        os.umask(old)
    (file,) = directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert record.read(directory) == [report]


def test_what_a_full_disk_does_not_take_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    record.write_text(tmp_path / "a.json", "first")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        record.write_text(tmp_path / "a.json", "second")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "first"}


def test_a_file_that_is_no_report_counts_as_failed(tmp_path: Path) -> None:
    odd = ["", "[]", '{"outcome": "done"}', '{"schema": 1, "outcome": "done"}', '{"schema": 2}']
    for number, text in enumerate(odd):
        (tmp_path / f"{number}.json").write_text(text)
    reports = record.read(tmp_path)
    assert [report.outcome for report in reports] == ["failed"] * len(odd)
    assert "its field host is not as it should be" in reports[3].cause
    assert "it has schema 2, and this version reads 1" in reports[4].cause


def test_the_worst_outcome_is_the_runs() -> None:
    outcomes = list(record.CODES)
    assert [Report("h", "deploy", one).code for one in outcomes] == [0, 1, 2, 3, 4, 5, 97]
    for worst in range(len(outcomes)):
        reports = [Report("h", "deploy", one) for one in outcomes[: worst + 1]]
        assert max(report.code for report in reports) == record.CODES[outcomes[worst]]


def test_an_outcome_from_elsewhere_is_no_success() -> None:
    assert Report("h", "deploy", "splendid").code == 1


def test_a_cause_is_one_line_said_once_and_not_endless() -> None:
    report = Report("h", "deploy")
    for text in ("it\nbroke", "it broke", "", "then this"):
        report.add_cause(text)
    assert report.cause == "it broke; then this"
    report.add_cause("x" * 5000)
    assert len(report.cause) == 600
    assert report.cause.endswith("...")


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (Report("h", "deploy", "done", "last", changed=["a"]), "done, 1 operation changed"),
        (
            Report("h", "deploy", "failed", "Drain", "why"),
            "failed in Drain, no operations changed: why",
        ),
        (
            Report("h", "deploy", "failed", "RPC", "why", ["a"], ["call"]),
            "failed in RPC, 1 operation changed, and this one may have changed the host before it "
            "failed: why",
        ),
        (
            Report("h", "deploy", "failed", "RPC", "why", may_have_changed=["call"]),
            "failed in RPC, this one may have changed the host before it failed: why",
        ),
    ],
)
def test_a_sentence_says_it(report: Report, sentence: str) -> None:
    assert report.sentence() == sentence


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("planned", ""),
        ("done", ""),
        ("not_begun", "the run ended before this host's turn"),
        ("failed", "the run gave no reason; what it printed is in output.log"),
    ],
)
def test_only_a_host_that_was_kept_from_its_end_has_a_reason(outcome: str, reason: str) -> None:
    assert Report("h", "deploy", outcome).reason == reason


def test_a_run_of_the_command_has_one_directory_for_all_its_slices(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(record.RUN_VARIABLE, str(base / "made"))
    assert record.new_directory("deploy") == base / "made"
    assert not base.exists()


@pytest.mark.parametrize("outcome", record.CODES)
def test_whoever_is_not_done_has_a_cause(outcome: str) -> None:
    directory = record.new_directory("rollback")
    record.write(directory, Report("h", "rollback", outcome))
    (file,) = directory.iterdir()
    written = json.loads(file.read_text())
    assert (written["schema"], written["outcome"]) == (1, outcome)
    assert bool(written["cause"]) is (outcome != "done")


def test_times_are_utc_and_exact_to_the_millisecond() -> None:
    assert record.now(1_800_000_000.5) == "2027-01-15T08:00:00.500Z"
    assert record.seconds_between(record.now(5), record.now(6.25)) == 1.25
    assert record.seconds_between("", record.now()) == 0
    assert record.moment("odd") is None
