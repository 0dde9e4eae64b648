"""status.py and the reports of deploy.py on a host: before, after, and with something broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tasks.report import record
from tests.e2e import observe

SPECS = (HostSpec("seen", "debian-12", waiting_jobs=0),)
CONFIG = "/var/www/MISP/app/Config/config.php"
TMP = "/var/www/MISP/app/tmp"
PROOF = f"{observe.MIGRATION_STATE}/proven"


def status(lab: Lab, *flags: str) -> run.Run:
    return run.pyinfra(lab, "status.py", "--dry", "--limit", "seen", *flags)


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
    assert "state: old" in seen.stderr
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
    assert "state: migrated" in seen.stderr
    assert "new backend on" in seen.stderr
    assert "workers: 21 RUNNING, 21 wanted" in seen.stderr
    assert "healthy" in seen.stderr
    assert before.differences(observe.snapshot(lab["seen"])) == []
    assert observe.supervisor_password(lab["seen"]) not in seen.stdout + seen.stderr


def test_a_rollback_would_be_seen_by_who_expects_another_state(lab: Lab) -> None:
    assert status(lab, "--data", "expect=migrated").exit_code == 0
    seen = status(lab, "--data", "expect=old")
    assert seen.exit_code == 1
    assert "the host is migrated, but expect says old: run rollback.py" in seen.stderr


@dataclass(frozen=True)
class Cause:
    """A cause as shell commands that make and mend it, and the one sentence about it."""

    name: str
    breaks: str
    mends: str
    says: str


CAUSES = (
    Cause(
        "all-stopped",
        "supervisorctl stop 'misp-workers:*'",
        "supervisorctl start 'misp-workers:*'",
        "21 workers (5 cache, 5 default, 5 email, 5 prio, 1 update) are STOPPED: run "
        "`supervisorctl start 'misp-workers:*'`",
    ),
    Cause(
        "one-stopped",
        "supervisorctl stop misp-workers:prio_02",
        "supervisorctl start misp-workers:prio_02",
        "misp-workers:prio_02 is STOPPED",
    ),
    Cause(
        "supervisord-stopped",
        "systemctl stop supervisor",
        "systemctl start supervisor",
        "supervisord is inactive: run `systemctl start supervisor`",
    ),
    Cause(
        "supervisord-stopped-for-good",
        "systemctl disable --now supervisor",
        "systemctl enable --now supervisor",
        "is inactive and does not start at boot (disabled): run `systemctl enable --now supervisor",
    ),
    Cause(
        "redis-stopped",
        "systemctl stop redis-server",
        "systemctl start redis-server",
        "namespace background_jobs, cannot be used: ",
    ),
    Cause(
        "disk-full",
        f"mount -t tmpfs -o size=4m,mode=755 tmpfs {TMP} && install -d -o www-data {TMP}/logs && "
        f"chown www-data {TMP} && ! dd if=/dev/zero of={TMP}/full bs=64k status=none",
        f"umount {TMP}",
        f"{TMP} has 0 MiB free, but 97 are needed: make room",
    ),
    Cause(
        "config-broken",
        f"cp -p {CONFIG} {CONFIG}.kept && echo '<?php $config = array(;' >{CONFIG}",
        f"mv {CONFIG}.kept {CONFIG}",
        f"{CONFIG} has a syntax error in line 1",
    ),
    Cause(
        "config-of-root",
        f"chown root:root {CONFIG}",
        f"chown www-data:www-data {CONFIG}",
        "config.php",
    ),
    Cause(
        "switched-off",
        f"cp -p {CONFIG} {CONFIG}.kept && sed -i \"/'SimpleBackgroundJobs'/,/)/ s/'enabled' => "
        f"true/'enabled' => false/\" {CONFIG}",
        f"mv {CONFIG}.kept {CONFIG}; supervisorctl stop 'misp-workers:*'; "
        "supervisorctl start 'misp-workers:*'",
        "workers of the new backend run, but MISP does not use it, and no old worker runs",
    ),
    Cause(
        "another-password",
        f"cp -p {CONFIG} {CONFIG}.kept && sed -i \"s/'supervisor_password' => '[^']*'/"
        f"'supervisor_password' => 'wrong'/\" {CONFIG}",
        f"mv {CONFIG}.kept {CONFIG}",
        "leaves them (SimpleBackgroundJobs.supervisor_password): run the deploy again",
    ),
    Cause(
        "old-workers-back",
        "systemctl start misp-workers.service",
        "systemctl stop misp-workers.service",
        "misp-workers.service can start them again: run the deploy again",
    ),
    Cause(
        "cut-off",
        f"mv {PROOF} {PROOF}.away",
        f"mv {PROOF}.away {PROOF}",
        "was interrupted or failed",
    ),
)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_a_cause_is_one_fault_and_its_end_is_enough(lab: Lab, cause: Cause) -> None:
    """What follows from it, as in MISP's own view, is no fault of its own."""
    with broken(lab["seen"], cause.breaks, cause.mends):
        seen = status(lab)
    assert seen.exit_code == 1
    assert cause.says in seen.stderr, seen.stderr
    assert "1 fault:" in seen.stderr, seen.stderr
    wait_for(is_healthy(lab), 120, "a healthy host")


def test_a_web_tier_that_is_down_is_one_fault(lab: Lab) -> None:
    host = lab["seen"]
    asked = (
        *("--data", f"misp_url={host.https_url}"),
        *("--data", f"misp_ca_bundle={host.ca_bundle}"),
        *("--data", f'misp_api_key={{"file": "{host.api_key_file}"}}'),
    )
    assert status(lab, *asked).exit_code == 0
    with broken(host, "systemctl stop apache2", "systemctl start apache2"):
        seen = status(lab, *asked)
    assert "MISP's web tier shows no workers: " in seen.stderr, seen.stderr
    assert "1 fault:" in seen.stderr, seen.stderr


def test_a_supervisord_that_was_killed_is_one_fault_and_so_are_the_workers_it_left(
    lab: Lab,
) -> None:
    host = lab["seen"]
    first = observe.daemon(host)
    host.exec(["kill", "-9", str(first)])
    seen = status(lab)
    assert "supervisord is activating: run `systemctl start supervisor`" in seen.stderr
    assert "1 fault:" in seen.stderr, seen.stderr
    host.exec("systemctl start supervisor")
    wait_for(lambda: verify.check_worker_set(host).ok, 60, "the new workers")
    seen = status(lab)
    assert "worker(s) of a supervisord that was killed run on beside the group" in seen.stderr
    assert "1 fault:" in seen.stderr, seen.stderr
    run.apply(lab).check()
    assert status(lab).exit_code == 0
