"""Hosts at which somebody was at work before: the guide followed to its end or half-way, a
namespace never set, a web tier started by hand, a stranger among the old workers.
"""

from __future__ import annotations

from functools import partial

import pytest

from lab import misp, run, verify
from lab.bench import peers
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe, round_trip

DONE_DEBIAN = HostSpec("done-debian", "debian-12", waiting_jobs=0)
DONE_EL = HostSpec("done-el", "el-like", profile="2.4.199", waiting_jobs=0)
NAMELESS = HostSpec("nameless", "debian-12", waiting_jobs=0)
HALF = HostSpec("half", "debian-12", waiting_jobs=0)
UNIT_LESS = HostSpec("unit-less", "debian-12", waiting_jobs=0)
STRANGER = HostSpec("stranger", "debian-12", waiting_jobs=0)
SPECS = (DONE_DEBIAN, DONE_EL, NAMELESS, HALF, UNIT_LESS, STRANGER)
BY_THE_GUIDE = pytest.mark.parametrize("name", [DONE_DEBIAN.name, DONE_EL.name])

RESTARTS_SUPERVISOR = 'sudo systemctl restart "$supervisor_unit"'
SETS_MISP_UP = "# MISP Config"


def follow_the_guide(host: LabHost, until: str = "") -> None:
    """Run the guide's commands, all of them or those before a line."""
    script = peers.guide(host, misp.php_unit(host))
    if until:
        before, found, _ = script.partition(until)
        assert found
        script = f"{before}\n}}\nmain </dev/null\n"
    host.exec(["sh", "-s"], input=script, timeout=300)


def deployed(lab: Lab, host: LabHost) -> run.Run:
    """A deploy of this host alone, which must end well and do what a dry run has said."""
    planned = run.plan(lab, "--limit", host.name).check()
    done = run.apply(lab, "--limit", host.name).check()
    said = {one.name for one in planned.plan if one.change | one.conditional}
    assert {one.name for one in done.changed} == said
    return done


def check_migrated(host: LabHost) -> None:
    found = verify.check_host(host, [])
    assert [f"{check.name}: {check.seen}" for check in found if not check.ok] == []


@BY_THE_GUIDE
def test_a_host_migrated_by_the_guide_is_brought_to_the_deploys_state(lab: Lab, name: str) -> None:
    host = lab[name]
    follow_the_guide(host)
    password = observe.supervisor_password(host)
    numbers = misp.enqueue(host, 4, first=7001)
    done = deployed(lab, host)
    check_migrated(host)
    assert verify.check_jobs(host, numbers, "jobs from before").ok
    assert observe.supervisor_password(host) == password
    assert "Workers: the group" in " ".join(one.name for one in done.changed)
    assert deployed(lab, host).changed == ()


@BY_THE_GUIDE
def test_it_has_no_old_workers_to_go_back_to(lab: Lab, name: str) -> None:
    host = lab[name]
    before = observe.snapshot(host)
    back = run.pyinfra(lab, "rollback.py", "-y", "--limit", name)
    assert back.exit_code == 1
    assert "there is nothing to go back to and all stays as it is" in back.stderr
    assert observe.lasting(before.differences(observe.snapshot(host))) == []
    check_migrated(host)


def test_a_misp_without_a_namespace_is_refused_and_follows_with_one(lab: Lab) -> None:
    host = lab[NAMELESS.name]
    follow_the_guide(host)
    config = f"{host.spec.misp_root}/app/Config/config.php"
    host.exec(["sed", "-i", "/redis_namespace/d", config], user=host.spec.web_user)
    assert "redis_namespace" not in host.read(config)
    misp.reload_php(host)
    host.exec(["supervisorctl", "restart", "misp-workers:*"])
    before = observe.snapshot(host)
    refused = run.pyinfra(lab, "deploy.py", "-y", "--limit", host.name)
    assert refused.exit_code == 1
    assert "uses the new backend without SimpleBackgroundJobs.redis_namespace" in refused.stderr
    assert observe.lasting(before.differences(observe.snapshot(host))) == []
    # As the sentence says, while no job waits.
    cake = [f"{host.spec.misp_root}/app/Console/cake", "Admin", "setSetting"]
    setting = ["SimpleBackgroundJobs.redis_namespace", "background_jobs"]
    host.exec([*cake, *setting], user=host.spec.web_user)
    host.exec(["supervisorctl", "restart", "misp-workers:*"])
    deployed(lab, host)
    check_migrated(host)


def test_a_host_half_way_through_the_guide_is_migrated_and_goes_back(lab: Lab) -> None:
    host = lab[HALF.name]
    misp.install_supervisor(host)
    follow_the_guide(host, until=SETS_MISP_UP)
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    group = host.read("/etc/supervisor/conf.d/misp-workers.conf")
    deployed(lab, host)
    check_migrated(host)
    # With `enabled` not set yet the hand-made group would have crashed again and again.
    log = host.read("/var/log/supervisor/supervisord.log")
    assert "not expected" not in log
    assert deployed(lab, host).changed == ()
    back = run.pyinfra(lab, "rollback.py", "-y", "--limit", host.name).check()
    assert "the worker group from before the migration is in" in back.stderr
    assert host.read("/etc/supervisor/conf.d/misp-workers.conf.before-migration") == group
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    round_trip.check_old_backend(host, 7201)
    assert verify.workers(host) == []


def test_a_web_tier_that_no_unit_has_started_reads_the_new_settings(lab: Lab) -> None:
    host = lab[UNIT_LESS.name]
    unit = misp.php_unit(host)
    host.exec(["systemctl", "stop", unit])
    # As from somebody's shell: outside of every service.
    host.exec(
        ["systemd-run", "--quiet", "--scope", "--unit", "by-hand", "php-fpm8.2", "--daemonize"]
    )
    assert unit not in host.exec("cat /proc/$(pgrep -o php-fpm)/cgroup").stdout
    assert verify.get_json(host, "/servers/getWorkers")
    deployed(lab, host)
    check_migrated(host)
    # And one whose unit knows no reload; the new password shows what it has read.
    host.exec(["systemctl", "stop", "by-hand.scope"])
    host.exec(["systemd-run", "--quiet", "--unit", "no-reload", "php-fpm8.2", "--nodaemonize"])
    wait_for(lambda: int(host.exec("pgrep -c php-fpm", check=False).stdout) > 1, 20, "PHP-FPM")
    master = host.exec("pgrep -o php-fpm").stdout
    run.apply(lab, "--limit", host.name, "--data", "rotate_password=true").check()
    check_migrated(host)
    assert host.exec("pgrep -o php-fpm").stdout == master


def test_php_under_supervisord_reads_new_settings_and_nothing_restarts(lab: Lab) -> None:
    host = lab[UNIT_LESS.name]
    host.exec(["systemctl", "stop", "no-reload"])
    program = "[program:php]\ncommand=php-fpm8.2 --nodaemonize\n"
    host.put("/etc/supervisor/conf.d/php.conf", program)
    host.exec(["supervisorctl", "update", "php"])
    runs = "supervisorctl status php | grep -q RUNNING"
    wait_for(lambda: host.exec(runs, check=False).exit_code == 0, 20, "PHP-FPM")
    pids = "supervisorctl status | awk '{ print $1, $4 }'"
    before, children = host.exec(pids).stdout, host.exec("pgrep php-fpm").stdout.split()
    run.apply(lab, "--limit", host.name, "--data", "misp_max_job_history_ttl=90000").check()
    assert host.exec(pids).stdout == before
    now = host.exec("pgrep php-fpm").stdout.split()
    assert set(now) & set(children) == {children[0]}  # the master
    check_migrated(host)


def test_what_else_runs_in_the_old_workers_unit_keeps_them(lab: Lab) -> None:
    host = lab[STRANGER.name]
    unit = misp.OLD_UNITS[host.spec.launcher]
    start = f"{host.spec.misp_root}/app/Console/worker/start.sh"
    more = f"ExecStart=\nExecStart=/bin/bash -c 'php -r \"sleep(900);\" & exec {start}'"
    host.exec(f"mkdir -p /etc/systemd/system/{unit}.d")
    host.put(f"/etc/systemd/system/{unit}.d/more.conf", f"[Service]\n{more}\n")
    host.exec(f"systemctl daemon-reload && systemctl restart {unit}")
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    done = run.apply(lab, "--limit", host.name)
    assert done.exit_code == 1
    assert "also runs PHP processes that are no workers" in done.stderr
    assert observe.old_workers_live(host)
    host.exec(f"rm /etc/systemd/system/{unit}.d/more.conf && systemctl daemon-reload")
    host.exec("pkill -f '[s]leep.900'")
    deployed(lab, host)
    check_migrated(host)
