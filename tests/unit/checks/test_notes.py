"""What is said of a host that is migrated all the same."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.checks import notes
from tasks.checks.seen import SeenToMigrate
from tasks.host import parts
from tasks.identity import with_answers
from tests import hosts
from tests.hosts import Parts, converged, migrating

CHANGES = dict[str, dict[str, Any]]
WILL_STOP = "As it is, this run will stop"
BUSY = hosts.pool(at="/run/busy", error="no answer within 10 s", may_be_fit=True)


def noted(found: Parts, **data: Any) -> list[str]:
    seen = hosts.seen(SeenToMigrate, found)
    return list(notes.of(with_answers(hosts.target(**data), seen), seen))


def test_a_good_host_needs_no_note() -> None:
    assert noted(migrating()) == []
    assert noted(converged()) == []


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"system": {"memory_kb": 500_000}}, "has 488 MiB of memory free, but 21 more workers"),
        ({"tree": {"config_mode": 0o644}}, "every user can read config.php, which holds passwords"),
        (
            {"tree": {"config_mode": 0o644}},
            "(mode 644): run `setsid -w runuser -u www-data -- chmod",
        ),
        ({"new_backend": {"eviction": "allkeys-lru"}}, "(maxmemory-policy is allkeys-lru)"),
        ({"settings": {"is_in_database": True}}, "keeps its settings in the database"),
        (
            {"supervisor": {"inet_file": "/etc/s.conf"}},
            "uses the [inet_http_server] in /etc/s.conf as it is",
        ),
        (
            {"supervisor": {"lost_folders": ["/var/log/supervisor"]}},
            "supervisord cannot start without /var/log/supervisor, so the deploy makes",
        ),
        ({"web": {"users": []}}, "no PHP process serves the web"),
        (
            {"old_workers": {"units": [], "launchers": [parts.Launcher("/etc/rc.local", "")]}},
            "/etc/rc.local starts the old workers",
        ),
        ({"old_workers": {"units": []}}, "nothing starts the old workers at boot"),
        (
            {
                "old_workers": {
                    "units": [],
                    "launchers": [parts.Launcher("/etc/cron.d/misp", "", "/usr/local/bin/x")],
                }
            },
            "/etc/cron.d/misp starts the old workers, by /usr/local/bin/x: the deploy comments",
        ),
        (
            {"old_workers": {"variables": {"misp-workers.service": "HTTP_PROXY, A"}}},
            "misp-workers.service sets variables for the old workers (HTTP_PROXY, A). MISP starts",
        ),
        (
            {"old_workers": {"indirect": {"boot.service": "/usr/local/bin/x"}}},
            "boot.service starts the old workers, by /usr/local/bin/x: the deploy stops and disabl",
        ),
        (
            {
                "old_workers": {
                    "units": [],
                    "origins": [parts.Origin("cron.service", "", "", "", "")],
                }
            },
            "old workers were started in cron.service, by nothing that this deploy reads",
        ),
        ({"old_backend": {"waiting": {"prio": 2}}}, "the old backend has 2 waiting in prio"),
        (
            {"old_backend": {"error": "gone"}, "old_workers": {"processes": []}},
            "has a Redis that cannot be asked: gone",
        ),
        (
            {"web": {"pools": [hosts.pool(version=(7, 4, 33)), hosts.pool(version=(8, 1, 2))]}},
            "jobs run by PHP 8.2 and the web by PHP-FPM 7.4, 8.1: Composer chooses",
        ),
        (
            {"web": {"pools": [hosts.pool(error="no word"), BUSY]}},
            "nobody knows whether PHP-FPM at /run/busy may do what MISP does in it (no answer "
            "within 10 s): if it is busy run again later, or set misp_url and misp_api_key",
        ),
        (
            {"new_backend": {"refused": ("SCAN", "INFO"), "eviction": ""}},
            "Redis refuses SCAN, INFO to MISP's user, so something else may have keys in the new "
            "queues' namespace, Redis may drop jobs when its memory is full. Allow these",
        ),
    ],
)
def test_one_thing_to_know_is_one_note(changes: CHANGES, note: str) -> None:
    (said,) = noted(migrating(**changes))
    assert note in said


def test_a_busy_php_fpm_beside_one_that_answers_is_not_noted() -> None:
    assert noted(migrating(web={"pools": [BUSY, hosts.pool()]})) == []


def test_memory_that_is_refused_is_not_noted_too() -> None:
    assert noted(migrating(system={"memory_kb": 1000})) == []


def test_workers_whose_launcher_is_out_already_were_not_started_by_hand() -> None:
    assert noted(migrating(old_workers={"units": [], "is_taken_out": True})) == []


@pytest.mark.parametrize(
    ("found", "data", "is_said"),
    [
        (migrating(old_backend={"delayed": 1, "last_due": 7200}), {}, True),
        (migrating(old_backend={"delayed": 1, "last_due": 60}), {}, False),
        (
            migrating(old_backend={"delayed": 1, "last_due": 7200}),
            {"on_leftover_jobs": "wait"},
            False,
        ),
        (migrating(old_backend={"scheduled": 1}), {}, True),
        (migrating(old_backend={"scheduled": 1}), {"on_leftover_jobs": "wait"}, True),
        (migrating(old_backend={"scheduled": 1}), {"on_leftover_jobs": "convert"}, False),
        (migrating(old_backend={"delayed": 1, "overdue": 99}), {}, True),
        (
            migrating(
                old_workers={"processes": [parts.OldWorker(7, 1, ["email"], 33)]},
                old_backend={"waiting": {"prio": 1}},
            ),
            {},
            True,
        ),
        # Migrated with `convert`: MISP's scheduled tasks stay, and nobody is to start anything.
        (converged(old_backend={"scheduled": 2, "overdue": 99}), {}, False),
    ],
)
def test_a_drain_that_cannot_end_is_foretold(
    found: Parts, data: dict[str, Any], is_said: bool
) -> None:
    assert any(WILL_STOP in note for note in noted(found, **data)) == is_said


def test_scheduled_tasks_stay_behind_when_jobs_are_converted() -> None:
    found = migrating(old_backend={"scheduled": 3})
    (said,) = [note for note in noted(found, on_leftover_jobs="convert") if "3 task(s)" in note]
    assert "to www-data's crontab, not root's (`crontab -u www-data -e`; /var/www/MISP/app/" in said


def test_a_password_of_the_operators_that_others_can_read_or_guess_is_noted() -> None:
    own = {"mode": 0o644, "password_length": 11}
    supervisor = {"inet_file": "/etc/s.conf", "inet_address": "127.0.0.1:9001", "inet_user": "a"}
    _, readable, short = noted(migrating(supervisor=supervisor, own_rpc=own))
    assert "read /etc/s.conf with the RPC's password in clear (mode 644)" in readable
    assert readable.endswith("run `chmod 600 /etc/s.conf`")
    assert "has 11 characters, and every user of this host may try" in short
    for mode, length in ((0o600, 32), (0o644, 0)):
        own = {"mode": mode, "password_length": length}
        assert len(noted(migrating(supervisor=supervisor, own_rpc=own))) == 1
