"""Rarer ways to start the old workers, two of them at once, and both backends at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import observe, round_trip, secrecy
from tests.e2e.round_trip import Story

pytestmark = pytest.mark.resilience

CRONTAB = HostSpec("crontab", "debian-12", launcher="bare", waiting_jobs=0)
EL_CRONTAB = HostSpec("el-crontab", "el-like", launcher="bare", waiting_jobs=0)
TWO = HostSpec("two", "debian-12", waiting_jobs=0)
BOTH = HostSpec("both", "el-like", waiting_jobs=0)
SPECS = (CRONTAB, EL_CRONTAB, TWO, BOTH)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])

START = "/var/www/MISP/app/Console/worker/start.sh"
LINE = f"@reboot bash {START} >/dev/null 2>&1"
# Each file, and what it has to do with the old workers beside lines of somebody else's.
FILES = {
    CRONTAB.name: "/var/spool/cron/crontabs/www-data",
    # The stand-in's crond is Debian's and never reads it; cronie does.
    EL_CRONTAB.name: "/var/spool/cron/apache",
    TWO.name: "/etc/cron.d/misp",
}
STRANDED = 501  # jobs in the new lists of a host that has no new workers

# The new backend as somebody switched it on by hand, with no supervisord behind it.
SWITCH_ON = """
include $argv[1];
$config["SimpleBackgroundJobs"] = json_decode($argv[2], true);
file_put_contents($argv[1], "<?php\\n\\$config = " . var_export($config, true) . ";\\n");
"""
BLOCK = {
    "enabled": True,
    "redis_host": "127.0.0.1",
    "redis_port": 6379,
    "redis_database": 1,
    "redis_password": "",
    "redis_namespace": "background_jobs",
    "max_job_history_ttl": 86400,
    "supervisor_host": "localhost",
    "supervisor_port": 9001,
    "supervisor_user": "supervisor",
    "supervisor_password": "",
}


def switch_on(host: LabHost) -> None:
    config = f"{host.spec.misp_root}/app/Config/config.php"
    block = json.dumps(BLOCK)
    host.exec(["php", "-r", SWITCH_ON, "--", config, block], user=host.spec.web_user)
    misp.reload_php(host)
    misp.enqueue(host, 1, first=STRANDED)


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    for host in lab:
        misp.install_stopped_supervisor(host)
    lab[CRONTAB.name].exec("crontab -u www-data -", input=f"# mine\n5 4 * * * true\n{LINE}\n")
    spool = FILES[EL_CRONTAB.name]
    lab[EL_CRONTAB.name].exec(f"install -m 0600 -o apache /dev/stdin {spool}", input=f"{LINE}\n")
    lab[TWO.name].put(FILES[TWO.name], LINE.replace("@reboot", "@reboot www-data") + "\n")
    switch_on(lab[BOTH.name])
    with secrecy.kept(lab):
        yield round_trip.live(lab)


def test_a_dry_run_names_each_launcher_and_changes_nothing(story: Story) -> None:
    assert story.planned.ok, story.planned.stderr
    for file in FILES.values():
        assert f"{file} starts the old workers" in story.planned.stderr
    for name, seen in story.looked_at.items():
        found = story.before[name].differences(seen)
        # MISP itself logs that it was asked for workers of a supervisord that is not there.
        assert [line for line in found if "/app/tmp/logs/error.log" not in line] == []


@HOSTS
def test_it_is_migrated_and_no_job_is_lost(story: Story, name: str) -> None:
    round_trip.check_migrated(story, name)


@HOSTS
def test_a_second_run_changes_nothing(story: Story, name: str) -> None:
    assert [one.name for one in story.second.changed if name in one.success] == []


@pytest.mark.parametrize("name", list(FILES))
def test_only_what_starts_the_workers_is_out_of_use(story: Story, name: str) -> None:
    text = story.lab[name].read(FILES[name])
    lines = [line for line in text.splitlines() if "start.sh" in line]
    assert lines
    assert [line for line in lines if not line.startswith(round_trip.MARK)] == []
    if name == CRONTAB.name:
        assert "\n5 4 * * * true\n" in text
        owner = story.lab[name].exec(["stat", "-c", "%U:%G %a", FILES[name]]).stdout.strip()
        assert owner == "www-data:crontab 600"


def test_jobs_that_nobody_would_have_done_are_done(story: Story) -> None:
    host = story.lab[BOTH.name]
    numbers = range(STRANDED, STRANDED + len(QUEUES))
    runs = [entry for entry in misp.ledger(host) if entry.get("number") in numbers]
    assert sorted(entry["number"] for entry in runs) == list(numbers)
    assert {entry["backend"] for entry in runs} == {"simple"}


@HOSTS
def test_a_restart_of_the_host_does_not_bring_them_back(story: Story, name: str) -> None:
    round_trip.check_restart(story.lab[name])


def test_an_old_unit_that_was_started_again_is_retired_again(story: Story) -> None:
    host = story.lab[TWO.name]
    host.exec("systemctl enable --now --quiet misp-workers")
    wait_for(partial(observe.old_workers_live, host), 20, "both backends at once")
    done = run.apply(story.lab, "--limit", host.name).check()
    assert [one.name.partition(":")[0] for one in done.changed] == ["Drain", "Retire"]
    assert observe.faults(host) == []


def test_rollback_brings_all_of_them_back(story: Story) -> None:
    round_trip.check_rollback(story.lab)


@HOSTS
def test_after_a_rollback_everything_is_as_before(story: Story, name: str) -> None:
    if name != BOTH.name:
        round_trip.check_as_before(story, name)
        return
    # What somebody had switched on by hand is switched off: without workers it lost every job.
    host = story.lab[name]
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    config = f"{host.spec.misp_root}/app/Config/config.php"
    different = [line for line in round_trip.differences(story, name) if config not in line]
    assert different == []
    round_trip.check_old_backend(host, 701)
