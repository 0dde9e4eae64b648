"""status.py and the reports of deploy.py on a host: before, after, and with something broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tasks.report import record
from tests.e2e import observe

SPECS = (HostSpec("seen", "debian-12", waiting_jobs=0),)


def status(lab: Lab) -> run.Run:
    return run.pyinfra(lab, "status.py", "--dry", "--limit", "seen")


def reports(lab: Lab) -> list[record.Report]:
    directories = sorted(Path(lab.environment[record.VARIABLE]).iterdir())
    return [report for path in directories for report in record.read(path)]


@contextmanager
def broken(host: LabHost, breaking: str, mending: str) -> Iterator[None]:
    host.exec(breaking)
    try:
        yield
    finally:
        host.exec(mending)


def is_healthy(lab: Lab) -> Callable[[], bool]:
    return lambda: status(lab).exit_code == 0


def test_a_host_that_is_not_migrated_is_healthy_on_its_old_workers(lab: Lab) -> None:
    before = observe.snapshot(lab["seen"])
    seen = status(lab)
    assert seen.exit_code == 0, seen.stderr
    assert "new backend off" in seen.stderr
    assert "worker processes, nothing waiting" in seen.stderr
    assert before.differences(observe.snapshot(lab["seen"])) == []


def test_without_its_old_workers_it_is_not(lab: Lab) -> None:
    unit = "misp-workers.service"
    with broken(lab["seen"], f"systemctl stop {unit}", f"systemctl start {unit}"):
        seen = status(lab)
    assert seen.exit_code == 1
    assert "no old worker runs, so no job is done" in seen.stderr


def test_a_dry_run_leaves_no_report_and_a_run_one_for_the_host(lab: Lab) -> None:
    assert run.plan(lab).ok
    assert not Path(lab.environment[record.VARIABLE]).exists()
    done = run.apply(lab)
    assert done.ok, done.stderr
    (report,) = reports(lab)
    assert (report.host, report.outcome, len(report.workers)) == ("seen", record.DONE, 21)
    changed = {operation.name for operation in done.changed}
    assert changed - {*report.changed} <= {"Drain: the old workers finish their jobs"}  # it waits
    assert {*report.changed} <= changed
    assert set(report.versions["before"]) >= {"misp", "php", "redis"}
    assert "seen: done, " in done.stderr


def test_a_migrated_host_is_healthy_and_only_looked_at(lab: Lab) -> None:
    before = observe.snapshot(lab["seen"])
    seen = status(lab)
    assert seen.exit_code == 0, seen.stderr
    assert "new backend on" in seen.stderr
    assert "workers: 21 RUNNING, 21 wanted" in seen.stderr
    assert "healthy" in seen.stderr
    assert before.differences(observe.snapshot(lab["seen"])) == []
    assert observe.supervisor_password(lab["seen"]) not in seen.stdout + seen.stderr


def test_a_stopped_worker_is_named(lab: Lab) -> None:
    name = "misp-workers:prio_02"
    with broken(lab["seen"], f"supervisorctl stop {name}", f"supervisorctl start {name}"):
        seen = status(lab)
    assert seen.exit_code == 1
    assert f"{name} is STOPPED" in seen.stderr
    # That MISP does not see it as good either is no fault of its own.
    assert "1 fault:" in seen.stderr, seen.stderr
    assert status(lab).exit_code == 0


def test_redis_that_is_gone_is_named_and_its_return_is_enough(lab: Lab) -> None:
    with broken(lab["seen"], "systemctl stop redis-server", "systemctl start redis-server"):
        seen = status(lab)
    assert seen.exit_code == 1
    assert "namespace background_jobs, cannot be used: " in seen.stderr, seen.stderr
    assert "1 fault:" in seen.stderr, seen.stderr
    wait_for(is_healthy(lab), 120, "a healthy host")


def test_old_workers_that_came_back_are_named(lab: Lab) -> None:
    unit = "misp-workers.service"
    with broken(lab["seen"], f"systemctl start {unit}", f"systemctl stop {unit}"):
        seen = status(lab)
    assert seen.exit_code == 1
    assert f"{unit} can start them again: run deploy.py again" in seen.stderr


def test_a_migration_that_was_cut_is_named(lab: Lab) -> None:
    proof = f"{observe.MIGRATION_STATE}/proven"
    with broken(lab["seen"], f"mv {proof} {proof}.away", f"mv {proof}.away {proof}"):
        seen = status(lab)
    assert seen.exit_code == 1
    assert "was interrupted or failed" in seen.stderr
    assert "no proof" in seen.stderr
    assert status(lab).exit_code == 0
