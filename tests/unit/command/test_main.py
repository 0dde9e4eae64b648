"""The commands around a pyinfra that is none."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tasks import places
from tasks.command import inventory, main
from tasks.command.inventory import Groups
from tasks.plan import document
from tasks.report import record
from tasks.report.status import Status
from tests.hosts import converged
from tests.unit.command import test_arguments
from tests.unit.plan.plans import plan

_called = test_arguments._called
GROUPS: Groups = {"a": ["misp"], "b": ["misp"]}


class NoPyinfra:
    """Tells what the test gave it."""

    ending = "pyinfra ended with status 0"
    has_failed = False
    started: ClassVar[list[list[str]]] = []
    tells: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, words: list[str], *_: Any, **__: Any) -> None:
        self.started.append(words)

    def events(self) -> Iterator[dict[str, Any] | None]:
        yield from self.tells


@pytest.fixture(autouse=True)
def pyinfra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[NoPyinfra]:
    monkeypatch.setattr(main, "Child", NoPyinfra)
    monkeypatch.setattr(inventory, "hosts_of", lambda *_: GROUPS)
    monkeypatch.setenv(record.VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own
    NoPyinfra.started, NoPyinfra.tells = [], []
    return NoPyinfra


def plan_of(*hosts: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for host in hosts:
        found += [
            {"kind": "plan", "host": host, "plan": plan(converged(), name=host).model_dump()},
            {"kind": "end", "host": host, "outcome": "planned"},
        ]
    return found


def test_a_kept_plan_is_applied_to_its_hosts_and_passed_on(
    pyinfra: type[NoPyinfra], tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    pyinfra.tells = [*plan_of("b"), {"kind": "refused", "host": "a", "problems": ["no"]}]
    assert main.main(["plan", "i.py", "--out", str(file)]) == 2
    assert [*json.loads(file.read_text())["documents"]] == ["b"]
    main.main(["apply", str(file)])
    words = pyinfra.started[1]
    assert words[-2:] == ["i.py", str(Path("deploy.py").resolve())]
    assert words[words.index("--data") + 1] == f"approved_plan={file}"
    assert [word for word in words if word.startswith("--limit")] == ["--limit=b"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no plan of this version: Invalid JSON"),
        ("{}", "is no plan of this version: format: Field required"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    (tmp_path / "plan.json").write_text(text)
    assert main.main(["apply", str(tmp_path / "plan.json")]) == 1
    assert sentence in capsys.readouterr().err


def test_a_plan_of_a_host_that_is_gone_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.json"
    document.save(file, {"c": plan(converged(), name="c")}, "i.py")
    assert main.main(["apply", str(file)]) == 1
    assert "c: in the plan, but no longer in i.py; plan again" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plan", "status", "rollback"])
def test_a_plan_is_for_apply_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = tmp_path / "plan.json"
    document.save(file, {"a": plan(converged(), name="a")}, "i.py")
    assert main.main([name, str(file)]) == 1
    assert "is a plan for apply: name its inventory i.py" in capsys.readouterr().err


def test_a_plan_replaces_nothing_but_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pyinfra: type[NoPyinfra]
) -> None:
    (tmp_path / "i.py").touch()
    assert main.main(["plan", "i.py", "--out", str(tmp_path / "i.py")]) == 1
    assert "is there and is no plan" in capsys.readouterr().err
    assert main.main(["plan", "i.py", "--out", str(tmp_path / "none" / "plan")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert pyinfra.started == []


def test_a_host_without_a_plan_is_not_planned(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    none = {"kind": "plan", "host": "b", "plan": {"steps": []}}
    pyinfra.tells = [*plan_of("a"), none, {"kind": "end", "host": "b", "outcome": "planned"}]
    assert main.main(["plan", "i.py"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "b failed it said nothing (pyinfra ended with status 0, see" in said
    (log,) = tmp_path.glob("misp-workers-*.log")
    assert f"Log: {log}" in said


def test_expect_goes_before_the_inventorys_own(pyinfra: type[NoPyinfra]) -> None:
    pyinfra.tells = [
        {"kind": "status", "host": one.host, "status": asdict(one)}
        for one in (Status("a", state="old"), Status("b", state="migrated"))
    ]
    assert main.main(["status", "i.py"]) == 0
    main.main(["status", "i.py", "--expect", "migrated", "--", "--data", "expect=old"])
    assert "--data" not in pyinfra.started[0]
    words = pyinfra.started[1]
    assert words[words.index("--") - 2 : words.index("--")] == ["--data", "expect=migrated"]


class Interrupted(NoPyinfra):
    """Ctrl-C comes once the first host has told its status."""

    stop: ClassVar[Any] = None
    is_interrupted = True

    def interrupt(self, number: int) -> None:
        pass

    def events(self) -> Iterator[dict[str, Any] | None]:
        yield from self.tells
        type(self).stop(signal.SIGINT, None)
        yield None


def test_a_host_whose_look_was_interrupted_says_so(
    pyinfra: type[NoPyinfra], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pyinfra.tells = [{"kind": "status", "host": "a", "status": asdict(Status("a", state="old"))}]
    monkeypatch.setattr(main, "Child", Interrupted)
    monkeypatch.setattr(signal, "signal", lambda _, handler: setattr(Interrupted, "stop", handler))
    assert main.main(["status", "i.py", "--json"]) == 97
    a, b = json.loads(capsys.readouterr().out)["hosts"]
    assert a["faults"] == []
    assert [fault["kind"] for fault in b["faults"]] == ["interrupted"]


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_nohup_keeps_a_run_alive(
    pyinfra: type[NoPyinfra], monkeypatch: pytest.MonkeyPatch, handler: signal.Handlers
) -> None:
    taken: set[int] = set()
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)
    monkeypatch.setattr(signal, "signal", lambda number, _: taken.add(number))
    main.main(["apply", "i.py"])
    assert signal.SIGTERM in taken
    assert (signal.SIGHUP in taken) == (handler != signal.SIG_IGN)


def test_a_health_check_is_left_by_a_run_of_its_own(pyinfra: type[NoPyinfra]) -> None:
    main.main(["status", "i.py", "--install-healthcheck"])
    (words,) = pyinfra.started
    assert any(word.endswith("/healthcheck.py") for word in words)
    assert "-y" in words


@pytest.mark.usefixtures("pyinfra")
def test_a_signal_at_the_very_end_does_not_change_the_exit_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", now.__setitem__)
    main.main(["apply", "i.py"])
    assert now == dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)


def test_help_and_mistakes_start_nothing(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["aply", "i"]) == 1
    assert capsys.readouterr().err.startswith("Nothing began: there is no command 'aply'")
    with pytest.raises(SystemExit):
        main.main(["--help"])
    assert pyinfra.started == []


def test_a_plan_that_cannot_be_kept_is_shown_all_the_same(
    pyinfra: type[NoPyinfra],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    pyinfra.tells = plan_of("a", "b")
    monkeypatch.setattr(document, "save", full)
    assert main.main(["plan", "i.py", "--out", str(tmp_path / "plan.json")]) == 1
    said = capsys.readouterr()
    assert "The plan is not kept: No space left" in said.err
    assert said.out.startswith("a, b\n  nothing to do\n")


def full(*_: Any) -> None:
    raise OSError("No space left on device")


def an_end(host: str, outcome: str, **more: Any) -> dict[str, Any]:
    return {"kind": "end", "host": host, "outcome": outcome, **more}


def test_a_record_that_cannot_be_written_stops_no_run(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pyinfra.tells = [an_end("a", "done", changed=["x"]), an_end("b", "done")]
    monkeypatch.setattr(record, "write_text", full)
    assert main.main(["apply", "i.py"]) == 0
    said = capsys.readouterr()
    assert said.err.count("No space left") == 1
    assert "a: its record cannot be written: No space left" in said.err
    assert "a     done     1 operation changed" in said.out
    assert len(pyinfra.started) == 1


def test_without_records_a_host_is_what_its_events_say(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = {"kind": "step", "host": "b", "step": "Drain: jobs"}
    pyinfra.tells = [an_end("a", "drain_limit", cause="2 jobs"), step]
    monkeypatch.setattr(record, "write_text", full)
    assert main.main(["apply", "i.py"]) == 97
    said = " ".join(capsys.readouterr().out.split())
    assert "a drain_limit 2 jobs b interrupted Drain: it said nothing (pyinfra ended" in said


def test_what_a_host_told_last_counts_more_than_an_older_record(
    pyinfra: type[NoPyinfra], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stays_behind(directory: Path, report: record.Report) -> None:
        if report.ended or report.outcome == "not_begun":
            write(directory, report)

    write = record.write
    pyinfra.tells = [
        {"kind": "step", "host": "a", "step": "Retire: x"},
        an_end("a", "done", changed=["Retire: x"]),
        an_end("b", "interrupted", cause=record.CUT_OFF),
    ]
    monkeypatch.setattr(record, "write", stays_behind)
    assert main.main(["apply", "i.py"]) == 97
    (directory,) = (tmp_path / "runs").iterdir()
    a, b = record.read(directory)
    assert (a.outcome, a.cause, a.changed, a.step) == ("done", "", ["Retire: x"], "Retire: x")
    assert b.outcome == "interrupted"
    assert b.cause.startswith("it said nothing (pyinfra ended")
    assert a.started and a.ended and b.ended


def test_a_pyinfra_that_dies_itself_says_by_what(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dies(NoPyinfra):
        ending = "pyinfra ended with status 1"
        has_failed = True

        def __init__(self, words: list[str], _: Any, log: Path, **__: Any) -> None:
            log.write_text("[a] Connected\nTraceback (most recent call last):\nKeyError: 'uid'\n")

    monkeypatch.setattr(main, "Child", Dies)
    assert main.main(["apply", "i.py"]) == 1
    assert "a     failed   KeyError: 'uid' (pyinfra ended" in capsys.readouterr().out


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), RuntimeError("no home")])
def test_without_a_place_for_records_nothing_begins(
    pyinfra: type[NoPyinfra],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def no_place() -> Path:
        raise error

    monkeypatch.delenv(record.VARIABLE)
    monkeypatch.setattr(places, "runs", no_place)
    assert main.main(["apply", "i.py"]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"Nothing began: no folder for the records can be made ({error}): "
        "have MISP_WORKERS_REPORTS name a place for it\n"
    )
    assert pyinfra.started == []


def test_a_plan_of_no_host_leaves_the_older_file(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    pyinfra.tells = [{"kind": "refused", "host": host, "problems": ["no"]} for host in "ab"]
    assert main.main(["plan", "i.py", "--out", str(file)]) == 2
    assert "\nNo plan is kept: no host has one.\n" in capsys.readouterr().out
    file.write_text("{}")
    os.utime(file, (0, 0))
    assert main.main(["plan", "i.py", "--out", str(file)]) == 2
    said = capsys.readouterr().out
    assert f"No plan is kept: no host has one. {file} stays as it was on 19" in said
    assert file.read_text() == "{}"
