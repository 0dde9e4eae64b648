"""JUnit's XML of a run: what CI shows of each host."""

from __future__ import annotations

import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tasks.report import junit, record
from tasks.report.record import Report, Step

PACKAGES = Step("Packages: supervisor", "2026-01-01T00:00:00.000Z", "2026", 1.5, "changed")
DRAIN = Step("Drain: <jobs>", "2026-01-01T00:00:02.000Z", "2026", 8, "failed", says=["3 waiting"])
CUT_OFF = Step("Retire", "2026-01-01T00:00:02.000Z")
STARTED = "2026-01-01T00:00:00.000Z"


def suite(*reports: Report) -> ElementTree.Element:
    return ElementTree.fromstring(junit.text("a run", reports))  # noqa: S314 - our own


def rows(found: ElementTree.Element) -> list[tuple[str | None, ...]]:
    """Host, step, and how it failed."""
    return [
        (case.get("classname"), case.get("name"), *(bad.tag for bad in case if bad.text is None))
        for case in found
    ]


def test_a_host_that_is_done_has_a_case_for_each_step() -> None:
    found = suite(Report("a", "deploy", "done", steps=[PACKAGES], started=STARTED))
    assert found.attrib == {
        "name": "a run",
        "tests": "1",
        "failures": "0",
        "errors": "0",
        "time": "1.500",
        "timestamp": "2026-01-01T00:00:00",
    }
    assert rows(found) == [("a", "Packages: supervisor")]
    assert found[0].get("time") == "1.500"


def test_the_step_that_failed_says_why() -> None:
    found = suite(Report("a", "deploy", "drain_limit", cause="<3> wait", steps=[PACKAGES, DRAIN]))
    assert rows(found) == [("a", "Packages: supervisor"), ("a", "Drain: <jobs>", "failure")]
    assert (found.get("tests"), found.get("failures")) == ("2", "1")
    bad = found[1].find("failure")
    assert bad is not None
    assert bad.attrib == {"type": "drain_limit", "message": "<3> wait"}
    assert found[1].findtext("system-out") == "3 waiting"


def test_a_run_that_was_killed_is_an_error_of_the_step_at_work() -> None:
    found = suite(Report("a", "deploy", steps=[PACKAGES, CUT_OFF]))
    assert (found.get("failures"), found.get("errors")) == ("0", "1")
    bad = found[1].find("error")
    assert bad is not None
    assert "was killed" in (bad.get("message") or "")


@pytest.mark.parametrize("steps", [[], [PACKAGES]])
@pytest.mark.parametrize("outcome", ["failed", "interrupted", "not_begun", "done"])
def test_no_host_is_left_out_and_none_passes_by_chance(outcome: str, steps: list[Step]) -> None:
    found = suite(Report("a", "deploy", outcome, steps=steps))
    bad = int(found.get("failures", 0)) + int(found.get("errors", 0))
    assert bad == (outcome != "done")
    assert len(found) == max(1, len(steps) + bad)


def test_a_text_of_a_hosts_cannot_break_the_file() -> None:
    bad = "\x00\x1b]0;x\ud800\ufffe]]>&<b/>"
    step = Step(bad, STARTED, STARTED, 1, "failed", says=[bad])
    found = suite(Report(bad, "deploy", "failed", cause=bad, steps=[step]))
    assert found[0].get("classname") == "??]0;x??]]>&<b/>"


def test_the_file_stands_beside_the_reports_for_its_owner_alone(tmp_path: Path) -> None:
    record.write(tmp_path, Report("a", "deploy", "done", steps=[PACKAGES]))
    junit.write(tmp_path)
    path = tmp_path / "junit.xml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert 'classname="a"' in path.read_text()
    assert [one.host for one in record.read(tmp_path)] == ["a"]
