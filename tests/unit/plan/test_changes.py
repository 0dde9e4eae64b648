"""What each step is said to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.host.cron import Task
from tasks.host.preview import PreviewBack
from tasks.plan import changes, forecast
from tests import hosts
from tests.fake.answers import GROUP_FILE
from tests.unit.plan.plans import changes_of, plan, words

NEW = hosts.migrating()


def test_packages_have_the_versions_that_are_offered() -> None:
    found = plan(NEW, packages={"supervisor": "4.2.5-1", "python3-x": "1"})
    assert words(changes_of(found, "Packages")) == [
        "package supervisor:  -> 4.2.5-1",
        "package python3-x:  -> 1",
    ]
    assert words(changes_of(plan(NEW), "Packages")) == [f"package supervisor:  -> {changes.NEWEST}"]


def test_libraries_are_composers_and_so_are_its_files() -> None:
    path = "/var/www/MISP/app/composer.json"
    found = words(
        changes_of(
            plan(NEW, digests={path: "d"}, libraries={"guzzlehttp/guzzle": "7.9"}), "PHP libraries"
        )
    )
    assert found[:2] == [
        "library supervisorphp/supervisor:  -> ^4.0",
        "library guzzlehttp/guzzle:  -> 7.9",
    ]
    assert f"file {path}: d -> written by Composer" in found


def test_supervisord_is_started_and_enabled_or_restarted() -> None:
    found = words(changes_of(plan(NEW), "supervisord"))
    assert "unit supervisor.service: stopped -> running" in found
    assert "unit supervisor.service at boot: not enabled -> enabled" in found
    others = [*hosts.running(), hosts.worker("web")]
    done = hosts.converged("debian", supervisor={"workers": others})
    target = hosts.target(rotate_password=True, allow_foreign_restart=True)
    found = words(changes_of(plan(done, target), "supervisord"))
    assert found == [
        "unit supervisor.service: running -> restarted, each worker when it has no job",
        "process web: running -> restarted",
    ]


def test_selinux_shows_its_module_and_what_it_changes_beside() -> None:
    loads = replace(hosts.target("rhel"), selinux="load")
    found = changes_of(plan(hosts.migrating("rhel"), loads), "SELinux")
    assert words(found)[0] == "setting SELinux module misp-workers-httpd: absent -> loaded"
    assert "+policy_module(misp-workers-httpd, 1.0)" in found[0].diff
    assert words(found)[3] == "setting httpd_can_network_connect: off -> on"
    builds = replace(hosts.target("rhel"), selinux="build")
    assert len(changes_of(plan(hosts.migrating("rhel"), builds), "SELinux")) == 1


def test_settings_have_old_and_new_values_and_no_secret() -> None:
    block = {"redis_port": "6379", "enabled": False}
    found = words(changes_of(plan(hosts.migrating(settings={"block": block})), "MISP"))
    assert 'setting SimpleBackgroundJobs.redis_port: "6379" -> 6379' in found
    assert "setting SimpleBackgroundJobs.enabled: false -> true" in found
    assert 'setting SimpleBackgroundJobs.redis_host: not set -> "127.0.0.1"' in found
    secrets = [line for line in found if "_password" in line]
    assert [line.partition(": ")[2] for line in secrets] == ["*** -> *** (another one)"] * 2
    assert "unit php-fpm.service: older settings -> reloaded" in found


def test_a_rotation_is_shown_as_another_password() -> None:
    target = hosts.target(rotate_password=True)
    found = words(changes_of(plan(hosts.converged(), target), "MISP"))
    assert found[0] == (
        "setting SimpleBackgroundJobs.supervisor_password: *** -> *** (another one)"
    )


def test_workers_are_counted_by_queue() -> None:
    found = changes_of(plan(NEW, files={"workers": [GROUP_FILE]}), "Workers")
    assert (found[0].name, found[0].diff) == (GROUP_FILE.path, GROUP_FILE.diff)
    assert "process workers update:  -> 1 running" in words(found)
    more = hosts.target(misp_workers={"cache": 7})
    found = changes_of(plan(hosts.converged(), more), "Workers")
    assert words(found) == [
        "process workers cache:  -> 7 running",
        "process workers that run: 5 cache -> ",
        "note workers that run already:  -> restarted, each when it has no job",
    ]
    assert [one.volatile for one in found] == [False, True, True]


def test_a_drain_shows_what_waits_and_what_comes_at_the_limit() -> None:
    old = {"waiting": {"prio": 3, "cache": 0}, "running": 1, "delayed": 2}
    found = changes_of(plan(hosts.migrating(old_backend=old)), "Drain")
    assert words(found) == [
        "note if old jobs are left after 1800 s:  -> both backends run on, and the host fails",
        "jobs old jobs waiting in prio: 3 -> ",
        "jobs old jobs running: 1 -> ",
        "jobs old jobs delayed: 2 -> ",
    ]
    assert [one.volatile for one in found] == [False, True, True, True]


def test_a_retirement_shows_units_files_processes_and_tasks() -> None:
    tasks = [
        Task("pull_all", 3, 24, 1, 1, due=5),
        Task("fetch_feeds", 7, 0, 1, 2, is_native=True),
    ]
    crontab = GROUP_FILE._replace(path="/etc/crontab", diff=["-bash start.sh", "+#bash start.sh"])
    found = hosts.migrating(scheduled_tasks={"left": 2})
    shown = changes_of(plan(found, files={"launchers": [crontab]}, tasks=tasks), "Retire")
    assert words(shown) == [
        "unit misp-workers.service: running -> stopped",
        "unit misp-workers.service at boot: enabled -> disabled",
        f"file /etc/crontab:  -> {'a' * 64}",
        "note old workers:  -> each ends after its job (QUIT)",
        "process PIDs of old workers: 77 (*) -> ",
        "task pull_all of user 3: the old backend -> cron or a new job, every 24 h",
        "task fetch_feeds of user 7: the old backend -> MISP's own scheduler",
    ]


def test_what_a_run_that_was_cut_off_has_left_is_volatile() -> None:
    changes: dict[str, Any] = {
        "packages": {"is_masked": True},
        "workers": {"strays": [9]},
        "new_backend": {"aside": 2},
        "old_backend": {"stale": 1},
    }
    found = plan(hosts.converged("debian", **changes))
    left = [one for step in found.steps for one in step.changes if one.kind == "note"]
    assert [one.name.split(",")[0] for one in left] == [
        "supervisor.service",
        "PID 9",
        "2 job(s) that were set aside",
        "entries of dead old workers in Redis",
    ]
    assert all(one.volatile for one in left)


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_way_back_shows_what_it_puts_back(is_kept: bool) -> None:
    selinux = {"is_loaded": False, "network": "on"}
    back = PreviewBack({"jobs": [GROUP_FILE]}, is_kept, selinux, at_boot="disabled")
    before = [hosts.OLD_UNIT]
    now = [hosts.OLD_UNIT._replace(active="inactive", enabled="disabled")]
    originals = {
        "units_before": before,
        "units_now": now,
        "daemon_before": "inactive",
        "unserved": ["prio", "_schdlr_"],
    }
    found = hosts.converged("debian", originals=originals, new_backend={"waiting": {"prio": 4}})
    shown = plan(found, deploy="rollback", files=back.files, back=back)
    off = words(changes_of(shown, "MISP"))
    assert any("config.php" in line for line in off) is is_kept
    assert "unit misp-workers.service: inactive -> active" in off
    assert "unit misp-workers.service at boot: disabled -> enabled" in off
    assert off[-2:] == [
        "process old worker of prio: none -> running",
        "process old scheduler: none -> running",
    ]
    jobs = words(changes_of(shown, "New queues"))
    assert jobs[0] == f"file {GROUP_FILE.path}:  -> {'a' * 64}"
    assert "jobs new jobs waiting in prio: 4 -> " in jobs
    rest = words(changes_of(shown, "RPC"))
    assert "setting SELinux module misp-workers-httpd: loaded -> removed" in rest
    assert "unit supervisor.service: running -> stopped" in rest
    assert "unit supervisor.service at boot: enabled -> disabled" in rest


def test_every_step_says_something() -> None:
    titles = {step.title for step in (*forecast.DEPLOY, *forecast.ROLLBACK)}
    assert set(changes._MAKERS) == titles
