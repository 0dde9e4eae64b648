"""Another database, namespace or server for migrated hosts: workers and jobs go there together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import load, misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import observe, secrecy

DEBIAN = HostSpec("move-debian", "debian-12", waiting_jobs=0)
EL = HostSpec("move-el", "el-like", profile="2.4.199", waiting_jobs=0)
SPECS = (DEBIAN, EL)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])
ELSEWHERE = ("--data", "misp_redis_database=5")
OTHER_NAMESPACE = ("--data", "misp_redis_namespace=elsewhere")  # MISP keeps its database
# Of the operations that this takes.
KINDS = {"MISP", "Workers", "Proof"}
LONG_JOBS, BACKLOG, CUT, SERVED, LEFT_BEHIND = 1001, 2001, 3001, 4001, 5001
PACE = 5.0
OTHER_PORT = 6380

_KEYS = r"""
$keys = array();
foreach (array(1, 5, 6) as $database) {
    $redis->select($database);
    while (($found = $redis->scan($cursor, "*", 500)) !== false) {
        foreach ($found as $key) {
            if (!preg_match("/^resque|:job_status:/", $key)) { $keys[] = "$database $key"; }
        }
    }
    $cursor = null;
}
echo json_encode($keys);
"""

_DATABASES = r"""
$waiting = array_filter($redis->client("list"), function ($one) {
    return $one["cmd"] === "blpop";
});
echo json_encode((object)array_count_values(array_column($waiting, "db")));
"""

# As a killed move leaves it: one job has arrived and is on the list still, one has not arrived.
_CUT_OFF = r"""
$redis->select(5);
$jobs = $redis->lRange("background_jobs:email", 0, -1);
$redis->rename("background_jobs:email", "background_jobs:misp-workers-moving:email");
$redis->rPush("elsewhere:email", $jobs[0]);
$redis->set("elsewhere:misp-workers-moved:" . json_decode($jobs[0], true)["id"], "1");
echo count($jobs);
"""


@dataclass
class Moved:
    """Two hosts whose queues moved, with long jobs running, others waiting and more coming."""

    lab: Lab
    before: dict[str, set[int]]
    planned: run.Run
    looked_at: dict[str, list[str]]
    done: run.Run
    faults: list[str]


@pytest.fixture(scope="module")
def moved(lab: Lab) -> Iterator[Moved]:
    run.apply(lab).check()
    with secrecy.kept(lab):
        snapshots = {host.name: observe.snapshot(host) for host in lab}
        planned = run.plan(lab, *ELSEWHERE).check()
        changed = {
            host.name: observe.lasting(snapshots[host.name].differences(observe.snapshot(host)))
            for host in lab
        }
        before = {host.name: pids(host) for host in lab}
        jobs = {host.name: fill(host) for host in lab}
        began = time.time()
        with load.producing(lab, PACE) as producers:
            done = run.apply(lab, *ELSEWHERE)
        span = (began, time.time())
        faults = []
        for producer in producers:
            load.settle(producer.host, producer.sent)
            seen = load.outcome(producer.sent, misp.ledger(producer.host), span)
            faults += [f"{producer.host.name}: {what}" for what in (seen.lost, seen.twice) if what]
        for name, numbers in jobs.items():
            check = verify.check_jobs(lab[name], numbers, "jobs of before")
            faults += [] if check.ok else [f"{name}: {check.seen}"]
        yield Moved(lab, before, planned, changed, done, faults)


def fill(host: LabHost) -> list[int]:
    """A long job on each queue, and a queue with more than its one worker does meanwhile."""
    numbers = misp.enqueue(host, 1, first=LONG_JOBS, seconds=8)
    wait_for(lambda: observe.in_flight(host) == len(QUEUES), 30, "long jobs")
    return numbers + misp.enqueue(host, 8, queues=["update"], first=BACKLOG, seconds=1)


def keys(host: LabHost) -> list[str]:
    """ "DATABASE KEY" of what the new backend has, but for the state of jobs that have ended."""
    found: list[str] = misp.ask_redis(host, _KEYS)
    return found


def pids(host: LabHost) -> set[int]:
    return {one.pid for one in verify.workers(host)}


@HOSTS
def test_the_dry_run_says_it_and_changes_nothing(moved: Moved, name: str) -> None:
    predicted = {one.name.split(":")[0] for one in moved.planned.plan if name in one.change}
    assert predicted == KINDS
    assert "are at Redis 127.0.0.1:6379, database 1" in moved.planned.stderr
    assert moved.looked_at[name] == []


@HOSTS
def test_every_worker_is_restarted_in_the_new_place(moved: Moved, name: str) -> None:
    assert moved.done.ok, moved.done.stderr
    changed = {one.name.split(":")[0] for one in moved.done.operations if name in one.success}
    assert changed == KINDS
    host = moved.lab[name]
    assert observe.faults(host) == []
    assert moved.before[name].isdisjoint(pids(host))
    assert misp.ask_redis(host, _DATABASES) == {"5": len(verify.workers(host))}


def test_no_job_is_lost_or_run_twice(moved: Moved) -> None:
    assert moved.faults == []


@HOSTS
def test_nothing_is_left_in_the_former_place(moved: Moved, name: str) -> None:
    left = [key for key in keys(moved.lab[name]) if key.startswith("1 ")]
    assert left == []
    assert not [key for key in keys(moved.lab[name]) if "misp-workers" in key]


def test_the_next_run_changes_nothing(moved: Moved) -> None:
    again = run.apply(moved.lab, *ELSEWHERE).check()
    assert again.changed == ()
    assert "are at Redis" not in again.stderr


@HOSTS
def test_a_move_that_was_cut_off_is_finished(moved: Moved, name: str) -> None:
    host = moved.lab[name]
    host.exec("supervisorctl status | awk '/:email_/ { print $1 }' | xargs supervisorctl stop")
    numbers = misp.enqueue(host, 2, queues=["email"], first=CUT)
    assert misp.ask_redis(host, _CUT_OFF) == len(numbers)
    remembered = f"{observe.MIGRATION_STATE}/redis-places"
    (place,) = json.loads(host.read(remembered))
    places = [place, {**place, "redis_namespace": "elsewhere"}]
    misp.replace(host, remembered, json.dumps(places) + "\n")
    run.apply(moved.lab, *OTHER_NAMESPACE, "--limit", name).check()
    check = verify.check_jobs(host, numbers, "the jobs on their way")
    assert check.ok, check.seen
    assert observe.faults(host) == []
    assert not [key for key in keys(host) if "background_jobs:" in key]


def test_a_server_with_a_password_of_its_own_and_back_and_by_another_name(moved: Moved) -> None:
    lab, host = moved.lab, moved.lab[EL.name]
    password, file = lab.directory.make_secret("other_redis_password")
    configuration = f"port {OTHER_PORT}\nrequirepass {password}\ndir /tmp\nsave ''\n"
    host.exec(["redis-server", "-"], input=f"{configuration}daemonize yes\n")
    there = (
        *("--limit", host.name, "--data", f"misp_redis_port={OTHER_PORT}"),
        *("--data", "misp_redis_password=" + json.dumps({"file": str(file)})),
    )
    back = ("--limit", host.name, "--data", "misp_redis_port=6379")
    host.exec("echo 127.0.0.1 redis-by-name >>/etc/hosts")
    by_name = ("--limit", host.name, "--data", "misp_redis_host=redis-by-name")
    for number, options in enumerate((there, back, by_name)):
        host.exec("supervisorctl stop misp-workers:update_00")
        numbers = misp.enqueue(host, 3, queues=["update"], first=SERVED + 10 * number)
        run.apply(lab, *options).check()
        check = verify.check_jobs(host, numbers, "jobs that waited on the other server")
        assert check.ok, check.seen
        assert observe.faults(host) == []
        places = host.read(f"{observe.MIGRATION_STATE}/redis-places")
        assert "redis_password" not in places
    assert run.apply(lab, "--limit", host.name).changed == ()


def test_a_rollback_finds_the_jobs_wherever_they_are(moved: Moved) -> None:
    host = moved.lab[DEBIAN.name]
    host.exec("supervisorctl stop 'misp-workers:*'")
    numbers = misp.enqueue(host, 2, first=LEFT_BEHIND)
    cake = [f"{host.spec.misp_root}/app/Console/cake", "Admin", "setSetting"]
    host.exec([*cake, "SimpleBackgroundJobs.redis_database", "6"], user=host.spec.web_user)
    numbers += misp.enqueue(host, 2, first=LEFT_BEHIND + 100)
    assert [key for key in keys(host) if key.startswith("6 ")]
    other = ("--data", "misp_redis_port=1", "--limit", host.name)  # where nobody answers
    run.apply(moved.lab, *other, deploy="rollback.py").check()
    check = verify.check_jobs(host, numbers, "jobs that waited in the new queues")
    assert check.ok, check.seen
    assert keys(host) == []
