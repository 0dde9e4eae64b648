"""pyinfra killed in the middle of every operation, of the deploy and of the rollback.

The list of operations comes from the plan. The next run ends where an undisturbed one ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import cuts, observe, secrecy
from tests.labs import LabMaker

pytestmark = pytest.mark.resilience

OPERATIONS = 10  # of deploy.py; checked against the plan
OLD_JOBS = 801
# Long enough for the operation's function to be at work, and different in each.
DELAYS = (0.2, 0.5, 0.9)


def spec(number: int) -> HostSpec:
    base, profile = (("debian-12", "2.5.1"), ("el-like", "2.4.199"))[number % 2]
    return HostSpec(f"kill-{number}", base, profile=profile, waiting_jobs=0)


SPECS = tuple(spec(number) for number in range(OPERATIONS + 2))  # two more are left undisturbed


@dataclass
class Interrupted:
    """Every host's story: before, the operation it was cut in, and the end of the next run."""

    lab: Lab
    before: dict[str, observe.Snapshot]
    operations: list[str]
    cut_in: dict[str, str]
    again: dict[str, run.Run]
    after: dict[str, observe.Snapshot]

    @property
    def killed(self) -> list[LabHost]:
        return [self.lab[f"kill-{number}"] for number in range(len(self.operations))]


def kill_in(lab: Lab, host: LabHost, deploy: str, number: int) -> str:
    """Run a deploy on one host and SIGKILL it in its operation `number`; gives that one's name."""
    with run.started(lab, deploy, "-y", "--limit", host.name) as running:
        wait_for(lambda: len(running.operations) > number, 300, f"operation {number}")
        time.sleep(DELAYS[number % len(DELAYS)])
        running.kill()
    return running.operations[number]


def cut_and_run_again(lab: Lab, deploy: str, host: LabHost, number: int) -> tuple[str, run.Run]:
    operation = kill_in(lab, host, deploy, number)
    return operation, run.apply(lab, "--limit", host.name, deploy=deploy)


@pytest.fixture(scope="module")
def interrupted(lab: Lab) -> Iterator[Interrupted]:
    with secrecy.kept(lab):
        yield interrupt(lab)


def interrupt(lab: Lab) -> Interrupted:
    for host in lab:
        misp.install_stopped_supervisor(host)
        wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    before = {host.name: observe.snapshot(host) for host in lab}
    planned = run.plan(lab, "--limit", "kill-0").plan
    operations = [operation.name for operation in planned]
    for host in lab:
        misp.enqueue(host, 1, first=OLD_JOBS, seconds=1)
    killed = [lab[f"kill-{number}"] for number in range(len(operations))]
    with ThreadPoolExecutor(cuts.AT_ONCE) as pool:
        work = partial(cut_and_run_again, lab, "deploy.py")
        ends = list(pool.map(work, killed, range(len(killed))))
    undisturbed = [host.name for host in lab if host not in killed]
    limits = [word for name in undisturbed for word in ("--limit", name)]
    run.apply(lab, *limits).check()
    return Interrupted(
        lab=lab,
        before=before,
        operations=operations,
        cut_in={host.name: end[0] for host, end in zip(killed, ends, strict=True)},
        again={host.name: end[1] for host, end in zip(killed, ends, strict=True)},
        after={host.name: observe.snapshot(host) for host in lab},
    )


def changes(seen: Interrupted, name: str) -> dict[str, str]:
    return cuts.changes(seen.before[name], seen.after[name])


def test_every_operation_of_the_plan_was_cut_once(interrupted: Interrupted) -> None:
    assert len(interrupted.operations) == OPERATIONS
    assert list(interrupted.cut_in.values()) == interrupted.operations


@pytest.mark.parametrize("number", range(OPERATIONS))
def test_the_next_run_ends_like_an_undisturbed_one(interrupted: Interrupted, number: int) -> None:
    host = interrupted.lab[f"kill-{number}"]
    undisturbed = f"kill-{OPERATIONS + (number + 1) % 2}"
    assert interrupted.again[host.name].ok, interrupted.again[host.name].stderr
    assert interrupted.lab[undisturbed].family == host.family
    assert changes(interrupted, host.name) == changes(interrupted, undisturbed)
    assert interrupted.after[host.name].units == interrupted.after[undisturbed].units
    jobs = range(OLD_JOBS, OLD_JOBS + 5)
    checks = verify.check_host(host, jobs)
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []
    assert host.exec("ls /var/lib/misp-stub/inflight").stdout == ""
    third = run.apply(interrupted.lab, "--limit", host.name)
    assert third.changed == ()


def test_a_rollback_cut_in_every_operation_still_puts_everything_back(
    interrupted: Interrupted,
) -> None:
    lab = interrupted.lab
    plan = run.plan(lab, "--limit", "kill-0", deploy="rollback.py").plan
    with ThreadPoolExecutor(cuts.AT_ONCE) as pool:
        work = partial(cut_and_run_again, lab, "rollback.py")
        ends = list(pool.map(work, interrupted.killed, range(len(plan))))
    assert [operation for operation, _ in ends] == [operation.name for operation in plan]
    for host, (operation, again) in zip(interrupted.killed, ends, strict=False):
        assert again.exit_code == 0, f"{operation}: {again.stderr}"
        after = observe.snapshot(host)
        assert cuts.left_over(interrupted.before[host.name], after) == [], operation
        assert observe.old_workers_live(host), operation


def test_two_runs_at_once_do_not_meet(make_lab: LabMaker) -> None:
    lab = make_lab([HostSpec("twice", "debian-12", waiting_jobs=0)])
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run.apply, lab)
        time.sleep(2.5)
        second = pool.submit(run.apply, lab)
        outcomes = sorted([first.result().exit_code, second.result().exit_code])
        refused = first.result() if first.result().exit_code else second.result()
    assert outcomes == [0, 1]
    assert "has been at work on this host since" in refused.stderr
    assert verify.check_worker_set(lab["twice"]).ok
