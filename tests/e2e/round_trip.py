"""Hosts whose old workers are started by this and that: migrated, and brought back again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.waiting import wait_for
from tasks.host import old_workers
from tests.e2e import observe

CONSENT = ("--data", "allow_foreign_restart=true")
LONG_JOB = 401
MARK = "#misp-workers-migration# "


@dataclass
class Story:
    """What was seen at each point of it; every dict is by host name."""

    lab: Lab
    before: dict[str, observe.Snapshot]
    jobs: dict[str, list[int]]
    planned: run.Run
    looked_at: dict[str, observe.Snapshot]
    first: run.Run
    second: run.Run


def live(lab: Lab) -> Story:
    """Look at hosts whose launchers are in place, plan, migrate, and run again."""
    for host in lab:
        wait_for(partial(observe.old_workers_live, host), 20, f"{host.name}: the old workers")
    before = on_each(lab, observe.snapshot)
    planned = run.plan(lab, *CONSENT)
    looked_at = on_each(lab, observe.snapshot)
    jobs = {host.name: misp.enqueue(host, 3, first=101, seconds=0.5) for host in lab}
    for host in lab:  # it runs when supervisord is restarted, and when the drain begins
        jobs[host.name] += misp.enqueue(host, 1, queues=("prio",), first=LONG_JOB, seconds=20)
    first = run.apply(lab, *CONSENT)
    second = run.apply(lab)
    return Story(lab, before, jobs, planned, looked_at, first, second)


def on_each(lab: Lab, look: Callable[[LabHost], observe.Snapshot]) -> dict[str, observe.Snapshot]:
    """The same look at every host, at the same time."""
    hosts = list(lab)
    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip([host.name for host in hosts], pool.map(look, hosts), strict=True))


def check_migrated(story: Story, name: str) -> None:
    """The host is migrated, and each job of before was done once."""
    assert story.first.ok, story.first.stderr
    assert story.second.ok, story.second.stderr
    assert observe.faults(story.lab[name]) == []
    old = verify.check_jobs(story.lab[name], story.jobs[name], "jobs of before the migration")
    assert old.ok, old.seen


def check_restart(host: LabHost) -> None:
    """A restart of the host brings the new workers and not the old ones."""
    host.restart()
    wait_for(lambda: verify.check_worker_set(host).ok, 60, "the new workers")
    assert observe.old_processes(host) == []
    assert observe.faults(host) == []


def check_rollback(lab: Lab) -> None:
    """A rollback succeeds on every host, and a second one finds nothing to do."""
    planned = run.plan(lab, *CONSENT, deploy="rollback.py")
    assert planned.ok, planned.stderr
    done = run.apply(lab, *CONSENT, deploy="rollback.py")
    assert done.ok, done.stderr
    again = run.apply(lab, deploy="rollback.py")
    assert again.exit_code == 0, again.stderr
    assert again.changed == ()


def check_as_before(story: Story, name: str) -> None:
    """The host is as it was before the migration, and its old workers do the jobs."""
    host = story.lab[name]
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    assert differences(story, name) == []
    assert not [line for line in host.exec("ls /var/lib").stdout.split() if "misp-workers" in line]
    check_old_backend(host, 701)


def check_old_backend(host: LabHost, first: int) -> None:
    """Jobs enqueued as MISP does it now are done, and by the old workers."""
    numbers = misp.enqueue(host, 1, first=first)
    check = verify.check_jobs(host, numbers, "jobs for the old workers")
    assert check.ok, check.seen
    assert {e["backend"] for e in misp.ledger(host) if e.get("number") in numbers} == {"resque"}


def differences(story: Story, name: str) -> list[str]:
    """What is not as before, but for what lives on."""
    before, after = (
        replace(seen, units="\n".join(line for line in seen.units.splitlines() if counts(line)))
        for seen in (story.before[name], observe.snapshot(story.lab[name]))
    )
    return observe.lasting(before.differences(after))


def counts(unit: str) -> bool:
    """Whether a unit's state should be as before: the host was restarted, and old workers that no
    unit had started live in one of systemd's making now. rc.local's do, too, as all of its other
    lines would run again with them.
    """
    return not unit.startswith(("rc-local.service active", old_workers.BY_HAND))
