"""What status.py says: one line for one cause."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.checks import faults
from tasks.checks.seen import SeenForStatus
from tasks.host import parts
from tasks.identity import with_answers
from tests import hosts
from tests.hosts import BLOCK, OLD_UNIT, Parts, converged, get_workers, migrating, running, worker

CHANGES = dict[str, dict[str, Any]]
FATAL_NOTE = "Exited too quickly (process log may have details)"


def found(host: Parts, *rest: str) -> list[str]:
    seen = hosts.seen(SeenForStatus, host)
    return list(faults.of(with_answers(hosts.target(), seen), seen, rest))


def with_workers(*names: str, state: str = "FATAL", note: str = FATAL_NOTE) -> CHANGES:
    """Workers of these names in another state."""
    workers = [
        worker(one.name, state, note) if one.name.partition(":")[2] in names else one
        for one in running()
    ]
    return {"supervisor": {"workers": workers}}


def without(prefix: str) -> list[parts.Worker]:
    return [one for one in running() if not one.name.startswith(f"misp-workers:{prefix}")]


def unit(active: str = "active", enabled: str = "enabled") -> CHANGES:
    return {"supervisor": {"unit": parts.Unit("supervisor.service", active, enabled, 42, True)}}


def test_good_hosts_have_none() -> None:
    assert found(converged()) == []
    assert found(migrating()) == []


AFTER: list[tuple[CHANGES, str]] = [
    (
        {"supervisor": {"workers": without("prio_00")}},
        "misp-workers:prio_00 is missing: run deploy.py again",
    ),
    (
        with_workers("prio_00"),
        f"misp-workers:prio_00 is FATAL ({FATAL_NOTE}): see /var/log/misp-workers/prio*.log, mend "
        "the cause, then run `supervisorctl start misp-workers:prio_00`",
    ),
    (
        with_workers("prio_00", "prio_01"),
        f"misp-workers:prio_00, misp-workers:prio_01 are FATAL ({FATAL_NOTE}): see",
    ),
    (
        with_workers("prio_00", "email_00"),
        "see /var/log/misp-workers/*.log, mend the cause, then run `supervisorctl start "
        "'misp-workers:*'`",
    ),
    (with_workers("prio_00", state="STOPPED", note="Not started"), "is STOPPED (Not started): run"),
    (with_workers("prio_00", state="BACKOFF"), "supervisord tries again. If this stays so"),
    (
        {"supervisor": {"workers": [*running(), worker("misp-workers:prio_07")]}},
        "misp-workers:prio_07 is not wanted",
    ),
    (unit("inactive"), "supervisord is inactive: run `systemctl start supervisor`"),
    (
        {
            "supervisor": {
                **unit("failed")["supervisor"],
                "lost_folders": ["/var/log/supervisor"],
            }
        },
        "supervisord is failed and cannot start without /var/log/supervisor: run `mkdir -p "
        "/var/log/supervisor`, then `systemctl start supervisor`",
    ),
    (
        {
            "supervisor": {
                **unit("failed")["supervisor"],
                "error": "/etc/s.conf has no [supervisord]",
            }
        },
        "supervisord is failed, and there is a fault in its files: /etc/s.conf has no [supervisord]"
        ". Correct that, then run `systemctl start supervisor`",
    ),
    (unit(enabled="disabled"), "does not start at boot (disabled): run `systemctl enable superv"),
    (
        {"workers": {"strays": [71, 72]}},
        "workers of a supervisord that was killed take jobs (71, 72), and nothing counts, logs or",
    ),
    (
        {"workers": {"elsewhere": {"own.service": [71, 72], "a session of ann": [73]}}},
        "outside of supervisord's group misp-workers (PIDs 71, 72 in own.service; PID 73 in a sess",
    ),
    (
        {
            "workers": {"elsewhere": {"own.service": [71]}},
            "supervisor": {"group_elsewhere": {"/etc/own.conf": ""}},
        },
        "outside of supervisord's group misp-workers (PID 71 in own.service)",
    ),
    (
        {"settings": {"block": {**BLOCK, "supervisor_host": "workers.example.org"}}},
        "supervisor_host is workers.example.org, and this deploy runs workers on MISP's own host",
    ),
    ({"workers": {"root_strays": [78]}}, "root runs MISP's workers (78) without a supervisord"),
    ({"supervisor": {"error": "x"}}, "the programs that supervisord runs are not known: x"),
    ({"view": {"workers": get_workers(supervisord_status=False)}}, "MISP cannot reach supervisord"),
    ({"view": {"error": "no answer"}}, "is wrong: getWorkers: no answer"),
    ({"new_backend": {"aside": 3}}, "3 job(s) were set aside by a step that was cut off"),
    (
        {"old_workers": {"processes": [parts.OldWorker(7, 1, ["*"], 33)]}},
        "1 old worker process(es) run, in misp-workers.service: run deploy.py again",
    ),
    (
        {
            "old_workers": {
                "processes": [parts.OldWorker(7, 1, ["*"], 33)],
                "origins": [parts.Origin("cron.service", "", "", "", "")],
            }
        },
        "1 old worker process(es) run, in cron.service: run deploy.py again, which drains",
    ),
    (
        {"old_workers": {"units": [OLD_UNIT._replace(active="inactive")]}},
        "the old workers are stopped, and misp-workers.service can start them again",
    ),
    (
        {"old_workers": {"launchers": [parts.Launcher("/etc/rc.local", "")]}},
        "/etc/rc.local can start them again",
    ),
    (
        {"old_workers": {"programs": ["resque in /etc/r.conf"]}},
        "supervisord's program resque in /etc/r.conf runs the old workers",
    ),
    ({"old_backend": {"waiting": {"email": 4}}}, "4 job(s) wait in the old backend, and no worker"),
    ({"old_backend": {"delayed": 2}}, "2 job(s) wait in the old backend, and no worker does them"),
    (
        {"old_backend": {"is_installed": False, "waiting": {"email": 4}, "at": "h:1"}},
        "the old backend (h:1) has 4 waiting in email, and this MISP has no CakeResque any more",
    ),
    (
        {"old_backend": {"is_installed": False, "error": "NOPERM"}},
        "no CakeResque any more, and whether jobs stayed behind (in Redis) cannot be told: NOPERM",
    ),
    ({"proof": {"proven": ""}}, "this host was interrupted or failed: no proof. Run deploy"),
    (
        {"proof": {"proven": ""}, "run_state": {"last_run": "ann@desk since 1"}},
        "failed (last run: ann@desk since 1): no proof",
    ),
    ({"settings": {"is_pending": True}}, "MISP does not have its new password yet"),
    ({"libraries": {"is_unfinished": True}}, "Composer was cut off"),
    ({"proof": {"evidence": "f"}}, "the proof is for another state than this one"),
    ({"system": {"busy": "ann@desk has been at work"}}, "ann@desk has been at work: wait"),
    ({"run_state": {"is_at_work": True}}, "a step of an earlier run is still at work here"),
    ({"tree": {"disk_kb": 1000}}, "/var/www/MISP/app/tmp has 0 MiB free"),
    ({"system": {"inodes": 0}}, "no inode is free"),
    ({"settings": {"read_timeout": 20.0}}, "gives up on Redis after 20 s"),
    (
        {"settings": {"block": {**BLOCK, "max_job_history_ttl": None}}},
        "leaves them (SimpleBackgroundJobs.max_job_history_ttl): run deploy.py again",
    ),
    (
        {"settings": {"is_supervisor_password_right": False}},
        "leaves them (SimpleBackgroundJobs.supervisor_password): run",
    ),
    (
        {"settings": {"wanted": hosts.PLACE._replace(database=4)}},
        "but the inventory says misp_redis_database 4",
    ),
    ({"settings": {"error": "has a syntax error", "block": {}}}, "has a syntax error: mend the"),
]


@pytest.mark.parametrize(("changes", "sentence"), AFTER)
def test_one_cause_after_a_migration_is_one_fault(changes: CHANGES, sentence: str) -> None:
    host = converged(**changes)
    if "error" in changes.get("settings", {}):
        host = hosts.changed(host, {"supervisor": {"workers": []}})
    (fault,) = found(host)
    assert sentence in fault


def test_workers_of_another_misp_are_not_counted_as_this_ones() -> None:
    others = [one._replace(other_misp="/srv/misp2") for one in running()]
    host = converged(
        supervisor={"workers": others, "group_root": "/srv/misp2"},
        view={"workers": get_workers(prio={"ok": False})},
    )
    (fault,) = found(host)
    assert "misp-workers.conf has the worker group of the MISP in /srv/misp2" in fault
    seen = hosts.seen(SeenForStatus, host)
    described = list(faults.described(with_answers(hosts.target(), seen), seen))
    assert "workers: 0 RUNNING, 21 wanted" in described


def test_half_stopped_old_workers() -> None:
    held = OLD_UNIT._replace(active="inactive", enabled="disabled", is_held=True)
    (fault,) = found(converged(old_workers={"units": [held]}))
    assert "old workers are half stopped" in fault


def test_all_workers_with_one_fault_are_one_line_and_misps_view_of_them_is_none() -> None:
    names = [one.name.partition(":")[2] for one in running()]
    blind = {"workers": get_workers(**{queue: {"ok": False} for queue in ("prio", "email")})}
    (fault,) = found(converged(view=blind, **with_workers(*names)))
    assert fault.startswith(
        "21 workers (5 cache, 5 default, 5 email, 5 prio, 1 update) are FATAL (Exited too quickly"
    )


def test_workers_in_several_states_are_one_line_with_one_command() -> None:
    names = {"prio_00": "FATAL", "prio_01": "STOPPED", "prio_02": "BACKOFF", "prio_03": "STOPPED"}
    workers = [
        worker(one.name, names.get(one.name.partition(":")[2], "RUNNING")) for one in running()
    ]
    (fault,) = found(converged(supervisor={"workers": workers}))
    assert fault == (
        "misp-workers:prio_00, misp-workers:prio_01, misp-workers:prio_02, misp-workers:prio_03 "
        "are not running (1 BACKOFF, 1 FATAL, 2 STOPPED): see /var/log/misp-workers/prio*.log, "
        "mend the cause, then run `supervisorctl start 'misp-workers:*'`"
    )


def test_what_misp_cannot_see_of_a_supervisord_that_is_stopped_is_no_fault_of_its_own() -> None:
    view = {"workers": get_workers(supervisord_status=False)}
    (fault,) = found(converged(view=view, **unit("inactive")))
    assert fault.startswith("supervisord is inactive")


def test_a_web_tier_that_gives_no_view_is_not_called_misps_command_line() -> None:
    (fault,) = found(converged(), "https://misp/servers/getWorkers answers 503: Unavailable")
    assert fault == (
        "MISP's web tier shows no workers: https://misp/servers/getWorkers answers 503: "
        "Unavailable. Check the web server, PHP-FPM and misp_url"
    )


def test_a_cake_that_cannot_be_executed_is_the_only_fault_of_misps() -> None:
    access = parts.Access("mode", "/var/www/MISP/app/Console/cake", "root:root 750")
    names = [one.name.partition(":")[2] for one in running()]
    host = converged(
        tree={"cake": access}, view={"error": "Permission denied"}, **with_workers(*names)
    )
    first, second = found(host)
    assert "www-data may not execute" in first
    assert "are FATAL" in second


def test_settings_that_are_not_known_are_not_taken_for_the_old_backend() -> None:
    host = converged(
        settings={"error": "php cannot be run", "block": {}},
        php={"path": "", "version": (0, 0, 0)},
        proof={"evidence": ""},
    )
    (fault,) = found(host)
    assert fault.startswith("php is in none of")
    seen = hosts.seen(SeenForStatus, host)
    assert "MISP 2.5.1, new backend unknown" in faults.described(
        with_answers(hosts.target(), seen), seen
    )


def test_misps_view_of_other_queues_still_counts() -> None:
    blind = {"workers": get_workers(email={"ok": False}, prio={"ok": False})}
    first, second = found(converged(view=blind, **with_workers("prio_00")))
    assert "prio_00 is FATAL" in first
    assert "as good: email 0 of 5. If" in second


def test_what_the_web_tier_shows_as_well_is_said_once() -> None:
    view = {"workers": get_workers(supervisord_status=False)}
    same = "over REST, MISP cannot reach supervisord (supervisord_status is not true)"
    (fault,) = found(converged(view=view), same, "over REST, MISP's process sees no /proc")
    assert fault.count("cannot reach supervisord") == 1
    assert "over REST, MISP's process sees no /proc" in fault


def test_what_follows_from_a_redis_that_is_gone_is_no_fault_of_its_own() -> None:
    names = [one.name.partition(":")[2] for one in running()]
    waiting = with_workers(*names[1:], state="BACKOFF")
    waiting["supervisor"]["workers"][0] = worker(running()[0].name, "FATAL", FATAL_NOTE)
    waiting["supervisor"]["workers"][1] = worker(running()[1].name, "EXITED", "Nov 28 10:12 PM")
    host = converged(new_backend={"error": "no connection"}, view={"error": "no answer"}, **waiting)
    first, second = found(host, "over REST, nothing")
    assert "where the queues are" not in first
    assert "namespace background_jobs, cannot be used: no connection. Start it" in first
    assert "cache_00 is FATAL" in second


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"old_workers": {"processes": []}}, "no old worker runs, so no job is done"),
        ({"old_backend": {"error": "gone"}}, "the old workers' Redis cannot be asked: gone"),
        (
            {
                "old_workers": {"processes": [parts.OldWorker(7, 1, ["prio"], 33)]},
                "old_backend": {"waiting": {"email": 4}},
            },
            "has 4 waiting in email, and no old worker lives for email: start one",
        ),
        ({"supervisor": {"workers": running()}}, "workers of the new backend run, but MISP does"),
        (
            {
                "supervisor": {
                    "workers": running(),
                    "group_elsewhere": {"/etc/a.conf": "/srv/misp2"},
                }
            },
            "/etc/a.conf has the worker group of the MISP in /srv/misp2",
        ),
        ({"run_state": {"has_state": True}}, "interrupted or failed: no proof"),
        ({"tree": {"root_exists": False}}, "/var/www/MISP is no directory"),
        ({"tree": {"error": "the web user is root"}}, "the web user is root"),
        ({"tree": {"config_mode": -1}}, "config.php is missing: finish"),
        ({"php": {"version": (0, 0, 0), "path": ""}}, "php is in none of /usr/local/bin, /usr/bin"),
        (
            {"php": {"version": (0, 0, 0), "error": "Permission denied"}},
            "/usr/bin/php does not tell its version (Permission denied): run",
        ),
    ],
)
def test_one_cause_before_a_migration_is_one_fault(changes: CHANGES, sentence: str) -> None:
    (fault,) = found(migrating(**changes))
    assert sentence in fault


def test_what_there_is_is_described() -> None:
    host = converged(
        new_backend={"waiting": {"prio": 3, "email": 0}},
        workers={"busy": ["misp-workers:prio_00"]},
    )
    seen = hosts.seen(SeenForStatus, host)
    assert list(faults.described(with_answers(hosts.target(), seen), seen)) == [
        "MISP 2.5.1, new backend on",
        "workers: 21 RUNNING, 21 wanted",
        "new queues: 3 waiting in prio, 1 running",
        "old backend: 0 worker processes, nothing waiting, running or delayed",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tree": {"version": (0, 0, 0)}}, "MISP unknown, new backend off"),
        ({"new_backend": {"error": "gone"}}, "new queues: unknown: gone"),
        ({"old_backend": {"is_installed": False}}, "old backend: not in this MISP any more"),
        (
            {"old_backend": {"is_installed": False, "delayed": 2}},
            "old backend: not in this MISP any more, but it left 2 delayed",
        ),
        (
            {"old_backend": {"is_installed": False, "error": "NOPERM"}},
            "old backend: not in this MISP any more, but it left "
            "a Redis that cannot be asked: NOPERM",
        ),
        (
            {"old_backend": {"error": "gone"}},
            "old backend: 1 worker process, a Redis that cannot be asked: gone",
        ),
        ({}, "new queues: 0 waiting, 0 running"),
    ],
)
def test_what_is_not_known_is_called_so(changes: CHANGES, line: str) -> None:
    seen = hosts.seen(SeenForStatus, migrating(**changes))
    assert line in list(faults.described(with_answers(hosts.target(), seen), seen))
