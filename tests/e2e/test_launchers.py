"""Old workers that no systemd unit of theirs starts: migrated, kept from coming back, and brought
back by rollback.py with every file byte for byte as it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe, round_trip, secrecy
from tests.e2e.round_trip import Story

RC_LOCAL = HostSpec("rc-local", "debian-12", launcher="rc-local", waiting_jobs=0)
CRON = HostSpec(
    "cron", "el-like", profile="2.4.199", redis="shared", launcher="cron-reboot", waiting_jobs=0
)
BARE = HostSpec("bare", "debian-12", profile="2.4.199", launcher="bare", waiting_jobs=0)
SPECS = (RC_LOCAL, CRON, BARE)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])

FILES = {
    RC_LOCAL.name: "/etc/rc.local",
    CRON.name: "/etc/cron.d/misp-workers",
}
INCLUDES = "/etc/supervisor/conf.d"
BYSTANDER = "[program:bystander]\ncommand = /bin/sleep 100000\n"
# The name and the file of the new workers' own group.
PROGRAM = """[program:misp-workers]
command = /bin/bash /var/www/MISP/app/Console/worker/start.sh
directory = /var/www/MISP/app
user = www-data
startsecs = 0
autorestart = false
"""
# What would bring them back within a minute, by a script.
WRAPPER = "/usr/local/bin/misp-start"
WRAPPED = """#!/bin/bash
MISP=/var/www/MISP
su -s /bin/bash apache -c "$MISP/app/Console/worker/start.sh"
"""
WATCH = "/etc/cron.d/misp-watch"
WATCHES = f"* * * * * root pgrep -u apache -f bin/resque >/dev/null || {WRAPPER}\n"
INIT = "old-misp"  # a script of SysV's init; rc.local starts workers, too
INIT_SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides:          old-misp
# Required-Start:    $remote_fs
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:
### END INIT INFO
[ "$1" != start ] || su -s /bin/bash www-data -c /var/www/MISP/app/Console/worker/start.sh
"""


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    misp.install_stopped_supervisor(lab[RC_LOCAL.name])
    misp.install_stopped_supervisor(lab[CRON.name])
    misp.install_supervisor(lab[BARE.name])
    lab[BARE.name].put(f"{INCLUDES}/bystander.conf", BYSTANDER)
    lab[BARE.name].exec("supervisorctl update bystander")
    # A line of somebody else's in the same file, a comment, no newline at the end.
    lab[RC_LOCAL.name].exec("printf 'touch /run/rc-local-ran # the last' >>/etc/rc.local")
    lab[RC_LOCAL.name].exec("sed -i '/^exit 0/d' /etc/rc.local")
    lab[CRON.name].exec(f"chown apache {FILES[CRON.name]} && chmod 640 {FILES[CRON.name]}")
    lab[CRON.name].put(WRAPPER, WRAPPED)
    lab[CRON.name].exec(f"chmod 755 {WRAPPER}")
    lab[CRON.name].put(WATCH, WATCHES)
    lab[RC_LOCAL.name].put(f"/etc/init.d/{INIT}", INIT_SCRIPT)
    lab[RC_LOCAL.name].exec(f"chmod 755 /etc/init.d/{INIT} && update-rc.d {INIT} defaults")
    lab[RC_LOCAL.name].exec(f"systemctl daemon-reload && systemctl start {INIT}")
    with secrecy.kept(lab):
        yield round_trip.live(lab)


def test_a_dry_run_names_each_launcher_and_changes_nothing(story: Story) -> None:
    assert story.planned.ok, story.planned.stderr
    for file in FILES.values():
        assert f"{file} starts the old workers" in story.planned.stderr
    assert f"{WATCH} starts the old workers, by {WRAPPER}" in story.planned.stderr
    assert story.planned.stderr.count("nothing starts the old workers at boot") == 1
    for name, seen in story.looked_at.items():
        assert story.before[name].differences(seen) == []


@HOSTS
def test_it_is_migrated_and_no_job_is_lost(story: Story, name: str) -> None:
    round_trip.check_migrated(story, name)


def test_only_what_starts_the_workers_is_out_of_use(story: Story) -> None:
    mark = round_trip.MARK
    assert f"\n: {mark}su -s /bin/bash" in story.lab[RC_LOCAL.name].read(FILES[RC_LOCAL.name])
    assert f"\n{mark}@reboot" in story.lab[CRON.name].read(FILES[CRON.name])
    owner = story.lab[CRON.name].exec(["stat", "-c", "%U %a", FILES[CRON.name]]).stdout.split()
    assert owner == ["apache", "640"]
    assert story.lab[CRON.name].read(WATCH) == mark + WATCHES
    assert story.lab[CRON.name].read(WRAPPER) == WRAPPED
    enabled = story.lab[RC_LOCAL.name].exec(f"systemctl is-enabled {INIT}", check=False)
    assert enabled.stdout.strip() == "disabled"


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.second.ok, story.second.stderr
    assert story.second.changed == ()


@HOSTS
def test_a_restart_of_the_host_does_not_bring_them_back(story: Story, name: str) -> None:
    host = story.lab[name]
    host.exec("rm -f /run/rc-local-ran")
    round_trip.check_restart(host)
    if name == RC_LOCAL.name:  # its other lines still run
        wait_for(lambda: host.exec("ls /run/rc-local-ran", check=False).exit_code == 0, 20, "it")


def test_a_rollback_restarts_a_bystander_only_with_consent(story: Story) -> None:
    lab = story.lab
    refused = run.apply(lab, "--limit", BARE.name, deploy="rollback.py")
    assert refused.exit_code == 1
    assert "supervisord also runs bystander, and a restart to take its RPC back" in refused.stderr
    assert observe.faults(lab[BARE.name]) == []


def test_rollback_brings_all_of_them_back(story: Story) -> None:
    round_trip.check_rollback(story.lab)


@HOSTS
def test_after_a_rollback_everything_is_as_before(story: Story, name: str) -> None:
    round_trip.check_as_before(story, name)


def test_old_workers_that_are_a_program_of_supervisords_are_refused(story: Story) -> None:
    lab, host, file = story.lab, story.lab[BARE.name], f"{INCLUDES}/misp-workers.conf"
    host.put(file, PROGRAM)
    host.exec("systemctl start supervisor && supervisorctl update")
    wait_for(lambda: _has_ended(host), 30, "the program, which leaves the old workers")
    before = observe.snapshot(host)
    refused = run.apply(lab, *round_trip.CONSENT, "--limit", host.name)
    assert refused.exit_code == 1
    assert f"1. supervisord's program misp-workers in {file} runs the old" in refused.stderr
    assert " 2. " not in refused.stderr
    assert before.differences(observe.snapshot(host)) == []


def test_what_that_sentence_says_is_enough(story: Story) -> None:
    lab, host = story.lab, story.lab[BARE.name]
    host.exec(f"rm {INCLUDES}/misp-workers.conf && supervisorctl update")
    start = "bash /var/www/MISP/app/Console/worker/start.sh"
    host.exec(["su", "-s", "/bin/bash", "www-data", "-c", start])
    wait_for(lambda: not _in_supervisord(host), 30, "the workers of the program to end")
    assert run.plan(lab, *round_trip.CONSENT, "--limit", host.name).ok


def _has_ended(host: LabHost) -> bool:
    return "EXITED" in host.exec("supervisorctl status", check=False).stdout


def _in_supervisord(host: LabHost) -> bool:
    listed = host.exec("systemctl status --no-pager supervisor", check=False).stdout
    return "bin/resque" in listed
