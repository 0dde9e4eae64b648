"""The page of a run: complete, escaped, and without anything to fetch."""

from __future__ import annotations

import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.report import page, record
from tasks.report.record import CutOver, Report, Sample, Step
from tests import runs

BAD = '"><script>alert(1)</script><img src=\'https://evil.example/x\' onerror="x()">{{ 7 * 7 }}'


class Elements(HTMLParser):
    """The page's elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def elements(*reports: Report) -> Elements:
    return Elements(page.html(runs.NAME, reports))


def test_each_host_of_a_run_is_there_with_its_outcome_and_why() -> None:
    found = elements(*runs.sample())
    assert [one["id"] for one in found.of("article")] == [f"host-{n}" for n in range(1, 6)]
    for words in ("Done", "Drain limit", "Refused", "Returned", "Interrupted", "maria@admin-pc"):
        assert words in found.text
    assert "Composer is neither in app/ nor on the PATH" in found.text
    assert "Nothing on this host was changed." in found.text
    assert "it was killed, or it is still at work" in found.text


def test_a_host_that_is_done_shows_its_evidence() -> None:
    found = elements(runs.sample()[0])
    assert "187" in found.text
    assert "3f1c9a52-7d1e-4c58-9b0a-2e6f4d8a7c00" in found.text
    assert "5 of 5 good" in found.text
    assert "cut-over 21:14:39" in found.text
    assert runs.CRON in found.text
    assert "+[group:misp-workers]" in found.text
    assert "REDIS_PASSWORD" in found.text
    assert len(found.of("path")) == 5


def test_nothing_is_fetched_and_nothing_runs() -> None:
    found = elements(*runs.sample())
    tags = {tag for tag, _ in found.found}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use"}
    assert [one for one in found.of("a") if not str(one["href"]).startswith("#")] == []
    text = page.html(runs.NAME, runs.sample())
    assert not re.search(r"url\(|@import|https?:|javascript:", text)
    (policy,) = [one for one in found.of("meta") if one.get("http-equiv")]
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_every_text_is_escaped() -> None:
    step = Step(BAD, runs.at(0), runs.at(1), 1, "failed", [BAD], [BAD])
    report = Report(BAD, BAD, BAD, BAD, BAD, [BAD], [BAD], runs.at(0), BAD, BAD)
    report.project, report.data, report.output = {"version": BAD, "commit": BAD}, {BAD: BAD}, BAD
    report.versions, report.scheduled_tasks = {"before": {BAD: BAD}, "after": {BAD: BAD}}, [BAD]
    change = {"kind": BAD, "name": BAD, "before": BAD, "after": BAD, "diff": [BAD]}
    report.steps, report.plan = [step], {"steps": [{"step": BAD, "changes": [change]}]}
    report.cut_over = CutOver(BAD, BAD)
    report.drain = [Sample(BAD, 1, 1, 1)]
    report.workers, report.proof = runs.workers(), runs.proof()
    report.workers[0].queue = report.workers[0].started = report.proof.jobs[0].id = BAD
    found = elements(report)
    assert found.of("script") == found.of("img") == []
    assert not [name for _, one in found.found for name in one if name.startswith("on")]
    assert found.text.count("<script>alert(1)</script>") > 20
    assert "{{ 7 * 7 }}" in found.text


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_bars_stay_on_the_timeline(cut: int) -> None:
    report = runs.sample()[0]
    report.cut_over = CutOver("", runs.at(cut))
    host = page.Host(report, 1)
    for step in report.steps:
        left, wide = host.bar(step)
        assert 0 <= left <= 100
        assert 0 <= wide <= 100 - left + 0.02
    assert host.cut is not None
    assert 0 <= host.cut <= 100


def test_a_step_that_was_cut_off_reaches_to_the_end() -> None:
    report = runs.sample()[4]
    host = page.Host(report, 1)
    left, wide = host.bar(report.steps[-1])
    assert left + wide == pytest.approx(100)


def test_the_curve_goes_from_look_to_look() -> None:
    report = Report("a", "deploy")
    report.drain = [Sample(runs.at(at), waiting, 0, 0) for at, waiting in ((0, 4), (5, 2), (10, 0))]
    curve = page.Host(report, 1).curve
    assert curve is not None
    assert curve.line("waiting") == "M0.0 0.0L300.0 50.0L600.0 100.0"
    assert (curve.most("waiting"), curve.most("running"), curve.seconds) == (4, 0, 10)


def test_an_old_backend_that_was_quiet_has_no_curve() -> None:
    report = Report("a", "deploy", drain=[Sample(runs.at(0), 0, 0, 0), Sample(runs.at(5), 0, 0, 0)])
    assert page.Host(report, 1).curve is None
    assert "Jobs of the old backend" not in elements(report).text
    report.cut_over = CutOver()
    assert "Nothing was waiting, running or delayed there." in elements(report).text


def test_one_look_makes_no_curve() -> None:
    report = Report("a", "deploy", drain=[Sample(runs.at(0), 7, 0, 0)])
    assert page.Host(report, 1).curve is None


@pytest.mark.parametrize(
    ("deploy", "title", "sentence"),
    [
        ("deploy", "Migration of 2 MISP hosts", "This host is migrated"),
        ("rollback", "Rollback of 2 MISP hosts", "This host is on its old workers again."),
        ("healthcheck", "Health check of 2 MISP hosts", "This host has the health check"),
    ],
)
def test_the_page_says_what_kind_of_run_it_is_of(deploy: str, title: str, sentence: str) -> None:
    """A report that cannot be read has no kind."""
    found = elements(Report("a", "", "failed"), Report("b", deploy, "done"))
    assert found.text.count(title) == 2
    assert sentence in found.text


def test_a_report_with_nothing_in_it_has_a_page() -> None:
    assert "no host" not in elements(Report("a", "")).text
    assert elements().of("article") == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7500, "2 h 5 min")],
)
def test_a_duration_is_as_exact_as_it_is_short(seconds: float, words: str) -> None:
    assert page.duration(seconds) == words


def test_the_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for report in runs.sample():
        record.write(tmp_path, report)
    assert page.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / page.FILE)
    for name in (page.FILE, "junit.xml"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert (tmp_path / page.FILE).read_text() == page.html(tmp_path.name, runs.sample())


@pytest.mark.parametrize("arguments", [["/nonexistent"], ["--help"], ["a", "b"]])
def test_without_a_run_there_is_no_page(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert page.main(arguments) == 1
    assert capsys.readouterr().err
