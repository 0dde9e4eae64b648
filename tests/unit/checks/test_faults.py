"""What status.py says: one line for one cause."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.checks import faults
from tasks.checks import state as states
from tasks.checks.seen import SeenForStatus
from tasks.host import parts
from tasks.identity import with_answers
from tests import hosts
from tests.hosts import BLOCK, OLD_UNIT, Parts, converged, get_workers, migrating, running, worker

CHANGES = dict[str, dict[str, Any]]
FATAL_NOTE = "Exited too quickly (process log may have details)"


def found(host: Parts, *rest: str) -> list[str]:
    seen = hosts.seen(SeenForStatus, host)
    return [one.sentence for one in faults.of(with_answers(hosts.target(), seen), seen, rest)]


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
        "misp-workers:prio_00 is missing: run the deploy again",
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
    (
        with_workers("prio_00", state="STOPPED", note="Not started"),
        "misp-workers:prio_00 is STOPPED: run",
    ),
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
        "2 worker(s) of a supervisord that was killed run on beside the group",
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
        "1 old worker process(es) run, in misp-workers.service: run the deploy again",
    ),
    (
        {
            "old_workers": {
                "processes": [parts.OldWorker(7, 1, ["*"], 33)],
                "origins": [parts.Origin("cron.service", "", "", "", "")],
            }
        },
        "1 old worker process(es) run, in cron.service: run the deploy again, which drains",
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
    ({"proof": {"proven": ""}}, "this host was interrupted or failed: no proof. Run the deploy"),
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
        "leaves them (SimpleBackgroundJobs.max_job_history_ttl): run the deploy again",
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
    described = states.status("misp1", with_answers(hosts.target(), seen), seen, []).lines
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


NAMES = [one.name.partition(":")[2] for one in running()]
BLIND: CHANGES = {"view": {"workers": get_workers(supervisord_status=False)}}
ALIVE = {"processes": [parts.OldWorker(7, 1, ["*"], 33)], "units": [OLD_UNIT]}
UNTOLD: dict[str, Any] = {
    "error": "is not known",
    "block": {},
    "wanted": parts.Place("", 0, 0, "", 0),
}
STALE: CHANGES = {"proof": {"evidence": "f"}}


def with_states(*states: str) -> CHANGES:
    """All workers, each in one of these states, with what supervisord notes of it."""
    notes = {"FATAL": FATAL_NOTE, "STOPPED": "Nov 28 08:{:02d} PM"}
    workers = [
        worker(one.name, state, notes.get(state, "").format(number))
        for number, one in enumerate(running())
        for state in [states[number % len(states)]]
    ]
    return {"supervisor": {"workers": workers}}


def merged(*some: CHANGES) -> CHANGES:
    names = dict.fromkeys(name for one in some for name in one)
    return {name: {k: v for one in some for k, v in one.get(name, {}).items()} for name in names}


def down(active: str = "inactive", enabled: str = "enabled") -> CHANGES:
    """A supervisord that does not run: nobody tells of programs, and MISP sees none."""
    return merged(unit(active, enabled), {"supervisor": {"workers": []}}, BLIND)


# Each cause with all that follows from it, as it shows on a host.
CAUSES: dict[str, tuple[CHANGES, str]] = {
    "all workers stopped": (
        merged(
            with_states("STOPPED"),
            {
                "view": {
                    "workers": get_workers(
                        **{
                            queue: {"ok": False, "workers": []}
                            for queue in ("default", "prio", "email", "cache")
                        }
                    )
                }
            },
        ),
        "21 workers (5 cache, 5 default, 5 email, 5 prio, 1 update) are STOPPED: run "
        "`supervisorctl start 'misp-workers:*'`",
    ),
    "all workers fatal": (with_states("FATAL"), "21 workers (5 cache, 5 default, 5 email, 5 prio"),
    "workers in three states": (
        with_states("FATAL", "STOPPED", "RUNNING"),
        "are not running (7 FATAL, 7 STOPPED)",
    ),
    "supervisord stopped": (down(), "supervisord is inactive: run `systemctl start supervisor`"),
    "supervisord stopped for good": (
        down(enabled="disabled"),
        "is inactive and does not start at boot (disabled): run `systemctl enable --now supervisor",
    ),
    "supervisord masked": (
        down(enabled="masked"),
        "run `systemctl unmask supervisor`, then `systemctl enable --now",
    ),
    "supervisord killed, and systemd waits": (
        merged(down("activating"), {"workers": {"strays": [100 + n for n in range(21)]}}),
        "supervisord is activating: run `systemctl start supervisor`",
    ),
    "supervisord killed, and its workers run on": (
        {"workers": {"strays": [900, 901]}},
        "2 worker(s) of a supervisord that was killed run on beside the group",
    ),
    "another supervisord has the files": (
        merged(down(), {"supervisor": {"other_daemon": "a supervisord (PID 9) runs"}}),
        "a supervisord (PID 9) runs",
    ),
    "Redis stopped": (
        merged(
            with_states("BACKOFF", "STARTING", "EXITED"),
            {
                "new_backend": {"error": "Connection refused"},
                "view": {"error": "MISP was not asked, since its Redis cannot be"},
                "old_backend": {"error": "Connection refused", "is_installed": False},
            },
        ),
        "namespace background_jobs, cannot be used: Connection refused. Start it, or correct MISP's"
        " SimpleBackgroundJobs settings. The workers come back by themselves",
    ),
    "Redis stopped for two hours": (
        merged(
            with_states("FATAL"),
            {"new_backend": {"error": "Connection refused"}, "view": {"error": "no answer"}},
        ),
        "given workers up, so then run `supervisorctl start 'misp-workers:*'`",
    ),
    "Redis is another one in the inventory": (
        {
            "settings": {"wanted": hosts.PLACE._replace(port=6399)},
            "new_backend": {"error": "Connection refused"},
        },
        "but the inventory says misp_redis_port 6399",
    ),
    "the one disk full": (
        {
            "tree": {"disk_kb": 0},
            "system": {"disk_kb": 0, "inodes": 0},
            "view": {"error": "no answer from MISP: No space left on device"},
        },
        "/var/www/MISP/app/tmp and /var/log or /var/lib have 0 MiB free, but 97 are needed",
    ),
    "config.php broken": (
        {
            "settings": {**UNTOLD, "error": "has a syntax error in line 1"},
            "proof": {"evidence": ""},
        },
        "config.php has a syntax error in line 1: mend the file",
    ),
    "config.php of root": (
        {
            "tree": {"error": "config.php belongs to root", "cake": parts.Access("", "", "")},
            "php": {"path": "", "version": (0, 0, 0)},
            "settings": {**UNTOLD, "error": "config.php belongs to root"},
            "proof": {"proven": "", "evidence": ""},
            "new_backend": {"error": "config.php belongs to root"},
            "old_backend": {"error": "config.php belongs to root"},
            "view": {"error": "config.php belongs to root"},
        },
        "config.php belongs to root",
    ),
    "PHP gone": (
        {
            "php": {"path": "", "version": (0, 0, 0)},
            "settings": {**UNTOLD, "error": "php cannot be run"},
            "proof": {"evidence": ""},
        },
        "php is in none of",
    ),
    "MISP has another password": (
        merged({"settings": {"is_supervisor_password_right": False}}, BLIND),
        "leaves them (SimpleBackgroundJobs.supervisor_password): run the deploy again",
    ),
    "MISP was updated": (
        merged(STALE, BLIND, {"libraries": {"missing": ["Supervisor"]}}),
        "MISP's own view (cake Admin getWorkers) is wrong",
    ),
    "the group's file edited": (
        merged(STALE, {"supervisor": {"workers": [*running(), worker("misp-workers:prio_07")]}}),
        "misp-workers:prio_07 is not wanted",
    ),
    "the backend switched off": (
        merged(STALE, {"settings": {"block": {**BLOCK, "enabled": False}}}, BLIND),
        "workers of the new backend run, but MISP does not use it, and no old worker runs, so no",
    ),
    "a run at work": (
        merged(
            BLIND,
            with_states("STARTING"),
            {
                "run_state": {"is_at_work": True},
                "new_backend": {"aside": 4},
                "old_workers": ALIVE,
                "proof": {"proven": ""},
            },
        ),
        "a step of an earlier run is still at work here",
    ),
    "a run that drains": (
        {"system": {"busy": "ann@desk has been at work"}, "old_workers": ALIVE},
        "ann@desk has been at work: wait until that run has ended",
    ),
    "a run that was cut before the workers": (
        merged(
            BLIND, {"supervisor": {"workers": []}, "proof": {"proven": ""}, "old_workers": ALIVE}
        ),
        "interrupted or failed: no proof. Run the deploy again to finish it, or rollback.py",
    ),
    "a run that was cut while it changed the password": (
        merged(BLIND, {"settings": {"is_pending": True, "is_supervisor_password_right": False}}),
        "MISP does not have its new password yet",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), CAUSES.values(), ids=CAUSES)
def test_one_cause_with_all_that_follows_from_it_is_one_fault(
    changes: CHANGES, sentence: str
) -> None:
    (fault,) = found(converged(**changes))
    assert sentence in fault


def test_the_web_tier_that_is_down_is_one_fault_also_where_a_view_is_asked_of_it() -> None:
    at = "https://misp/servers/getWorkers"
    (fault,) = found(converged(), f"{at} cannot be reached: Connection refused")
    assert fault.startswith(f"MISP's web tier shows no workers: {at} cannot be reached")
    (fault,) = found(converged(**CAUSES["the one disk full"][0]), f"{at} answers 500: Error")
    assert "make room" in fault


def test_two_causes_are_two_faults() -> None:
    first, second = found(converged(**merged(with_states("STOPPED"), {"tree": {"disk_kb": 0}})))
    assert "supervisorctl start" in first
    assert "make room" in second
    first, second = found(converged(**merged(unit(enabled="disabled"), with_states("STOPPED"))))
    assert "does not start at boot" in first
    assert "supervisorctl start" in second


def test_the_old_workers_redis_that_is_gone_is_one_fault_though_they_end_without_it() -> None:
    (fault,) = found(migrating(old_backend={"error": "gone"}, old_workers={"processes": []}))
    assert fault.startswith("the old workers' Redis cannot be asked: gone. Start it")


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
