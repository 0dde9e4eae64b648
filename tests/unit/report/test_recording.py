"""What of a run is kept: each host's lines and times, without secrets, whatever the disk does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra import logger

from tasks import preflight
from tasks.host.queues import OldBackend
from tasks.report import events, page, record, recording
from tasks.report import run as run_
from tasks.settings import from_host_data
from tests.unit.pyinfra_fakes import Run


@pytest.fixture(autouse=True)
def _at_pyinfras_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger.name)


def own(run: Run) -> run_.Run:
    return recording._runs[id(run.state.inventory)]


def directory() -> Path:
    (found,) = record.base().iterdir()
    return found


def log() -> str:
    return (directory() / record.OUTPUT).read_text()


def drain(run: Run, waiting: int, running: int = 0, processed: int = 0, **more: Any) -> None:
    old = OldBackend({"prio": waiting}, {}, running=running, processed=processed, **more)
    recording.drain(run.state, run.host, old)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The events of this run."""
    found: list[Any] = []
    monkeypatch.setattr(events, "emit", lambda *words, **fields: found.append((words, fields)))
    return found


# --- lines and causes ----------------------------------------------------------------------------


def test_a_hosts_lines_are_its_steps_own(run: Run) -> None:
    own(run).begin_step(run.report, "Drain")
    for text in ("[misp1] one", "\x1b[0m[\x1b[1mmisp1\x1b[0m]   two\nlines", "--> a heading"):
        logger.info(text)
    for text in ("[misp1] Success", "[other] three", "[misp1] noop: no"):
        logger.info(text)
    assert run.report.steps[-1].says == ["one", "two\nlines"]
    own(run).end_step(run.report)
    logger.info("[misp1] later")
    assert run.report.steps[-1].says == ["one", "two\nlines"]


def test_a_step_keeps_the_first_and_the_last_of_its_many_lines(run: Run) -> None:
    for number in range(1000):
        logger.info("[misp1] %d", number)
    says = run.report.steps[-1].says
    assert (len(says), says[0], says[99], says[-1]) == (200, "0", "99", "999")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ([(logging.ERROR, "no route"), (logging.WARNING, "later")], "no route"),
        ([(logging.WARNING, "Unexpected error: EOFError()")], "Unexpected error: EOFError()"),
        ([(logging.INFO, "well")], "the run gave no reason"),
    ],
)
def test_where_no_step_says_why_pyinfras_own_words_are_the_cause(
    run: Run, said: list[tuple[int, str]], cause: str
) -> None:
    """As when the connection is lost in the drain."""
    own(run).begin_step(run.report, "Drain")
    for level, text in said:
        logger.log(level, "[misp1] %s", text)
    own(run).end_step(run.report, has_failed=True)
    own(run).end(run.report, record.FAILED)
    assert run.report.reason.startswith(cause)


def test_a_reason_that_a_step_gives_is_the_cause_alone(run: Run) -> None:
    recording.note(run.state, run.host, cause="it broke")
    logger.error("[misp1] another thing")
    own(run).end(run.report, record.FAILED)
    assert run.report.cause == "it broke"


# --- secrets -------------------------------------------------------------------------------------


def test_no_secret_is_in_what_a_run_leaves(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    given = {"ssh_password": "hush", "_use_sudo_password": True, "misp_root": "/srv/misp"}
    settings = from_host_data({"misp_api_key": {"command": ["pass", "sesame"]}, "misp_url": URL})
    recording.hide(run.state, run.host, ["sesame", ""])
    recording.data(run.state, run.host, given, settings.shown())
    plan = {"steps": [{"step": "x", "changes": [{"diff": ["+sesame"], "volatile": False}]}]}
    recording.plan(run.state, run.host, plan)
    recording.refused(run.state, run.host, ["sesame is bad", "hush"])
    logger.info("[misp1] sesame")
    logger.info("--> for all: hush")
    recording.keep(run.state, run.host, ["a trace", "with sesame"])
    own(run).close()
    assert {path.name for path in directory().iterdir()} == {
        *("misp1.json", "report.html", "junit.xml", "output.log"),
    }
    for path in directory().iterdir():
        assert not {"sesame", "hush"} & set(path.read_text().replace('"', " ").split())
        assert "sesame" not in path.read_text()
    assert run.report.data["misp_api_key"] == {"command": "pass"}
    assert run.report.plan is not None
    assert run.report.plan["steps"][0]["changes"] == [{"diff": ["+***"], "volatile": False}]
    assert run.report.cause == "*** is bad; ***"
    assert "[misp1] a trace" in log()


URL = "https://misp.example"


def test_no_secret_is_on_the_screen_or_in_an_event(
    run: Run, caplog: pytest.LogCaptureFixture, told: list[Any]
) -> None:
    recording.hide(run.state, run.host, ["hush", "hush-hush", "misp"])
    problems = ["the proxy said hush-hush"]
    recording.refused(run.state, run.host, problems)
    recording.out_of_the_run(run.state, run.host, "refused", problems)
    logger.error("\x1b[0m[\x1b[1mmisp1\x1b[0m] %s", "hush in a line")
    logger.info("[Errno 1] hush")
    assert told == [
        (("refused", "misp1"), {"heading": "refused", "problems": ["the proxy said ***"]})
    ]
    assert "hush" not in caplog.text
    assert "[misp1]   1. the proxy said ***" in caplog.messages
    assert "\x1b[0m[\x1b[1mmisp1\x1b[0m] *** in a line" in caplog.messages
    own(run).close()
    logger.info("hush")
    assert caplog.messages[-1] == "hush"  # another run's business


def test_a_reason_that_is_cut_shows_no_part_of_a_secret(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "state", run.state)
    monkeypatch.setattr(preflight, "host", run.host)
    recording.hide(run.state, run.host, ["hush-hush"])
    preflight._refuse(["x" * 3995 + "hush-hush" + "x" * 99])
    assert run.report.steps[-1].says[0].endswith("x***xx...")


@pytest.mark.parametrize("keeps", [True, False])
def test_no_host_writes_a_line_of_its_own_or_steers_a_terminal(run: Run, keeps: bool) -> None:
    own(run).save(run.report)
    evil = "warn\x1b]0;owned\x07\x1b[2J\u202eevil\r[misp2] done\x85[misp2] done\u2028[misp2] done"
    if keeps:
        recording.keep(run.state, run.host, [evil])
    else:
        logger.info(f"[misp1] {evil}")
    (line,) = log().split("\n")[:-1]
    assert line.isprintable()
    assert line.partition("  ")[2].startswith("[misp1] warn ")
    if not keeps:
        assert all(said.isprintable() for said in run.report.steps[-1].says)


# --- files ---------------------------------------------------------------------------------------


def test_what_is_said_before_there_is_a_folder_is_not_lost(run: Run) -> None:
    logger.info("first")
    assert not record.base().exists()  # no host has a report yet
    own(run).save(run.report)
    logger.info("second")
    assert [line.partition("  ")[2] for line in log().splitlines()] == ["first", "second"]
    assert all(record.moment(line.partition("  ")[0]) for line in log().splitlines())
    assert run.report.output == str(directory() / record.OUTPUT)


@pytest.mark.parametrize("broken", ["write", "text"])
def test_a_disk_that_is_full_ends_the_reports_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    own(run).save(run.report)
    monkeypatch.setattr(record, "write" if broken == "write" else "write_text", fail)
    for _ in range(3):
        recording.changes(run.state, run.host)
    own(run).close()
    assert caplog.text.count("no more reports are written") == 1
    assert run.report.may_have_changed == ["misp1"] * 3


def test_a_page_that_cannot_be_made_ends_no_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Path) -> None:
        raise ZeroDivisionError

    own(run).save(run.report)
    monkeypatch.setattr(page, "write", fail)
    own(run).close()
    assert "no more reports are written" in caplog.text
    assert (directory() / "junit.xml").exists()


@pytest.mark.parametrize(
    ("words", "is_written"),
    [(["-y"], True), ([], False), (["-y", "--dry"], False), (["--json"], False)],
)
def test_a_run_that_asks_nothing_has_its_folder_at_once(
    words: list[str], is_written: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(record.VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr("sys.argv", ["pyinfra", "inventory.py", "deploy.py", *words])
    one = run_.Run("deploy")
    assert bool(one.place) is is_written
    if "--dry" in words or "--json" in words:
        one.save(one.report("a"))
    assert (tmp_path / "runs").exists() is is_written
    one.close()


# --- the drain -----------------------------------------------------------------------------------


def test_the_drain_is_kept_as_a_curve(run: Run) -> None:
    looks = [(3, 1, 7), (3, 1, 7), (3, 1, 7), (2, 1, 8), (0, 1, 10), (0, 0, 11), (0, 0, 11)]
    for look in looks:
        drain(run, *look)
    counts = [tuple(sample[1:]) for sample in run.report.drain]
    assert counts == [(3, 1, 0), (3, 1, 0), (2, 1, 0), (0, 1, 0), (0, 0, 0), (0, 0, 0)]
    assert run.report.jobs.drained == 4
    drain(run, 9, error="gone")
    assert len(run.report.drain) == 6


def test_a_long_drain_keeps_its_ends(run: Run) -> None:
    for number in range(5000):
        drain(run, 10_000 - number)
    samples = run.report.drain
    assert len(samples) <= 2000
    assert (samples[0].waiting, samples[-1].waiting) == (10_000, 5001)


def test_the_drain_is_on_disk_every_ten_seconds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drain(run, 9)
    assert not record.base().exists()  # before the first operation the operator may say no
    run.report.step, run.report.drain = "Drain", []
    seconds = [100.0]
    monkeypatch.setattr("tasks.report.run.time.monotonic", lambda: seconds[0])
    written = []
    for number in range(30):
        drain(run, number)
        seconds[0] += 1
        written.append(len(record.read(directory())[0].drain))
    assert written == [1] * 10 + [11] * 10 + [21] * 10


# --- versions, plan ------------------------------------------------------------------------------


def test_what_was_not_asked_again_is_as_before(run: Run) -> None:
    recording.versions(run.state, run.host, "before", {"php": "8.2", "supervisor": ""})
    recording.versions(run.state, run.host, "after", {"supervisor": "4.2.5"})
    assert run.report.versions == {
        "before": {"php": "8.2"},
        "after": {"php": "8.2", "supervisor": "4.2.5"},
    }


def test_a_plan_is_told_and_kept(run: Run, told: list[Any]) -> None:
    plan = {"host": "misp1", "steps": []}
    recording.plan(run.state, run.host, plan)
    assert told == [(("plan", "misp1"), {"plan": plan})]
    own(run).save(run.report)
    (file,) = directory().glob("*.json")
    assert json.loads(file.read_text())["plan"] == plan


# --- other hosts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "waits"),
    [
        ({}, False),
        ({"b": {"op": False}}, True),
        ({"b": {"op": True}}, False),
        ({"b": {"another": False}}, False),
        ({"b": {"op": True}, "c": {"op": False}}, True),
    ],
)
def test_a_host_waits_for_others_only_while_one_is_in_the_same_step(
    run: Run, told: list[Any], others: dict[str, dict[str, bool]], waits: bool
) -> None:
    """Each host's operations, and whether they are complete."""

    def meta(is_complete: bool) -> Any:
        return SimpleNamespace(operation_meta=SimpleNamespace(is_complete=lambda: is_complete))

    operations = {run.host: {"op": False}, **others}
    state: Any = run.state
    state.active_hosts = {*operations}
    state.ops = {
        host: {name: meta(is_complete) for name, is_complete in found.items()}
        for host, found in operations.items()
    }
    recording._Callbacks.operation_host_success(state, run.host, "op")
    assert [fields["text"] for _, fields in told] == ["it waits for the other hosts"] * waits
