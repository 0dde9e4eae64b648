"""What else runs on the machine is left alone: containers' processes, another MISP's workers under
a supervisord of its own, and programs that somebody put under this one later.
"""

from __future__ import annotations

import shlex
import time

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import observe

HOST = HostSpec("shared", "debian-12", waiting_jobs=0)
SPECS = (HOST,)
WAITING = 801

# Each in a PID namespace of its own, as in a container, but for the last.
NEIGHBOURS = {
    "web tier": "cp /bin/sleep /usr/local/bin/php-fpm-other; {inside} php-fpm-other 100001",
    "old worker": "cd {root} && {inside} php -r 'sleep(100002);' -- bin/resque",
    "job": "cd {root} && {inside} env BACKGROUND_JOB_ID=1 sleep 100003",
    "worker": "{inside} env SUPERVISOR_GROUP_NAME=misp-workers sleep 100004",
    "worker of another supervisord": (
        "{as_web_user} env SUPERVISOR_GROUP_NAME=misp-workers sleep 100005; true"
    ),
}
BYSTANDER = "[program:bystander]\ncommand = /bin/sleep 100006\n"


def start(host: LabHost, command: str) -> None:
    as_web_user = f"setpriv --reuid {host.spec.web_user} --clear-groups"
    inside = f"unshare --fork --pid {as_web_user}"
    line = command.format(inside=inside, as_web_user=as_web_user, root=host.spec.misp_root)
    host.exec(f"setsid sh -c {shlex.quote(line)} >/dev/null 2>&1 </dev/null &")


def living(host: LabHost) -> set[str]:
    """The neighbours' own numbers."""
    listed = host.exec(["ps", "-eo", "args"]).stdout
    return {number for number in map(str, range(100001, 100006)) if number in listed}


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    for command in NEIGHBOURS.values():
        start(lab[HOST.name], command)
    return lab[HOST.name]


def test_a_migration_leaves_them_alone(lab: Lab, host: LabHost) -> None:
    before = living(host)
    assert len(before) == len(NEIGHBOURS)
    run.apply(lab).check()
    assert living(host) == before
    # The lab counts by the command line: the neighbour's shell, unshare and PHP.
    faults = [found for found in observe.faults(host) if not found.endswith(" 3 processes")]
    assert faults == []


def test_they_are_no_reason_to_change_anything(lab: Lab, host: LabHost) -> None:
    assert run.apply(lab).check().changed == ()
    assert len(living(host)) == len(NEIGHBOURS)


def test_a_rollback_leaves_a_program_running_that_came_later(lab: Lab, host: LabHost) -> None:
    host.put("/etc/supervisor/conf.d/bystander.conf", BYSTANDER)
    host.exec("supervisorctl update bystander && supervisorctl stop 'misp-workers:*'")
    pid = host.exec(["supervisorctl", "pid", "bystander"]).stdout
    numbers = misp.enqueue(host, 2, first=WAITING)
    began = time.monotonic()
    done = run.apply(lab, deploy="rollback.py").check()
    assert time.monotonic() - began < 60  # no use to wait for workers that do not run
    assert "supervisor goes on, since it also runs bystander" in done.stderr
    assert host.exec(["supervisorctl", "pid", "bystander"]).stdout == pid
    assert observe.old_workers_live(host)
    assert len(living(host)) == len(NEIGHBOURS)
    check = verify.check_jobs(host, numbers, "jobs that no new worker did")
    assert check.ok, check.seen
    assert {e["backend"] for e in misp.ledger(host) if e.get("number") in numbers} == {"resque"}
