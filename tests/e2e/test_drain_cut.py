"""The drain survives that its connection is cut, and ends where another run has had the host."""

from __future__ import annotations

import re

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import cuts, observe

SPECS = (
    HostSpec("cut", "debian-12", waiting_jobs=0),
    HostSpec("taken", "el-like", profile="2.4.199", waiting_jobs=0),
    HostSpec("dark", "debian-12", waiting_jobs=0),
)
JOB, SECONDS = 901, 60


def wait_for_the_drain(running: run.Running, host: LabHost) -> None:
    """Give the old workers a long job while the new ones are proven, and wait until it is named."""
    wait_for(lambda: any("Proof" in one for one in running.operations), 300, "the proof")
    misp.enqueue(host, 1, queues=("prio",), first=JOB, seconds=SECONDS, extra=("--legacy",))
    wait_for(lambda: "drain: 1 running (" in running.stderr, 120, "the drain's line")


def test_a_cut_connection_is_made_again_and_the_run_ends_well(lab: Lab) -> None:
    host = lab["cut"]
    with run.started(lab, "deploy.py", "-y", "--limit", host.name) as running:
        wait_for_the_drain(running, host)
        cuts.network(host)
        running.wait(300)
    said = running.stderr
    assert running.process.returncode == 0, said
    assert cuts.SURVIVED in said
    assert "Connected (again)" in said
    assert "Traceback" not in said
    line = r"drain: 1 running \(AdminShell stubJob, PID \d+, prio, \d+ s\); \d+ s of 30 min gone"
    assert re.search(line, said), said
    done = verify.check_jobs(host, [JOB], "the old job")
    assert done.ok, done.seen
    assert observe.faults(host) == []


def test_a_run_whose_host_another_one_took_back_stops(lab: Lab) -> None:
    """Else it would retire the old workers that a rollback has just given their jobs back."""
    host = lab["taken"]
    with run.started(lab, "deploy.py", "-y", "--limit", host.name) as running:
        wait_for_the_drain(running, host)
        back = ("--limit", host.name, "--data", "take_over=true")
        run.apply(lab, *back, deploy="rollback.py").check()
        running.wait(120)
    assert running.process.returncode == 1
    assert "this run has lost this host (" in running.stderr
    assert "See how the host is now (its status), then run again" in running.stderr
    assert "Traceback" not in running.stderr
    assert observe.old_workers_live(host)
    done = verify.check_jobs(host, [JOB], "the old job", 120)
    assert done.ok, done.seen


def test_a_run_does_no_more_on_a_host_that_was_started_anew(lab: Lab) -> None:
    host = lab["dark"]
    cuts.make_redis_durable(host)
    with run.started(lab, "deploy.py", "-y", "--limit", host.name) as running:
        wait_for_the_drain(running, host)
        cuts.power(host)
        running.wait(cuts.NOTICED)
    assert running.process.returncode == 1
    assert cuts.SURVIVED in running.stderr
    assert "this run has lost this host (the host was started anew)" in running.stderr
    assert "Traceback" not in running.stderr
    run.apply(lab, "--limit", host.name).check()
    assert observe.faults(host) == []
