"""Old workers that no systemd unit of theirs starts: migrated, kept from coming back, and brought
back by rollback.py with every file byte for byte as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

RC_LOCAL = HostSpec("rc-local", "debian-12", launcher="rc-local", waiting_jobs=0)
CRON = HostSpec(
    "cron", "el-like", profile="2.4.199", redis="shared", launcher="cron-reboot", waiting_jobs=0
)
PROGRAM = HostSpec("program", "debian-12", launcher="supervisord-program", waiting_jobs=0)
BARE = HostSpec("bare", "debian-12", profile="2.4.199", launcher="bare", waiting_jobs=0)
SPECS = (RC_LOCAL, CRON, PROGRAM, BARE)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])

FILES = {
    RC_LOCAL.name: "/etc/rc.local",
    CRON.name: "/etc/cron.d/misp-workers",
    PROGRAM.name: "/etc/supervisor/conf.d/misp-resque.conf",
}
BYSTANDER = "\n[program:bystander]\ncommand = /bin/sleep 100000\n"
LONG_JOB = 401


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


def on_each(lab: Lab, look: Callable[[LabHost], observe.Snapshot]) -> dict[str, observe.Snapshot]:
    """The same look at every host, at the same time."""
    hosts = list(lab)
    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip([host.name for host in hosts], pool.map(look, hosts), strict=True))


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    for host in lab:
        if host.name != PROGRAM.name:
            misp.install_stopped_supervisor(host)
    # A line and a program of somebody else's in the same file, a comment, no newline at the end.
    lab[RC_LOCAL.name].exec("printf 'touch /run/rc-local-ran # the last' >>/etc/rc.local")
    lab[RC_LOCAL.name].exec("sed -i '/^exit 0/d' /etc/rc.local")
    lab[CRON.name].exec(f"chown apache {FILES[CRON.name]} && chmod 640 {FILES[CRON.name]}")
    lab[PROGRAM.name].exec(f"cat >>{FILES[PROGRAM.name]}", input=BYSTANDER)
    lab[PROGRAM.name].exec("supervisorctl update bystander")
    for host in lab:
        wait_for(partial(observe.old_workers_live, host), 20, f"the old workers of {host.name}")
    before = on_each(lab, observe.snapshot)
    planned = run.plan(lab, "--data", "allow_foreign_restart=true")
    looked_at = on_each(lab, observe.snapshot)
    jobs = {host.name: misp.enqueue(host, 3, first=101, seconds=0.5) for host in lab}
    for host in lab:  # it runs when supervisord is restarted, and when the drain begins
        jobs[host.name] += misp.enqueue(host, 1, queues=("prio",), first=LONG_JOB, seconds=20)
    first = run.apply(lab, "--data", "allow_foreign_restart=true")
    second = run.apply(lab)
    return Story(lab, before, jobs, planned, looked_at, first, second)


def differences(story: Story, name: str) -> list[str]:
    """What is not as before, but for what lives on, as in test_rollback."""
    before, after = (
        replace(seen, units="\n".join(line for line in seen.units.splitlines() if counts(line)))
        for seen in (story.before[name], observe.snapshot(story.lab[name]))
    )
    alive = ("resque:", "/app/tmp/", "rpmdb", "/var/lib/dnf", "/cakeresque/tmp")
    found = before.differences(after)
    return [line for line in found if not any(word in line.lower() for word in alive)]


def counts(unit: str) -> bool:
    """Whether a unit's state should be as before: the host was restarted, and rc.local's workers
    now live outside its unit, as all its other lines would run again with them.
    """
    return not unit.startswith(("rc-local.service active", "selinux-autorelabel-mark.service act"))


def test_a_dry_run_names_each_launcher_and_changes_nothing(story: Story) -> None:
    assert story.planned.ok, story.planned.stderr
    for file in FILES.values():
        assert f"{file} starts the old workers" in story.planned.stderr
    assert "waits until their running jobs have ended" in story.planned.stderr
    assert "nothing starts the old workers at boot" in story.planned.stderr
    for name, seen in story.looked_at.items():
        assert story.before[name].differences(seen) == []


@HOSTS
def test_it_is_migrated_and_no_job_is_lost(story: Story, name: str) -> None:
    host = story.lab[name]
    assert story.first.ok, story.first.stderr
    assert observe.faults(host) == []
    old = verify.check_jobs(host, story.jobs[name], "jobs of before the migration")
    assert old.ok, old.seen


def test_only_what_starts_the_workers_is_out_of_use(story: Story) -> None:
    mark = "#misp-workers-migration# "
    assert f"\n: {mark}su -s /bin/bash" in story.lab[RC_LOCAL.name].read(FILES[RC_LOCAL.name])
    assert f"\n{mark}@reboot" in story.lab[CRON.name].read(FILES[CRON.name])
    program = story.lab[PROGRAM.name].read(FILES[PROGRAM.name])
    assert f"\n{mark}[program:misp-resque]" in program
    assert program.endswith(BYSTANDER)
    status = story.lab[PROGRAM.name].exec("supervisorctl status", check=False).stdout
    assert "misp-resque" not in status
    assert "bystander" in status
    owner = story.lab[CRON.name].exec(["stat", "-c", "%U %a", FILES[CRON.name]]).stdout.split()
    assert owner == ["apache", "640"]


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.second.ok, story.second.stderr
    assert story.second.changed == ()


@pytest.mark.parametrize("name", [RC_LOCAL.name, CRON.name, PROGRAM.name])
def test_a_restart_of_the_host_does_not_bring_them_back(story: Story, name: str) -> None:
    host = story.lab[name]
    host.exec("rm -f /run/rc-local-ran")
    host.restart()
    wait_for(lambda: verify.check_worker_set(host).ok, 60, "the new workers")
    if name == RC_LOCAL.name:  # its other lines still run
        wait_for(lambda: host.exec("ls /run/rc-local-ran", check=False).exit_code == 0, 20, "it")
    assert observe.old_processes(host) == []
    assert observe.faults(host) == []


def test_rollback_brings_all_of_them_back(story: Story) -> None:
    planned = run.plan(story.lab, deploy="rollback.py")
    assert planned.ok, planned.stderr
    done = run.apply(story.lab, deploy="rollback.py")
    assert done.ok, done.stderr
    again = run.apply(story.lab, deploy="rollback.py")
    assert again.exit_code == 0, again.stderr
    assert again.changed == ()


@HOSTS
def test_after_a_rollback_everything_is_as_before(story: Story, name: str) -> None:
    host = story.lab[name]
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    assert differences(story, name) == []
    assert not [line for line in host.exec("ls /var/lib").stdout.split() if "misp-workers" in line]
    numbers = misp.enqueue(host, 1, first=701)
    check = verify.check_jobs(host, numbers, "jobs for the old workers")
    assert check.ok, check.seen
    assert {e["backend"] for e in misp.ledger(host) if e.get("number") in numbers} == {"resque"}
