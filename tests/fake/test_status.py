"""status.py on hosts that are well and on hosts that are not; it sends nothing that changes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import status
from tests.fake.answers import (
    BLOCK,
    QUIET,
    RUNNING,
    WANTED,
    Answers,
    examined,
    get_workers,
    identity,
    lines,
    settings,
)
from tests.fake.conftest import Run

Pyinfra = Callable[..., Run]
SUBJECTS = (*status.SUBJECTS, *status.OF_A_RUN)
REDIS = {"ok": True, "waiting": 3, "queues": {"prio": 3, "email": 0}}
MIGRATED: dict[str, Any] = {
    "unit": "misp-workers.service inactive disabled",
    "process": [],
    "settings": settings(BLOCK),
    "status": RUNNING,
    "unit_state": "active enabled",
    "get_workers": get_workers(),
    "proven": "e",
    "evidence": "e",
    "state_dir": "yes",
    "waiting": REDIS,
    "busy_worker": "misp-workers:prio_00",
}


def host(**changes: Any) -> Answers:
    """A host's one answer; all of it may stand under one subject."""
    values = examined("debian", **changes)
    first = [f"@{SUBJECTS[0]}", *lines(**values), *(f"@{name}" for name in SUBJECTS[1:])]
    return {"id -u": identity("debian"), f"-- {'+'.join(SUBJECTS)}": first}


def seen(pyinfra: Pyinfra, answers: Answers, *flags: str, **data: Any) -> Run:
    run = pyinfra(
        {"one": {"fake_responses": answers, **data}}, *(flags or ("--dry",)), deploy="status.py"
    )
    assert run.actions("one") == []
    return run


def test_a_migrated_host_is_healthy_and_described(pyinfra: Pyinfra) -> None:
    run = seen(pyinfra, host(**MIGRATED), "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert "MISP 2.5.1, new backend on" in run.output
    assert "workers: 21 RUNNING, 21 wanted" in run.output
    assert "new queues: 3 waiting in prio, 1 running" in run.output
    assert "old backend: 0 worker processes, nothing waiting" in run.output
    assert "healthy" in run.output
    assert len(run.commands["one"]) == 2


def test_a_host_before_its_migration_is_healthy(pyinfra: Pyinfra) -> None:
    run = seen(pyinfra, host(waiting=REDIS))
    assert run.exit_code == 0, run.output
    assert "new backend off" in run.output


def test_it_leaves_no_report(pyinfra: Pyinfra, tmp_path: Path) -> None:
    seen(pyinfra, host(**MIGRATED), "-y")
    assert not (tmp_path / "runs").exists()


FATAL = ["misp-workers:prio_00 FATAL Exited too quickly (process log may have details)"]
NOW = [line for line in RUNNING if "prio_00" not in line]
OLD = "misp-workers.service"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"status": NOW}, "misp-workers:prio_00 is missing: run deploy.py again"),
        ({"status": NOW + FATAL}, "prio_00 is FATAL (Exited too quickly (process log may have det"),
        ({"status": NOW + FATAL}, "then supervisorctl start misp-workers:prio_00"),
        (
            {"status": [*RUNNING, "misp-workers:prio_07 RUNNING pid 9, uptime 0:00:09"]},
            "prio_07 is",
        ),
        ({"status": [], "unit_state": "inactive enabled"}, "supervisord is inactive: systemctl st"),
        ({"unit_state": "active disabled"}, "supervisord does not start at boot (disabled)"),
        ({"get_workers": get_workers(supervisord_status=False)}, "MISP cannot reach supervisord"),
        ({"redis": {"aside": 3}}, "3 job(s) were set aside by a step that was cut off"),
        (
            {"settings": settings(BLOCK, wanted={**WANTED, "redis_database": 5})},
            "are at redis_database 1, but the inventory says misp_redis_database 5",
        ),
        ({"redis": {"error": "no connection"}}, "where the queues are, cannot be used: no connect"),
        ({"process": ["7 1 default"]}, "1 old worker process(es) live: run deploy.py again"),
        ({"unit": f"{OLD} inactive enabled"}, f"old workers are stopped and {OLD} can start them"),
        ({"launcher": "/etc/rc.local"}, "/etc/rc.local can start them again"),
        ({"legacy": {**QUIET, "waiting": {"email": 4}}}, "4 job(s) wait in the old backend"),
        (
            {"proven": []},
            "a migration of this host was interrupted or failed: no proof. Run deploy",
        ),
        ({"proven": [], "last_run": "ann@desk since 1"}, "failed (last run: ann@desk since 1)"),
        ({"stopping": OLD}, "old workers half stopped"),
        ({"evidence": "f"}, "what was proven is no longer what is here"),
        ({"busy": "ann@desk has been at work"}, "ann@desk has been at work: wait"),
        ({"at_work": "yes"}, "a step of an earlier run is still at work here"),
        ({"disk_kb": 1000}, "0 MiB are free in /var/www/MISP/app/tmp: make room"),
        ({"settings": settings(BLOCK, read_timeout=20)}, "gives up on Redis after 20 s"),
        (
            {"settings": settings({**BLOCK, "enabled": 1})},
            "leaves them (SimpleBackgroundJobs.enabled)",
        ),
        (
            {"settings": settings({**BLOCK, "max_job_history_ttl": None})},
            "leaves them (SimpleBackgroundJobs.max_job_history_ttl): run deploy.py again",
        ),
        (
            {"settings": settings(BLOCK, supervisor_password_matches=False)},
            "leaves them (SimpleBackgroundJobs.supervisor_password): run",
        ),
        ({"root": []}, "/var/www/MISP is no directory here: set misp_root"),
        ({"settings": {"error": "has a syntax error"}}, "config.php has a syntax error: mend"),
    ],
)
def test_what_is_wrong_after_a_migration_is_named(
    pyinfra: Pyinfra, changes: dict[str, Any], fault: str
) -> None:
    run = seen(pyinfra, host(**{**MIGRATED, **changes}))
    assert run.exit_code == 1
    assert fault in run.output
    assert "healthy" not in run.output


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"process": []}, "no old worker lives, so no job is done"),
        ({"legacy": {"error": "no connection"}}, "the old workers' Redis cannot be asked"),
        (
            {"legacy": {**QUIET, "waiting": {"email": 4}}},
            "no old worker lives for email: start one",
        ),
        ({"status": RUNNING}, "workers of the new backend run though MISP does not use it"),
        ({"state_dir": "yes"}, "interrupted or failed"),
    ],
)
def test_what_is_wrong_before_one_is_named(
    pyinfra: Pyinfra, changes: dict[str, Any], fault: str
) -> None:
    run = seen(pyinfra, host(**{"waiting": REDIS, **changes}))
    assert run.exit_code == 1
    assert fault in run.output


def test_misps_web_view_counts_when_there_is_a_url(pyinfra: Pyinfra) -> None:
    data = {"misp_url": "https://127.0.0.1:1", "misp_api_key": {"env": "KEY"}}
    run = pyinfra(
        {"one": {"fake_responses": host(**MIGRATED), **data}},
        "--dry",
        deploy="status.py",
        KEY="k3" * 20,
    )
    assert run.exit_code == 1
    assert "https://127.0.0.1:1/servers/getWorkers cannot be reached" in run.output
    assert "k3" * 20 not in run.output


def test_one_sick_host_hides_no_other(pyinfra: Pyinfra) -> None:
    hosts = {
        "sick": {"fake_responses": host(**{**MIGRATED, "status": NOW})},
        "well": {"fake_responses": host(**MIGRATED)},
        "odd": {"fake_responses": host(**MIGRATED), "misp_wrokers": {}},
    }
    run = pyinfra(hosts, "--dry", deploy="status.py")
    assert run.exit_code == 1
    assert "[@fake/well] healthy" in run.output
    assert "[@fake/sick]   1. misp-workers:prio_00 is missing" in run.output
    assert "did you mean 'misp_workers'?" in run.output


def test_what_follows_from_a_redis_that_is_gone_is_no_fault_of_its_own(pyinfra: Pyinfra) -> None:
    changes = {
        "redis": {"error": "no connection"},
        "status": [line.replace("RUNNING", "BACKOFF") for line in NOW] + FATAL,
        "get_workers": "nothing",
    }
    run = seen(pyinfra, host(**{**MIGRATED, **changes}))
    assert run.exit_code == 1
    assert "2 faults:" in run.output
    assert "prio_00 is FATAL" in run.output
