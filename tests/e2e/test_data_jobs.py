"""Jobs whose input is too big for an argument keep it, whichever way they go.

The new backend has such input in Redis, the old one in a file, and neither reads what the other
wrote (BackgroundJobsTool.php: enqueueDataFile).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import OLD_WORKER_INTERVAL, HostSpec

DEBIAN = HostSpec("data-debian", "debian-12", waiting_jobs=0)
EL = HostSpec(
    "data-el",
    "el-like",
    profile="2.4.199",
    redis="shared",
    old_worker_interval=OLD_WORKER_INTERVAL,
    waiting_jobs=0,
)
SPECS = (DEBIAN, EL)

Jobs = Mapping[str, list[misp.DataJob]]
"""By host name."""

NOTE = "redis: is it down? asks a user"  # no reference to data, and so an argument like any other
SETTLED = 120  # seconds for moved jobs to be done: one old worker serves their queue
UNSERVED_LIMIT, NO_WAIT = 120, 60

_WAITING = r"""
$redis->select(1);
echo json_encode($redis->lRange("background_jobs:prio", 0, -1));
"""
_WAITING_OLD = 'echo json_encode($redis->lRange("resque:queue:prio", 0, -1));'
_FORGET = r"""
$redis->select(1);
echo $redis->del("background_jobs:data_content:%s");
"""


def migrate(lab: Lab) -> None:
    """Whatever the test before left."""
    run.apply(lab, "--data", "drain_timeout=60").check()


def go_back(lab: Lab) -> None:
    run.apply(lab, "--data", "drain_timeout=5", deploy="rollback.py").check()


def stop_workers(host: LabHost, *names: str) -> None:
    host.exec(["supervisorctl", "stop", *(f"{verify.GROUP}:{name}" for name in names or ("*",))])


def prio_workers(host: LabHost) -> list[str]:
    return [worker.name for worker in verify.workers(host) if worker.queue == "prio"]


def data_files(host: LabHost) -> list[str]:
    """Owner, mode and path of each that no job has read so far."""
    folder = f"{host.spec.misp_root}/app/tmp/cache/ingest"
    return host.exec(f"find {folder} -type f -printf '%u %m %p\\n'", check=False).stdout.split(
        "\n"
    )[:-1]


def waiting(host: LabHost) -> dict[str, dict[str, Any]]:
    """The records in the new backend's list, by id."""
    records = [json.loads(record) for record in misp.ask_redis(host, _WAITING)]
    return {record["id"]: record for record in records}


def faults(lab: Lab, jobs: Jobs, by: Collection[str]) -> dict[str, list[str]]:
    """By host: which jobs have not run once, with their data, on one of the backends BY."""
    found = {name: _faults(lab[name], sent, by) for name, sent in jobs.items()}
    return {name: lines for name, lines in found.items() if lines}


def _faults(host: LabHost, jobs: list[misp.DataJob], by: Collection[str]) -> list[str]:
    sent = {job.number: job.digest for job in jobs}
    check = verify.check_jobs(host, sent, "jobs with data", seconds=SETTLED)
    ledger = misp.ledger(host)
    entries = [entry for entry in ledger if entry.get("number") in sent]
    errors = Counter(
        f"{entry['backend']}: {entry['error']}" for entry in ledger if "error" in entry
    )
    found = [] if check.ok else [*(f"{n} of {error}" for error, n in errors.items()), check.seen]
    found += [f"{e['number']}: other data" for e in entries if e.get("digest") != sent[e["number"]]]
    found += [f"{e['number']}: by {e['backend']}" for e in entries if e["backend"] not in by]
    return found


def test_a_drain_lets_the_old_workers_do_them_with_their_files(lab: Lab) -> None:
    jobs = {}
    for host in lab:
        misp.enqueue(host, 1, queues=["prio"], first=1, seconds=20)
        jobs[host.name] = misp.enqueue_data(host, 5, first=11)
        assert len(data_files(host)) == len(jobs[host.name])
    run.apply(lab).check()
    assert faults(lab, jobs, by={"resque"}) == {}
    assert {host.name: data_files(host) for host in lab} == {host.name: [] for host in lab}


def test_a_rollback_does_not_wait_for_a_queue_that_nobody_serves(lab: Lab) -> None:
    migrate(lab)
    jobs = {}
    for host in lab:
        stop_workers(host, *prio_workers(host))
        jobs[host.name] = misp.enqueue(host, 3, queues=["prio"], first=101)
    limit = ("--data", f"drain_timeout={UNSERVED_LIMIT}")
    done = run.apply(lab, *limit, deploy="rollback.py").check()
    for host in lab:
        moved = verify.check_jobs(host, jobs[host.name], "jobs that nobody served")
        assert moved.ok, f"{host.name}: {moved.seen}"
    assert done.seconds < NO_WAIT


def test_in_a_conversion_their_files_go_over(lab: Lab) -> None:
    go_back(lab)
    jobs = {}
    for host in lab:
        host.exec(["pkill", "-USR2", "-f", "[b]in/resque"])  # paused
        jobs[host.name] = misp.enqueue_data(host, 5, first=201)
    convert = ("--data", "on_leftover_jobs=convert", "--data", "drain_timeout=6")
    run.apply(lab, *convert).check()
    assert faults(lab, jobs, by={"simple"}) == {}
    assert {host.name: data_files(host) for host in lab} == {host.name: [] for host in lab}


def test_a_rollback_brings_their_data_to_the_old_workers(lab: Lab) -> None:
    migrate(lab)
    jobs, plain = {}, {}
    for host in lab:
        stop_workers(host)
        # Keeps the old worker from the others until the rollback has ended.
        misp.enqueue(host, 1, queues=["prio"], first=301, seconds=30, extra=["--legacy"])
        jobs[host.name] = misp.enqueue_data(host, 4, first=311)
        plain[host.name] = misp.enqueue(host, 1, queues=["prio"], first=351, extra=["--note", NOTE])
    done = run.apply(lab, deploy="rollback.py").check()
    exposed = {host.name: faults_of_files(host) for host in lab}
    assert faults(lab, jobs, by={"resque"}) == {}, done.stderr
    assert exposed == {host.name: [] for host in lab}
    for host in lab:
        assert verify.check_jobs(host, plain[host.name], "a job with a word like a reference").ok
        arguments = [e["args"] for e in misp.ledger(host) if e.get("number") in plain[host.name]]
        assert arguments == [["stubJob", "351", NOTE]]
        assert data_files(host) == []


def faults_of_files(host: LabHost) -> list[str]:
    """Input of jobs that wait for the old workers, where these do not find it or others read it."""
    folder = f"{host.spec.misp_root}/app/tmp/cache/ingest/"
    files = {path: (owner, int(mode, 8)) for owner, mode, path in map(str.split, data_files(host))}
    found = []
    for record in map(json.loads, misp.ask_redis(host, _WAITING_OLD)):
        command, *arguments = record["args"][0]
        if command in misp.DATA_COMMANDS:
            owner, mode = files.get(arguments[-1], ("", 0))
            is_good = owner == host.spec.web_user and mode & 0o600 == 0o600 and not mode & 0o007
            if not is_good or not arguments[-1].startswith(folder):
                found.append(f"{arguments[-1]} {owner} {mode:o}")
    return found


@pytest.mark.parametrize(("served_by", "limit"), [(5, 180), (1, 4)])
def test_data_survive_a_rollback_amid_jobs_that_new_workers_do(
    lab: Lab, served_by: int, limit: int
) -> None:
    """Each job is a process of its own, which reads MISP's settings anew.

    So the new workers finish what they have while `enabled` is still true, and the rest moves.
    """
    migrate(lab)
    jobs = {}
    for host in lab:
        if others := prio_workers(host)[served_by:]:
            stop_workers(host, *others)
        jobs[host.name] = misp.enqueue_data(host, 100, first=1000 * served_by)
    done = run.apply(lab, "--data", f"drain_timeout={limit}", deploy="rollback.py").check()
    assert faults(lab, jobs, by={"simple", "resque"}) == {}, done.stderr
    assert {host.name: data_files(host) for host in lab} == {host.name: [] for host in lab}


def test_a_job_whose_data_are_gone_stays_and_is_named(lab: Lab) -> None:
    migrate(lab)
    jobs, gone = {}, {}
    for host in lab:
        stop_workers(host)
        without, *jobs[host.name] = misp.enqueue_data(host, 2, first=601)
        gone[host.name] = without.job_id
        reference = waiting(host)[without.job_id]["args"][-1]
        assert misp.ask_redis(host, _FORGET % reference.removeprefix("redis:")) == 1
    done = run.apply(lab, deploy="rollback.py")
    for host in lab:
        assert list(waiting(host)) == [gone[host.name]], done.stderr
        assert gone[host.name] in done.stderr
    assert faults(lab, jobs, by={"resque"}) == {}, done.stderr
