"""The way back, by rollback.py or by itself after a failed proof: files byte for byte as before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from lab import misp, run, verify
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import observe, round_trip, secrecy

BACK_DEBIAN = HostSpec("back-debian", "debian-12", waiting_jobs=0)
BACK_EL = HostSpec(
    "back-el",
    "el-like",
    profile="2.4.199",
    redis="shared",
    launcher="unit-other-name",
    waiting_jobs=0,
    data={"selinux": "build"},
)
UNPROVEN = HostSpec("unproven", "debian-12", waiting_jobs=0)
SPECS = (BACK_DEBIAN, BACK_EL, UNPROVEN)
BACK = pytest.mark.parametrize("name", [BACK_DEBIAN.name, BACK_EL.name])


@dataclass
class There:
    """Three hosts before and after a deploy that one of them does not get through."""

    lab: Lab
    before: dict[str, observe.Snapshot]
    deployed: run.Run


@pytest.fixture(scope="module")
def there(lab: Lab) -> Iterator[There]:
    # Workers start and no job does, which only a worker shows.
    lab[UNPROVEN.name].exec(misp.switch("old_php", True))
    for host in lab:
        misp.install_stopped_supervisor(host)
        wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    before = {host.name: observe.snapshot(host) for host in lab}
    with secrecy.kept(lab):
        yield There(lab, before, run.apply(lab))


def differences(there: There, name: str) -> list[str]:
    """What is not as before, but for what lives on."""
    return observe.lasting(there.before[name].differences(observe.snapshot(there.lab[name])))


def test_a_host_that_cannot_be_proven_returns_by_itself(there: There) -> None:
    assert there.deployed.failed_hosts == (UNPROVEN.name,)
    assert "the host is as it was before: MISP queues to its old workers" in there.deployed.stderr
    assert differences(there, UNPROVEN.name) == []
    host = there.lab[UNPROVEN.name]
    assert host.exec("systemctl is-active misp-workers").stdout.strip() == "active"
    round_trip.check_old_backend(host, 501)


def test_after_mending_it_is_migrated(there: There) -> None:
    host = there.lab[UNPROVEN.name]
    host.exec(misp.switch("old_php", False))
    done = run.apply(there.lab, "--limit", host.name)
    assert done.ok, done.stderr
    assert verify.check_worker_set(host).ok


@BACK
def test_rollback_says_what_it_will_do_and_changes_nothing_dry(there: There, name: str) -> None:
    host = there.lab[name]
    migrated = observe.snapshot(host)
    planned = run.plan(there.lab, "--limit", name, deploy="rollback.py")
    assert planned.ok, planned.stderr
    # The one that turns the backend off has started the old workers with it.
    assert len([operation for operation in planned.plan if operation.change]) == 3
    assert migrated.differences(observe.snapshot(host)) == []


@BACK
def test_rollback_puts_everything_back_and_loses_no_job(there: There, name: str) -> None:
    host = there.lab[name]
    # With the new workers stopped these cannot be finished, so they have to move.
    host.exec("supervisorctl stop 'misp-workers:*'")
    waiting = misp.enqueue(host, 3, queues=QUEUES, first=601)
    # The jobs are where MISP has put them, whatever the inventory says by now.
    other = ("--data", "misp_redis_port=1")
    done = run.apply(there.lab, "--limit", name, *other, deploy="rollback.py")
    assert done.ok, done.stderr
    moved = verify.check_jobs(host, waiting, "jobs that waited in the new queues")
    assert moved.ok, moved.seen
    assert differences(there, name) == []
    assert not [line for line in host.exec("ls /var/lib").stdout.split() if "misp-workers" in line]
    round_trip.check_old_backend(host, 701)


@BACK
def test_a_second_rollback_changes_nothing(there: There, name: str) -> None:
    done = run.apply(there.lab, "--limit", name, deploy="rollback.py")
    assert done.exit_code == 0, done.stderr
    assert done.changed == ()
    assert "nothing to put back" in done.stderr


@BACK
def test_after_a_rollback_the_host_can_be_migrated_again(there: There, name: str) -> None:
    host = there.lab[name]
    done = run.apply(there.lab, "--limit", name)
    assert done.ok, done.stderr
    checks = [verify.check_worker_set(host), verify.check_old_service(host), verify.check_web(host)]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []


def test_without_cakeresque_rollback_is_refused(there: There) -> None:
    host = there.lab[BACK_DEBIAN.name]
    plugin = f"{host.spec.misp_root}/app/Plugin/CakeResque"
    host.exec(f"mv {plugin} /root/CakeResque")
    done = run.pyinfra(there.lab, "rollback.py", "-y", "--limit", host.name)
    host.exec(f"mv /root/CakeResque {plugin}")
    assert done.exit_code == 1
    assert "has no CakeResque any more" in done.stderr
    assert verify.check_worker_set(host).ok
