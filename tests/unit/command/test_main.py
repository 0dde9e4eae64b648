"""The commands around a pyinfra that is none."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

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


def test_expect_takes_another_state_for_a_fault(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str]
) -> None:
    pyinfra.tells = [
        {"kind": "status", "host": one.host, "status": asdict(one)}
        for one in (Status("a", state="old"), Status("b", state="migrated"))
    ]
    assert main.main(["status", "i.py"]) == 0
    assert main.main(["status", "i.py", "--expect", "migrated"]) == 1
    said = capsys.readouterr().out
    assert "but expect says migrated" in said
    assert "1. a:" in said and "2." not in said


def test_a_health_check_is_left_by_a_run_of_its_own(pyinfra: type[NoPyinfra]) -> None:
    main.main(["status", "i.py", "--install-healthcheck"])
    (words,) = pyinfra.started
    assert any(word.endswith("/healthcheck.py") for word in words)
    assert "-y" in words


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


def test_a_record_that_cannot_be_written_stops_no_run(
    pyinfra: type[NoPyinfra], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(record, "write", full)
    assert main.main(["apply", "i.py"]) == 1
    said = capsys.readouterr()
    assert "a: its record cannot be written: No space left" in said.err
    assert "its record is gone" in said.out
    assert len(pyinfra.started) == 1
