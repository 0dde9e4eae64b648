"""The report that a run leaves of each host, and the command that reads it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.host import moves, rollback
from tasks.remote import PROJECT
from tasks.report import record
from tests import hosts
from tests.fake.answers import (
    EXAMINE_FOR_ROLLBACK,
    Answers,
    converged,
    draining,
    failing,
    migrating,
)
from tests.fake.conftest import ROOT, Run

Pyinfra = Callable[..., Run]
AUTOMATIC = "misp-workers-migration rollback.automatic"
RETURNED = {AUTOMATIC: hosts.answer([rollback.RETURNED])}


@pytest.fixture
def reports(tmp_path: Path) -> Callable[[], dict[str, record.Report]]:
    def read() -> dict[str, record.Report]:
        (directory,) = (tmp_path / "runs").iterdir()
        return {one.host.rpartition("/")[2]: one for one in record.read(directory)}

    return read


Reports = Callable[[], dict[str, record.Report]]


def report_of(pyinfra: Pyinfra, reports: Reports, answers: Answers, **data: object) -> Run:
    return pyinfra({"one": {"fake_responses": answers, **data}}, "-y", "-vv")


def test_a_host_that_is_done(pyinfra: Pyinfra, reports: Reports, tmp_path: Path) -> None:
    run = report_of(pyinfra, reports, migrating("debian"))
    assert run.exit_code == 0, run.output
    one = reports()["one"]
    assert (one.deploy, one.outcome, one.code, one.cause) == ("deploy", record.DONE, 0, "")
    assert len(one.changed) == 8  # all but SELinux's
    assert one.versions == {"misp": "2.5.1", "php": "8.2.20"}
    assert one.workers == 21
    assert one.started <= one.ended
    assert "@fake/one: done, 8 operations changed" in run.output
    (directory,) = (tmp_path / "runs").iterdir()
    (file,) = directory.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_converged_host_is_done_without_a_change(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, converged("rhel"))
    one = reports()["one"]
    assert (one.outcome, one.changed, one.workers) == (record.DONE, [], 21)


def test_a_refused_host(pyinfra: Pyinfra, reports: Reports) -> None:
    run = report_of(
        pyinfra, reports, migrating("debian", tree={"composer": ""}, system={"init": "bash"})
    )
    one = reports()["one"]
    assert (one.outcome, one.step, one.changed) == (record.REFUSED, "", [])
    assert "PID 1 is bash" in one.cause
    assert "Composer is neither" in one.cause
    assert "@fake/one: refused, no operations changed: PID 1" in run.output


@pytest.mark.parametrize(
    "legacy", [{"waiting": {"prio": 3}, "running": 1}, {"delayed": 2, "last_due": 90_000}]
)
def test_the_drain_limit(pyinfra: Pyinfra, reports: Reports, legacy: dict[str, object]) -> None:
    answers = draining(migrating("debian"), {"old_backend": legacy})
    report_of(pyinfra, reports, answers, drain_timeout=1)
    one = reports()["one"]
    assert one.outcome == record.DRAIN_LIMIT
    assert one.step.startswith("Drain")
    assert "Both backends run" in one.cause
    assert one.workers == 21


def test_a_proof_that_fails_and_the_host_returned(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, {**RETURNED, **failing(migrating("rhel"), "proof.prove")})
    one = reports()["one"]
    assert one.outcome == record.NOT_PROVEN_RETURNED
    assert one.step.startswith("Proof")
    cause = "it broke. Once that is corrected, run again; the host is as it was before"
    assert one.cause.startswith(cause)
    assert one.workers is None


def test_a_proof_that_fails_where_there_is_no_way_back(pyinfra: Pyinfra, reports: Reports) -> None:
    nothing = {AUTOMATIC: hosts.answer(["no old worker lives to go back to"])}
    report_of(pyinfra, reports, {**nothing, **failing(migrating("rhel"), "proof.prove")})
    assert reports()["one"].outcome == record.FAILED


def test_a_return_that_fails(pyinfra: Pyinfra, reports: Reports) -> None:
    answers = failing(failing(migrating("rhel"), "proof.prove"), "rollback.automatic")
    report_of(pyinfra, reports, answers)
    one = reports()["one"]
    assert one.outcome == record.RETURN_FAILED
    assert "THE WAY BACK FAILED" in one.cause


def test_a_step_that_fails(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, failing(migrating("debian"), "packages.install"))
    one = reports()["one"]
    assert (one.outcome, one.step) == (record.FAILED, "Packages: supervisor")
    assert one.cause == "it broke. Once that is corrected, run again"


def test_a_drain_that_converted_jobs_does_not_say_that_nothing_changed(
    pyinfra: Pyinfra, reports: Reports
) -> None:
    left = {"waiting": {"prio": 3}}
    answers = draining(migrating("debian"), {"old_backend": left, "old_workers": NO_WORKERS})
    lines = ["2 job(s) of the old backend became jobs of the new one", f"{moves.LEFT}x: junk"]
    answers = {f"{PROJECT} moves.convert": hosts.answer(lines), **answers}
    run = report_of(pyinfra, reports, answers, on_leftover_jobs="convert")
    one = reports()["one"]
    assert one.step.startswith("Drain")
    assert one.is_unfinished
    assert "and this one may have changed the host before it failed" in run.output


def test_a_host_that_is_done_has_nothing_unfinished(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, migrating("debian"))
    assert not reports()["one"].is_unfinished


NO_WORKERS: dict[str, Any] = {"processes": []}


def test_each_host_of_a_run_has_its_own_and_the_command_reads_them(
    pyinfra: Pyinfra, reports: Reports, tmp_path: Path
) -> None:
    found = {
        "first": {"fake_responses": migrating("debian")},
        "middle": {"fake_responses": {**RETURNED, **failing(migrating("rhel"), "proof.prove")}},
        "last": {"fake_responses": migrating("rhel", tree={"composer": ""})},
    }
    for flags in ((), ("--serial",)):
        base = tmp_path / f"runs{len(flags)}"
        pyinfra(found, "-y", *flags, MISP_WORKERS_REPORTS=str(base))
        read = subprocess.run(
            [sys.executable, "-m", "tasks.report.record"],
            cwd=ROOT,
            env={**os.environ, "MISP_WORKERS_REPORTS": str(base)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert read.returncode == 4, read.stderr
        rows = [line.split(None, 2) for line in read.stdout.splitlines()[1:]]
        assert [row[:2] for row in rows] == [
            ["host", "outcome"],
            ["@fake/first", "done"],
            ["@fake/last", "refused"],
            ["@fake/middle", "not_proven_returned"],
        ]


@pytest.mark.parametrize("flags", [("--dry",), ("--json",), ("--debug-operations",)])
@pytest.mark.parametrize("changes", [{}, {"tree": {"composer": ""}}])
def test_a_run_that_only_looks_writes_nothing(
    pyinfra: Pyinfra, tmp_path: Path, flags: tuple[str, ...], changes: dict[str, dict[str, object]]
) -> None:
    pyinfra({"one": {"fake_responses": migrating("debian", **changes)}}, *flags)
    assert not (tmp_path / "runs").exists()


def test_a_report_that_cannot_be_written_stops_no_run(pyinfra: Pyinfra, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = {"one": {"fake_responses": migrating("debian")}}
    run = pyinfra(found, "-y", MISP_WORKERS_REPORTS=str(tmp_path / "file"))
    assert run.exit_code == 0, run.output
    assert "no more reports are written" in run.output


def test_no_secret_is_in_a_report(pyinfra: Pyinfra, tmp_path: Path) -> None:
    secret = "Aa1" * 12
    refused = hosts.refusal("HostError", f"refused {secret}")
    answers = {"misp-workers-migration proof.prove": refused, **migrating("rhel")}
    data = {"fake_responses": answers, "supervisor_password": {"env": "ONE"}}
    pyinfra({"one": data}, "-y", ONE=secret)
    (file,) = (tmp_path / "runs").glob("*/*.json")
    assert secret not in file.read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_killed_has_left_where_it_was(tmp_path: Path, number: signal.Signals) -> None:
    found = {"one": {"fake_responses": migrating("debian"), "fake_delay": 0.5}}
    written = tmp_path / "hosts.json"
    written.write_text(json.dumps(found))
    environment = {"MISP_FAKE_HOSTS": str(written), "MISP_WORKERS_REPORTS": str(tmp_path / "runs")}
    with subprocess.Popen(
        [sys.executable, "-m", "pyinfra", "tests/fake/inventory.py", "deploy.py", "-y"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        limit = time.monotonic() + 60
        while time.monotonic() < limit and not _in_step(tmp_path, "supervisord: running"):
            time.sleep(0.05)
        process.send_signal(number)
    (directory,) = (tmp_path / "runs").iterdir()
    (one,) = record.read(directory)
    assert (one.outcome, one.code, one.ended) == (record.INTERRUPTED, 97, "")
    assert one.step.startswith("supervisord: running")
    # After Ctrl-C pyinfra may still see the end of what was under way.
    assert one.changed[:2] == ["Packages: supervisor", "PHP libraries: Composer's five"]


def _in_step(tmp_path: Path, step: str) -> bool:
    return any(step in path.read_text() for path in (tmp_path / "runs").glob("*/*.json"))


def returning(**changes: dict[str, Any]) -> Answers:
    """A host for rollback.py, which finds the same at each look."""
    look = hosts.look(hosts.converged("debian", **changes))
    return {**migrating("debian"), EXAMINE_FOR_ROLLBACK: look, "look.take": look}


@pytest.mark.parametrize(
    ("failed", "outcome"), [("", record.DONE), ("rollback.put_back", record.RETURN_FAILED)]
)
def test_a_rollback_has_a_report_too(
    pyinfra: Pyinfra, reports: Reports, failed: str, outcome: str
) -> None:
    answers = failing(returning(), failed) if failed else returning()
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv", deploy="rollback.py")
    one = reports()["one"]
    assert (one.deploy, one.outcome) == ("rollback", outcome), run.output
    assert one.step.startswith("RPC")


@pytest.mark.parametrize("unserved", [[], ["email"]])
def test_old_workers_start_again_where_a_queue_has_none(
    pyinfra: Pyinfra, unserved: list[str]
) -> None:
    same = {"units_before": [], "units_now": [], "are_launchers_out": False}
    answers = returning(originals={**same, "unserved": unserved})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv", deploy="rollback.py")
    assert ("rollback.start_old_workers" in run.actions("one")) is bool(unserved), run.output


def test_a_rollback_without_a_way_back_is_refused(pyinfra: Pyinfra, reports: Reports) -> None:
    answers = returning(originals={"was_on": True, "units_before": []})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv", deploy="rollback.py")
    assert reports()["one"].outcome == record.REFUSED, run.output
    assert "there is nothing to go back to" in run.output
    assert run.actions("one") == []


def test_a_host_that_cannot_be_reached_is_reported_with_the_others(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.py"
    fake = {"fake_responses": migrating("debian"), "fake_delay": 0, "fake_delay_jitter": 0}
    inventory.write_text(f"hosts = [('127.0.0.1', {{'ssh_port': 1}}), ('@fake/one', {fake!r})]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", str(inventory), "deploy.py", "-y"],
        cwd=ROOT,
        env={**os.environ, "MISP_WORKERS_REPORTS": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert "127.0.0.1: failed, no operations changed: no connection to the host" in done.stderr
    (directory,) = (tmp_path / "runs").iterdir()
    assert {one.host: one.outcome for one in record.read(directory)} == {
        "127.0.0.1": record.FAILED,
        "@fake/one": record.DONE,
    }
