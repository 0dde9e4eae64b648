"""A new supervisor password, under running jobs: in supervisord and in MISP, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import observe, secrecy

DEBIAN = HostSpec("rotate-debian", "debian-12", waiting_jobs=0)
EL = HostSpec("rotate-el", "el-like", profile="2.4.199", redis="shared", waiting_jobs=0)
SPECS = (DEBIAN, EL)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])
ROTATE = ("--data", "rotate_password=true")
LONG_JOBS = 501
KINDS = {  # of the operations that a rotation takes
    "supervisord: running, RPC on the loopback only",
    "MISP: settings, and the web tier has read them",
}


@dataclass
class Rotation:
    lab: Lab
    before: dict[str, str]
    planned: run.Run
    done: run.Run
    after: dict[str, str]


@pytest.fixture(scope="module")
def rotation(lab: Lab) -> Rotation:
    run.apply(lab).check()
    before = {host.name: observe.supervisor_password(host) for host in lab}
    planned = run.plan(lab, *ROTATE)
    for host in lab:
        misp.enqueue(host, 1, first=LONG_JOBS, seconds=12)
    with secrecy.kept(lab) as watches:
        done = run.apply(lab, *ROTATE, "-vvv", "--debug").check()
    after = {host.name: observe.supervisor_password(host) for host in lab}
    # So neither the old nor the new one was shown.
    for name, watch in watches.items():
        assert {before[name], after[name]} <= watch.passwords
    return Rotation(lab, before, planned, done, after)


def answer_to(host: LabHost, password: str) -> str:
    """The HTTP status of supervisord's RPC for a password, which comes by standard input."""
    script = 'IFS= read -r p; printf "user = supervisor:%s\\n" "$p" | curl -s -K - -o /dev/null '
    script += "-w '%{http_code}' http://127.0.0.1:9001/RPC2"
    return host.exec(["sh", "-c", script], input=password + "\n").stdout


@HOSTS
def test_the_dry_run_says_what_a_rotation_changes(rotation: Rotation, name: str) -> None:
    predicted = {one.name for one in rotation.planned.plan if name in one.change}
    changed = {one.name for one in rotation.done.operations if name in one.success}
    assert predicted == changed == KINDS


@HOSTS
def test_supervisord_takes_the_new_password_and_no_longer_the_old_one(
    rotation: Rotation, name: str
) -> None:
    host = rotation.lab[name]
    assert rotation.before[name] != rotation.after[name]
    assert len(rotation.after[name]) == 48
    assert answer_to(host, rotation.before[name]) == "401"
    assert answer_to(host, rotation.after[name]) not in ("401", "000")
    checks = [verify.check_worker_set(host), verify.check_web(host)]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []


@HOSTS
def test_no_running_job_is_cut(rotation: Rotation, name: str) -> None:
    host = rotation.lab[name]
    check = verify.check_jobs(host, range(LONG_JOBS, LONG_JOBS + 5), "long jobs")
    assert check.ok, check.seen
    assert host.exec("ls /var/lib/misp-stub/inflight").stdout == ""


def test_after_that_nothing_changes(rotation: Rotation) -> None:
    assert run.apply(rotation.lab).check().changed == ()
