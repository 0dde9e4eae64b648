"""Old workers that no systemd unit of theirs starts: migrated, kept from coming back, and brought
back by rollback.py with every file byte for byte as it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import misp, run
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
PROGRAM = """[program:misp-resque]
command = /bin/bash /var/www/MISP/app/Console/worker/start.sh
user = www-data
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
    with secrecy.kept(lab):
        yield round_trip.live(lab)


def test_a_dry_run_names_each_launcher_and_changes_nothing(story: Story) -> None:
    assert story.planned.ok, story.planned.stderr
    for file in FILES.values():
        assert f"{file} starts the old workers" in story.planned.stderr
    assert "nothing starts the old workers at boot" in story.planned.stderr
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
    lab, host, file = story.lab, story.lab[BARE.name], f"{INCLUDES}/misp-resque.conf"
    host.put(file, PROGRAM)
    before = observe.snapshot(host)
    refused = run.apply(lab, *round_trip.CONSENT, "--limit", host.name)
    assert refused.exit_code == 1
    assert f"supervisord's program misp-resque in {file} runs the old workers" in refused.stderr
    assert before.differences(observe.snapshot(host)) == []
