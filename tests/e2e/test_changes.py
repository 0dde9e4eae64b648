"""Other data for migrated hosts, with jobs running and more coming: none is cut or run twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lab import load, misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tasks.target import JOB_TIMEOUT
from tests.e2e import observe, secrecy

pytestmark = pytest.mark.resilience

SPECS = (
    HostSpec("change-debian", "debian-12", waiting_jobs=0),
    HostSpec("change-el", "el-like", profile="2.4.199", waiting_jobs=0),
)
PACE = 5.0
LONG = 25.0  # seconds of a job, longer than a run without it
MORE_WORKERS = ("--data", 'misp_workers={"default": 3, "prio": 7}')
WANTED = {"default": 3, "prio": 7, "email": 5, "cache": 5, "update": 1}
HANDED_OUT = 4001
BACKLOG_FROM, BACKLOG, SHORT = 5001, 100, 5
LONGEST_FROM = 7001
OTHER_PORT = ("--data", "supervisor_port=9102")


@pytest.fixture(scope="module")
def migrated(lab: Lab) -> Iterator[Lab]:
    with secrecy.kept(lab):
        run.apply(lab).check()
        yield lab


@pytest.fixture(scope="module")
def lost() -> list[str]:
    """The jobs that were lost in all of the tests."""
    return []


@contextmanager
def under_load(lab: Lab, first: int, lost: list[str]) -> Iterator[None]:
    """Have a long job on each queue when the block begins, and short ones coming all along."""
    long = {host.name: misp.enqueue(host, 1, first=first, seconds=LONG) for host in lab}
    for host in lab:
        wait_for(lambda host=host: observe.in_flight(host) == len(QUEUES), 30, "long jobs")  # type: ignore[misc]
    with load.producing(lab, PACE, load.FIRST + first) as producers:
        began = time.time()
        yield
        ended = time.time()
    for producer in producers:
        host = producer.host
        load.settle(host, producer.sent)
        end = load.outcome(producer.sent, misp.ledger(host), (began, ended))
        lost += [f"{host.name}: {number}" for number in end.lost]
        assert (end.twice, end.failed) == ([], [])
        assert end.enqueued > PACE * (ended - began) / 2
        check = verify.check_jobs(host, long[host.name], "the long jobs")
        assert check.ok, check.seen


def daemons(lab: Lab) -> dict[str, int]:
    return {host.name: observe.daemon(host) for host in lab}


def starts(host: LabHost, since: float) -> int:
    """How often systemd started supervisord since a time."""
    unit = misp.supervisor_unit(host.spec)
    journal = f"journalctl -u {unit} --since @{since:.0f} -o cat --no-pager"
    return sum(line.startswith("Started ") for line in host.exec(journal).stdout.splitlines())


def running(host: LabHost) -> dict[str, int]:
    return dict(Counter(one.queue for one in verify.workers(host) if one.state == "RUNNING"))


def test_other_counts_do_not_restart_supervisord(migrated: Lab, lost: list[str]) -> None:
    before = daemons(migrated)
    with under_load(migrated, 1000, lost):
        changed = run.apply(migrated, *MORE_WORKERS).check()
    assert daemons(migrated) == before
    assert [operation.name.split(":")[0] for operation in changed.changed] == ["Workers", "Proof"]
    for host in migrated:
        assert running(host) == WANTED
        assert observe.old_processes(host) == []
    assert run.apply(migrated, *MORE_WORKERS).changed == ()


def test_another_port_restarts_supervisord_once(migrated: Lab, lost: list[str]) -> None:
    before, began = daemons(migrated), time.time()
    with under_load(migrated, 2000, lost):
        run.apply(migrated, *MORE_WORKERS, *OTHER_PORT).check()
    for host in migrated:
        assert observe.daemon(host) != before[host.name]
        assert starts(host, began) == 1
        assert running(host) == WANTED
        assert ":9102 " in host.exec("ss -Hltn").stdout
        assert ":9001 " not in host.exec("ss -Hltn").stdout
    assert run.apply(migrated, *MORE_WORKERS, *OTHER_PORT).changed == ()


def test_no_job_was_lost(lost: list[str]) -> None:
    assert lost == []


def test_a_job_that_redis_has_handed_out_is_no_more_lost_than_one_that_runs(migrated: Lab) -> None:
    run.apply(migrated, "--data", 'misp_workers={"cache": 1}').check()
    for host in migrated:
        (worker,) = [one.pid for one in verify.workers(host) if one.queue == "cache"]
        host.exec(["kill", "-STOP", str(worker)])  # so that the job stays in its hands
        misp.enqueue(host, 1, queues=["cache"], first=HANDED_OUT)
        assert load.left(host) == {}
    run.apply(migrated, "--data", 'misp_workers={"cache": 2}').check()
    for host in migrated:
        check = verify.check_jobs(host, [HANDED_OUT], "the job in a worker's hands")
        assert check.ok, check.seen


def fill(host: LabHost, first: int, count: int) -> list[int]:
    """Give the workers of one queue more work than a change takes, each job of it a short one."""
    return misp.enqueue(host, count, queues=["email"], first=first, seconds=SHORT)


def test_workers_of_a_queue_that_never_runs_empty_are_stopped_all_the_same(migrated: Lab) -> None:
    with ThreadPoolExecutor(len(SPECS)) as pool:
        full = list(pool.map(lambda host: fill(host, BACKLOG_FROM, BACKLOG), migrated))
    counts = ("--data", 'misp_workers={"email": 4}')
    run.apply(migrated, *counts, "--data", "drain_timeout=30").check()
    for host in migrated:
        assert running(host)["email"] == 4
        assert "1 background_jobs:email" in load.left(host)
    for host, numbers in zip(migrated, full, strict=True):
        check = verify.check_jobs(host, numbers, "the full queue's jobs", 300)
        assert check.ok, check.seen


def test_jobs_that_a_step_had_set_aside_when_it_was_killed_come_back(migrated: Lab) -> None:
    host = migrated["change-debian"]
    numbers = fill(host, BACKLOG_FROM + 1000, 40)
    counts = ("--data", 'misp_workers={"email": 3}', "--limit", host.name)
    with run.started(migrated, "deploy.py", "-y", *counts):
        wait_for(lambda: set_aside(host), 60, "jobs set aside")
        host.exec("pkill -9 -f 'misp-workers-migration [w]orkers.apply'")
    seen = run.pyinfra(migrated, "status.py", "--dry", "--limit", host.name)
    assert "job(s) were set aside by a step that was cut off" in seen.stderr
    run.apply(migrated, *counts).check()
    assert set_aside(host) == 0
    check = verify.check_jobs(host, numbers, "the full queue's jobs", 300)
    assert check.ok, check.seen


def test_a_proof_waits_for_workers_that_all_have_long_jobs(migrated: Lab) -> None:
    host = migrated["change-debian"]
    run.apply(migrated, "--limit", host.name).check()
    long = misp.enqueue(host, 1, queues=["update"], first=LONGEST_FROM, seconds=JOB_TIMEOUT + 20)
    wait_for(lambda: observe.in_flight(host) == 1, 30, "the long job")
    host.exec(["rm", f"{observe.MIGRATION_STATE}/proven"])
    proven = run.apply(migrated, "--limit", host.name).check()
    assert [operation.name.split(":")[0] for operation in proven.changed] == ["Proof"]
    assert proven.seconds > JOB_TIMEOUT
    check = verify.check_jobs(host, long, "the long job")
    assert check.ok, check.seen


def set_aside(host: LabHost) -> int:
    key = "background_jobs:misp-workers-aside:email"
    return int(host.exec(["redis-cli", "-n", "1", "llen", key]).stdout)


def test_back_to_the_first_data_is_a_change_like_any_other(migrated: Lab) -> None:
    run.apply(migrated).check()
    with ThreadPoolExecutor(len(SPECS)) as pool:
        assert list(pool.map(observe.faults, migrated)) == [[], []]
