"""The record that a run of pyinfra's own leaves of each host."""

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

from tasks import project
from tasks.drain import CONVERSIONS
from tasks.host import moves, rollback
from tasks.host.done import Done
from tasks.remote import PROJECT, RUN_OWNER
from tasks.report import record
from tests import hosts
from tests.fake.answers import (
    EXAMINE_FOR_ROLLBACK,
    JOBS,
    OLD_ALIVE,
    Answers,
    converged,
    draining,
    failing,
    first,
    migrating,
)
from tests.fake.conftest import ROOT, Run

Pyinfra = Callable[..., Run]
AUTOMATIC = "misp-workers-migration rollback.automatic"
RETURNED = {AUTOMATIC: hosts.answer(Done([rollback.RETURNED]))}


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
    assert len(one.changed) == 7  # all but SELinux's, the drain, which waits, and the tasks'
    assert "@fake/one: done, 7 operations changed" in run.output
    (directory,) = (tmp_path / "runs").iterdir()
    names = {"fake-one-3fc01f3e.json", "junit.xml", "output.log", "report.html"}
    assert {file.name for file in directory.iterdir()} == names
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
    assert one.output == str(directory / "output.log")
    assert 'tests="11" failures="0" errors="0"' in (directory / "junit.xml").read_text()
    assert "21 workers" in (directory / "report.html").read_text()


def test_every_field_of_a_host_that_is_done(pyinfra: Pyinfra, reports: Reports) -> None:
    data = {"drain_timeout": 900, "supervisor_password": {"env": "ONE"}}
    old = {"waiting": {"default": 0}, "processed": 7}
    answers = draining(migrating("debian"), {"old_backend": old})
    answers = first({"look.take OldBackend OldWorkers": DRAINED}, answers)
    pyinfra({"one": {"fake_responses": answers, **data}}, "-y", ONE="Aa1" * 12)
    one = reports()["one"]
    assert one.outcome == record.DONE, one.cause
    assert one.operator == RUN_OWNER
    assert one.project == project.version_and_commit()
    assert one.project["version"]
    assert one.data["supervisor_password"] == {"env": "ONE"}
    assert one.data["drain_timeout"] == 900
    assert "misp_redis_host" not in one.data  # MISP's own counts
    known = {"misp": "2.5.1", "php": "8.2.20", "redis": "7.0.15"}
    assert one.versions["before"] == known
    assert one.versions["after"] == {**known, "supervisor": "4.2.5", **hosts.LIBRARIES}
    assert len(one.workers) == 21
    first_worker = one.workers[0]
    assert (first_worker.name, first_worker.queue) == ("misp-workers:cache_00", "cache")
    assert first_worker.pid == 100
    assert 590 < record.seconds_between(first_worker.started, one.ended) < 660
    assert one.proof is not None
    assert [(job.queue, job.id, job.started, job.seconds) for job in one.proof.jobs] == [
        (job.queue, job.id, "2027-01-15T08:00:00.000Z", 0.25) for job in JOBS
    ]
    assert one.proof.view["default"] == {"workers": 5, "good": 5}
    assert (one.proof.supervisord_status, one.proof.over_rest) == (True, False)
    assert one.cut_over is not None
    assert one.started < one.cut_over.enabled < one.cut_over.web_tier < one.proof.at < one.ended
    assert one.drain
    assert {sample[1:] for sample in one.drain} == {(0, 0, 0)}
    assert one.scheduled_tasks == ["17 * * * * www-data a task"]
    assert (one.may_have_changed, one.schema) == ([], 1)


def test_the_steps_of_a_host_that_is_done(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, migrating("debian"))
    one = reports()["one"]
    found = {step.step.partition(":")[0]: step for step in one.steps}
    assert list(found) == [
        *("Preflight", "Packages", "PHP libraries", "supervisord", "SELinux", "MISP", "Workers"),
        *("Proof", "Drain", "Retire", "Scheduled tasks"),
    ]
    times = [time for step in one.steps for time in (step.started, step.ended)]
    assert times == sorted(times)
    for step in one.steps:
        assert step.seconds == record.seconds_between(step.started, step.ended)
        assert bool(step.calls) is (step.outcome == "changed")
    assert [step.step for step in one.steps if step.outcome == "changed"] == one.changed
    assert found["MISP"].calls[0].startswith("settings.apply: Set MISP's settings")
    assert found["Proof"].says == [f"{job.queue}: completed" for job in JOBS]


def test_a_drain_is_kept_look_by_look(pyinfra: Pyinfra, reports: Reports) -> None:
    found = {"waiting": {"prio": 3}, "running": 1, "delayed": 2, "last_due": 1, "processed": 7}
    later = {"waiting": {"prio": 1}, "running": 1, "processed": 10}
    answers = draining(migrating("debian"), {"old_backend": found})
    answers = first({"look.take OldBackend OldWorkers": looks(later)}, answers)
    report_of(pyinfra, reports, answers, drain_timeout=2)
    one = reports()["one"]
    looks_at = [sample[1:] for sample in one.drain]
    assert looks_at == [(0, 0, 0), (3, 1, 2), (3, 1, 2), (1, 1, 0), (1, 1, 0)]
    assert one.jobs.drained == 10
    steps = {step.step.partition(":")[0]: step for step in one.steps}
    where = ["Preflight", "Proof", "Drain", "Drain", "Drain"]
    for name, sample in zip(where, one.drain, strict=True):
        assert steps[name].started <= sample.at <= steps[name].ended


def looks(old_backend: dict[str, Any]) -> list[str]:
    """What the drain finds from its second look on."""
    changes = {"old_backend": old_backend, "old_workers": OLD_ALIVE}
    return hosts.look(hosts.changed(hosts.converged(), changes))


DRAINED = looks({"waiting": {"default": 0}, "processed": 7})


def test_a_converged_host_is_done_without_a_change(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, converged("rhel"))
    one = reports()["one"]
    assert (one.outcome, one.changed, len(one.workers)) == (record.DONE, [], 21)
    assert one.versions["after"] == one.versions["before"]
    assert one.versions["before"]["supervisor"] == "4.2.5"
    assert one.proof is not None
    assert (one.proof.jobs, one.proof.supervisord_status) == ([], True)
    assert one.cut_over is None


def test_a_refused_host(pyinfra: Pyinfra, reports: Reports) -> None:
    run = report_of(
        pyinfra, reports, migrating("debian", tree={"composer": ""}, system={"init": "bash"})
    )
    one = reports()["one"]
    assert (one.outcome, one.step, one.changed) == (record.REFUSED, "", [])
    assert "PID 1 is bash" in one.cause
    assert "Composer is neither" in one.cause
    assert "@fake/one: refused, no operations changed: PID 1" in run.output
    (step,) = one.steps
    assert (step.step, step.outcome) == ("Preflight", record.FAILED)
    assert [said.partition(" ")[0] for said in step.says] == ["packages", "PHP", "PID", "Composer"]
    assert one.data["drain_timeout"] == 1800
    assert one.versions == {"before": {"misp": "2.5.1", "php": "8.2.20", "redis": "7.0.15"}}
    assert (one.may_have_changed, one.workers, one.proof, one.cut_over) == ([], [], None, None)
    assert one.started <= one.ended


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
    assert len(one.workers) == 21
    assert one.cut_over is not None
    assert one.drain
    assert (one.may_have_changed, one.steps[-1].outcome) == ([], record.FAILED)


def test_a_proof_that_fails_and_the_host_returned(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, {**RETURNED, **failing(migrating("rhel"), "proof.prove")})
    one = reports()["one"]
    assert one.outcome == record.NOT_PROVEN_RETURNED
    assert one.step.startswith("Proof")
    cause = "it broke. Once that is corrected, run again; the host is as it was before"
    assert one.cause.startswith(cause)
    assert (one.workers, one.proof, one.may_have_changed) == ([], None, [])
    assert one.jobs.moved == 1
    assert one.versions == {"before": {"misp": "2.5.1", "php": "8.2.20", "redis": "7.0.15"}}
    calls = [call.partition(":")[0] for call in one.steps[-1].calls]
    assert calls == ["proof.prove", "rollback.automatic"]


def test_a_proof_that_fails_where_there_is_no_way_back(pyinfra: Pyinfra, reports: Reports) -> None:
    nothing = {AUTOMATIC: hosts.answer(Done(["no old worker lives to go back to"]))}
    report_of(pyinfra, reports, first(nothing, failing(migrating("rhel"), "proof.prove")))
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
    (call,) = one.may_have_changed
    assert call.startswith("packages.install: Have the packages")
    assert one.steps[-1].says == ["it broke. Once that is corrected, run again"]
    assert one.cut_over is None


def test_a_drain_that_converted_jobs_does_not_say_that_nothing_changed(
    pyinfra: Pyinfra, reports: Reports
) -> None:
    left = {"waiting": {"prio": 3}}
    answers = draining(migrating("debian"), {"old_backend": left, "old_workers": NO_WORKERS})
    lines = ["2 job(s) of the old backend became jobs of the new one", f"{moves.LEFT}x: junk"]
    answers = first({f"{PROJECT} moves.convert": hosts.answer(Done(lines, converted=2))}, answers)
    run = report_of(pyinfra, reports, answers, on_leftover_jobs="convert")
    one = reports()["one"]
    assert one.step.startswith("Drain")
    assert one.may_have_changed[0].startswith("moves.convert: Make jobs of the new backend")
    assert len(one.may_have_changed) == 1
    assert one.jobs.converted == 2 * (CONVERSIONS + 1)  # as each of them said
    assert "and this one may have changed the host before it failed" in run.output


def test_a_host_that_is_done_has_nothing_unfinished(pyinfra: Pyinfra, reports: Reports) -> None:
    report_of(pyinfra, reports, migrating("debian"))
    assert not reports()["one"].may_have_changed


NO_WORKERS: dict[str, Any] = {"processes": []}


def test_each_host_of_a_run_has_its_own(pyinfra: Pyinfra, tmp_path: Path) -> None:
    found = {
        "first": {"fake_responses": migrating("debian")},
        "middle": {"fake_responses": {**RETURNED, **failing(migrating("rhel"), "proof.prove")}},
        "last": {"fake_responses": migrating("rhel", tree={"composer": ""})},
    }
    for flags in ((), ("--serial",)):
        base = tmp_path / f"runs{len(flags)}"
        pyinfra(found, "-y", *flags, MISP_WORKERS_REPORTS=str(base))
        (directory,) = base.iterdir()
        found_reports = record.read(directory)
        assert {one.host: one.outcome for one in found_reports} == {
            "@fake/first": "done",
            "@fake/last": "refused",
            "@fake/middle": "not_proven_returned",
        }
        assert max(one.code for one in found_reports) == 4


@pytest.mark.parametrize("flags", [("--dry",), ("--json",), ("--debug-operations",)])
@pytest.mark.parametrize("changes", [{}, {"tree": {"composer": ""}}])
def test_a_run_that_only_looks_writes_nothing(
    pyinfra: Pyinfra, tmp_path: Path, flags: tuple[str, ...], changes: dict[str, dict[str, object]]
) -> None:
    pyinfra({"one": {"fake_responses": migrating("debian", **changes)}}, *flags)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_nobody_confirms_leaves_nothing(pyinfra: Pyinfra, tmp_path: Path) -> None:
    run = pyinfra({"one": {"fake_responses": migrating("debian")}})
    assert run.exit_code == 1, run.output  # nobody is there to be asked
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
    answers = first({f"{PROJECT} proof.prove": refused}, migrating("rhel"))
    data = {"fake_responses": answers, "supervisor_password": {"env": "ONE"}}
    pyinfra({"one": data}, "-y", ONE=secret)
    files = list((tmp_path / "runs").glob("*/*"))
    assert len(files) == 4
    for file in files:
        assert secret not in file.read_text()
        assert "refused ***" in file.read_text()


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
    assert "it was killed, or it is still at work" in one.reason
    assert not one.steps[-1].ended
    output = directory / "output.log"
    assert "Starting operation: supervisord: running" in output.read_text()
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
    assert one.jobs.moved == 3


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
