from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fake.answers import BLOCK, QUIET, RUNNING, WANTED, converged, migrating, settings
from tests.fake.conftest import Run

Pyinfra = Callable[..., Run]
REDIS = {"ok": True, "foreign_keys": [], "waiting": 0, "blocked_clients": 0}


def refused(pyinfra: Pyinfra, data: dict[str, Any], *flags: str) -> str:
    """What is printed of a host that is refused; nothing was sent that changes it."""
    run = pyinfra({"one": data}, *(flags or ("-y",)), "-vv")
    assert run.exit_code == 1, run.output
    assert "refused before any change" in run.output
    assert run.actions("one") == []
    return run.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": []}, "/var/www/MISP is no directory here: set misp_root"),
        ({"version": []}, "VERSION.json is missing"),
        ({"version": '{"major":2,"minor":4,"hotfix":150}'}, "MISP is 2.4.150"),
        ({"version": "{}"}, "cannot be read as MISP's"),
        ({"config": []}, "config.php is missing"),
        ({"config": "root root 640", "web_user": "root root"}, "config.php belongs to root"),
        ({"web": "nginx 100 php-fpm.service"}, "PHP serves the web as nginx"),
        ({"php": []}, "php is missing"),
        ({"php_version": "7.4.3"}, "MISP 2.5.1 needs 8.1"),
        ({"php_version": []}, "does not say its version"),
        ({"extension": ["posix", "curl"]}, "PHP lacks the extension(s) redis"),
        ({"composer": []}, "Composer is neither"),
        ({"cake_php": []}, "app/Console/cake.php, which MISP's settings are set by, is missing"),
        ({"group_section": "[program:mail]"}, "misp-workers.conf also has [program:mail]"),
        ({"legacy": {"installed": False}}, "old workers live, but /var/www/MISP/app/Plugin/Cake"),
        ({"init": "bash"}, "PID 1 is bash"),
        ({"busy": "ann@desk has been at work"}, "ann@desk has been at work: wait"),
        ({"tool": ["setpriv"]}, "flock is missing"),
        ({"no_unit": "nosuch.service"}, "there is no unit nosuch.service"),
        ({"settings": settings(redis_password_settable=False)}, "password begins with -"),
        ({"settings": settings(savable=False)}, "www-data may not write config.php or its direct"),
        ({"settings": settings(read_timeout=30)}, "gives up on Redis after 30 s while a worker"),
        ({"memory_kb": 200_000}, "21 more workers take about 246 MiB: lower the counts"),
        ({"disk_kb": 1000}, "make room"),
        ({"settings": {"error": "cannot be read by www-data"}}, "config.php cannot be read"),
        ({"settings": settings(background_jobs=False)}, "MISP.background_jobs is false"),
        ({"settings": settings({**BLOCK, "redis_serializer": "igbinary"})}, "igbinary"),
        ({"settings": settings(database_mode=True, encrypted=True)}, "encryption_key"),
        ({"redis": {"error": "Connection refused"}}, "will have: Connection refused"),
        ({"redis": {"error": "WRONGPASS"}}, "misp_redis_host, _port, _database and _password"),
        (
            {"redis": {**REDIS, "foreign_keys": ["background_jobs:x"]}},
            "something else uses database 1",
        ),
        ({"redis": {**REDIS, "blocked_clients": 5}}, "5 worker(s) of another MISP"),
        ({"redis": {**REDIS, "waiting": 2}}, "2 job(s) already wait"),
        ({"supervisor_version": "3.3.1"}, "CVE-2017-11610"),
        ({"listening": "yes", "listener": "9 tor tor.service"}, "port 9001 is taken by tor"),
        ({"status": ["gunicorn   RUNNING   pid 9, uptime 1:00:00"]}, "allow_foreign_restart"),
        (
            {"inet_elsewhere": "/etc/supervisor/supervisord.conf *:9001"},
            "has no port or no username",
        ),
        ({"conf": "x", "include": "other.d/*"}, "does not include /etc/supervisor/conf.d/misp-w"),
        ({"group_elsewhere": "/etc/supervisor/conf.d/a.conf"}, "a.conf has a group misp-workers"),
        (
            {"inet_elsewhere": "/etc/supervisord.conf *:9001 boss"},
            "listens on *:9001, not on the loopback only",
        ),
        (
            {
                "inet_elsewhere": "/etc/supervisord.conf 127.0.0.1:9001 boss",
                "inet_answer": "401",
                "unit_state": "active enabled",
            },
            "(answer: 401)",
        ),
        ({"group_root": "/srv/misp"}, "belongs to the MISP in /srv/misp"),
        (
            {"unfit_launcher": "/etc/rc.local (its command goes over several lines)"},
            "also started by /etc/rc.local (its command goes over several lines): take that out",
        ),
        ({"hidden_process": "77"}, "root may not read /proc/77/cwd"),
        (
            {
                "started_in": [
                    "misp-workers.service",
                    "php-fpm.service",
                    "ssh.service",
                    "wrapped.service",
                ]
            },
            "old workers run in wrapped.service, which does not start them",
        ),
        (
            {"started_in": ["supervisor.service"]},
            "a program of supervisord's runs the old workers: stop the program while no job runs",
        ),
        ({"legacy": {"error": "NOAUTH"}}, "the old workers' Redis cannot be asked"),
        ({"worker_user": "root www-data"}, "workers run as root, not as www-data"),
    ],
)
def test_preflight_refuses(pyinfra: Pyinfra, changes: dict[str, Any], message: str) -> None:
    assert message in refused(pyinfra, {"fake_responses": migrating("debian", **changes)})


UNREAD = {
    "inet_elsewhere": "/etc/supervisord.conf 127.0.0.1:9001 boss",
    "inet_answer": "0 Failed to connect to 127.0.0.1 port 9001",
    "unit_state": "active enabled",
}


@pytest.mark.parametrize(
    ("changes", "data", "note"),
    [
        ({"memory_kb": 500_000}, {}, "note: 488 MiB of memory are free, 21 more workers take"),
        ({"web": "nginx 100 php-fpm.service"}, {"misp_web_user": "www-data"}, ""),
        ({"include": "%(here)s/conf.d/*.conf", "conf": "x"}, {}, ""),
        (UNREAD, {}, "note: the [inet_http_server] in /etc/supervisord.conf is used as it is"),
    ],
    ids=["little memory", "a pool that sleeps", "files below %(here)s", "RPC not read yet"],
)
def test_what_will_do_is_not_refused(
    pyinfra: Pyinfra, changes: dict[str, Any], data: dict[str, Any], note: str
) -> None:
    answers = migrating("debian", **changes)
    run = pyinfra({"one": {"fake_responses": answers, **data}}, "--dry")
    assert (run.exit_code, "refused" in run.output) == (0, False)
    assert note in run.output


def test_composer_is_needed_only_where_a_class_is_missing(pyinfra: Pyinfra) -> None:
    run = pyinfra({"one": {"fake_responses": converged("debian", composer=[])}}, "-y")
    assert (run.exit_code, run.actions("one")) == (0, [])


def test_of_a_misp_whose_settings_are_roots_nothing_but_that_is_said(pyinfra: Pyinfra) -> None:
    """None of its code was run, so there are no answers that could be wrong as well."""
    unasked: dict[str, Any] = {"settings": [], "redis": [], "legacy": []}
    answers = migrating("debian", config="root root 640", web_user="root root", **unasked)
    printed = refused(pyinfra, {"fake_responses": answers})
    assert "  1. config.php belongs to root" in printed
    assert "  2. " not in printed


@pytest.mark.parametrize("service", ["supervisor", "supervisor.service"])
def test_the_unit_of_the_new_workers_is_not_retired(pyinfra: Pyinfra, service: str) -> None:
    data = {"fake_responses": migrating("debian"), "legacy_service": service}
    assert "legacy_service is supervisord's own unit" in refused(pyinfra, data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inet_elsewhere": "/etc/supervisord.conf 127.0.0.1:9001 boss"},
            "rotate_password cannot change the [inet_http_server] in /etc/supervisord.conf",
        ),
        (
            {
                "status": ["gunicorn   RUNNING   pid 9, uptime 1:00:00"],
                "daemon_pid": "42",
                "listener": "42 supervisord supervisor.service",
            },
            "supervisord also runs gunicorn, and its RPC takes a restart of all of them",
        ),
    ],
)
def test_a_rotation_that_would_touch_what_is_somebody_elses_is_refused(
    pyinfra: Pyinfra, changes: dict[str, Any], message: str
) -> None:
    answers = migrating("debian", **changes)
    assert message in refused(pyinfra, {"fake_responses": answers, "rotate_password": True})


def test_workers_and_jobs_of_this_misp_are_not_taken_for_anothers(pyinfra: Pyinfra) -> None:
    spoiled = {
        "settings": settings({**BLOCK, "enabled": 1}),
        "redis": {**REDIS, "blocked_clients": 21, "waiting": 2},
        "status": RUNNING,
    }
    run = pyinfra({"one": {"fake_responses": migrating("debian", **spoiled)}}, "--dry")
    assert run.exit_code == 0, run.output


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"redis_database": 5},
            "at redis_database 1, but the inventory says misp_redis_database 5,",
        ),
        ({"redis_port": 6380}, "at redis_port 6379, but the inventory says misp_redis_port 6380,"),
        (
            {"redis_namespace": "x"},
            "at redis_namespace background_jobs, but the inventory says misp_r",
        ),
        (
            {"redis_host": "/run/redis.sock", "redis_port": 0},
            "says misp_redis_host /run/redis.sock",
        ),
        (
            {"redis_host": "r", "redis_database": 5},
            "at redis_host 127.0.0.1 and redis_database 1, but the inventory says misp_redis_host "
            "r and misp_redis_database 5, and the deploy does not move them: set the inventory "
            "back to MISP's value; to move MISP's queues to another Redis, run rollback.py, change "
            "the inventory, then run deploy.py again",
        ),
    ],
)
def test_a_migrated_misp_stays_in_its_redis(
    pyinfra: Pyinfra, wanted: dict[str, Any], message: str
) -> None:
    # What is wrong there as well is no matter.
    changes = {
        "settings": settings(BLOCK, wanted={**WANTED, **wanted}),
        "redis": {"error": "no connection"},
    }
    printed = refused(pyinfra, {"fake_responses": converged("debian", **changes)})
    assert "1. the queues of this migrated MISP are at " in printed
    assert message in printed
    assert "  2. " not in printed


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ({"redis_host": "localhost"}, {}),
        ({"redis_host": "127.0.0.1"}, {"redis_host": "::1"}),
        ({"redis_host": "/run/redis.sock"}, {"redis_host": "/run/redis.sock", "redis_port": 0}),
        ({"redis_port": "6379", "redis_database": "1"}, {}),
        ({"redis_host": "", "redis_port": None}, {"redis_host": "r", "redis_port": 1}),
        ({"enabled": False}, {"redis_database": 5}),
        ({"enabled": 1, "redis_namespace": None}, {"redis_database": 5}),
    ],
)
def test_what_is_no_other_redis_or_no_migrated_misp_is_not_refused(
    pyinfra: Pyinfra, block: dict[str, Any], wanted: dict[str, Any]
) -> None:
    seen = settings({**BLOCK, **block}, wanted={**WANTED, **wanted})
    answers = converged("debian", settings=seen)
    run = pyinfra({"one": {"fake_responses": answers}}, "--dry")
    assert run.exit_code == 0, run.output


def test_of_settings_in_the_database_text_counts(pyinfra: Pyinfra) -> None:
    block = {**BLOCK, "enabled": "1", "redis_port": "6379"}
    wanted = {**WANTED, "redis_database": 5}
    answers = converged("debian", settings=settings(block, wanted=wanted, database_mode=True))
    assert "says misp_redis_database 5" in refused(pyinfra, {"fake_responses": answers})


def test_a_misp_without_a_namespace_is_refused_as_its_jobs_would_stay_behind(
    pyinfra: Pyinfra,
) -> None:
    block = {key: value for key, value in BLOCK.items() if key != "redis_namespace"}
    printed = refused(pyinfra, {"fake_responses": converged("debian", settings=settings(block))})
    assert "without SimpleBackgroundJobs.redis_namespace" in printed
    assert "set it in MISP and restart the workers" in printed


def test_preflight_names_every_problem_at_once(pyinfra: Pyinfra) -> None:
    changes = {"php_version": "7.4.3", "redis": {"error": "gone"}, "composer": [], "init": "bash"}
    output = refused(pyinfra, {"fake_responses": migrating("debian", **changes)})
    assert all(f"  {number}. " in output for number in (1, 2, 3, 4))


def test_an_address_without_a_misp_is_refused_and_the_key_not_shown(pyinfra: Pyinfra) -> None:
    data = {
        "fake_responses": migrating("debian"),
        "misp_url": "https://127.0.0.1:1",
        "misp_api_key": {"env": "KEY"},
    }
    run = pyinfra({"one": data}, "-y", "-vvv", "--debug", KEY="k3" * 20)
    assert run.exit_code == 1
    assert "https://127.0.0.1:1/servers/getWorkers cannot be reached" in run.output
    assert run.actions("one") == []
    assert "k3" * 20 not in run.output


def test_a_misp_that_waits_for_its_redis_is_not_asked(pyinfra: Pyinfra) -> None:
    answers = migrating("debian", legacy={"error": "read error"}, redis={"error": "read error"})
    data = {"fake_responses": answers, "misp_url": "https://127.0.0.1:1"}
    run = pyinfra({"one": {**data, "misp_api_key": {"env": "KEY"}}}, "-y", KEY="k3" * 20)
    assert run.exit_code == 1
    assert "will have: read error" in run.output
    assert "https://127.0.0.1:1" not in run.output


def test_a_dry_run_refuses_too(pyinfra: Pyinfra) -> None:
    answers = migrating("rhel", composer=[])
    assert "Composer" in refused(pyinfra, {"fake_responses": answers}, "--dry")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"misp_workers": {"default": 0}}, "default: must be 1 to 99, not 0"),
        ({"misp_workers": {"default": -1}}, "default: must be 1 to 99, not -1"),
        ({"misp_workers": {"default": "five"}}, "must be a whole number, not 'five'"),
        ({"misp_workers": {"update": 2}}, "update: must be 1, not 2"),
        ({"misp_workers": {"emial": 2}}, "did you mean email?"),
        ({"misp_wrokers": {}}, "did you mean 'misp_workers'?"),
        ({"supervisor_password": "hunter2hunter2"}, "a secret is given as a reference"),
        ({"supervisor_password": {"env": "NOT_SET"}}, "NOT_SET is not set"),
        ({"supervisor_password": {"file": "/nonexistent"}}, "cannot read the file /nonexistent"),
        ({"supervisor_password": {"command": ["false"]}}, "the command false ended with status 1"),
    ],
)
def test_bad_data_is_refused_before_the_host_is_asked(
    pyinfra: Pyinfra, data: dict[str, Any], message: str
) -> None:
    run = pyinfra({"one": {"fake_responses": migrating("debian"), **data}}, "-y", "-vv")
    assert run.exit_code == 1
    assert message in run.output
    assert run.commands == {}
    assert "hunter2" not in run.output


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short1", "it has 6 characters"),
        ("%" * 40, "it contains %"),
        ("a;" * 20, "it contains ;"),
        ("a#" * 20, "it contains #"),
        ('a"' * 20, "it contains a double quote"),
        ("a b" * 20, "it contains a space"),
        ("ä" * 40, "outside ASCII"),
    ],
)
def test_a_password_that_would_break_something_is_refused(
    pyinfra: Pyinfra, password: str, reason: str
) -> None:
    data = {"fake_responses": migrating("debian"), "supervisor_password": {"env": "PASSWORD"}}
    run = pyinfra({"one": data}, "-y", "-vvv", PASSWORD=password)
    assert run.exit_code == 1
    assert reason in run.output
    assert password not in run.output


def test_an_unknown_system_is_refused_by_name(pyinfra: Pyinfra) -> None:
    answers = {
        "id -u": [
            "user\t0",
            "os-release\tID=alpine",
            'os-release\tPRETTY_NAME="Alpine Linux v3.20"',
        ],
        **migrating("debian"),
    }
    answers["id -u"] = [
        "user\t0",
        "os-release\tID=alpine",
        'os-release\tPRETTY_NAME="Alpine Linux"',
    ]
    assert "Alpine Linux (ID=alpine) is not supported" in refused(
        pyinfra, {"fake_responses": answers}
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"success": False, "stderr": "sudo: a password is required"},
            "no command can be run as root",
        ),
        (["user\t1000"], "not logged in as root: set _sudo = True"),
    ],
)
def test_a_login_without_root_is_refused(pyinfra: Pyinfra, answer: object, message: str) -> None:
    answers = {**migrating("debian"), "id -u": answer}
    assert message in refused(pyinfra, {"fake_responses": answers})


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (
            {"launcher": "/etc/rc.local", "started_in": "rc-local.service"},
            "note: /etc/rc.local starts the old workers",
        ),
        ({"started_in": "ssh.service"}, "note: nothing starts the old workers at boot"),
    ],
)
def test_other_launchers_than_a_unit_are_told_and_not_refused(
    pyinfra: Pyinfra, changes: dict[str, Any], note: str
) -> None:
    answers = migrating("debian", **{"unit": [], **changes})
    run = pyinfra({"one": {"fake_responses": answers}}, "--dry", "-v")
    assert run.exit_code == 0, run.output
    assert note in run.output


@pytest.mark.parametrize("unit", [[], "misp-workers.service active enabled"])
def test_old_workers_that_are_a_program_are_refused_with_one_sentence(
    pyinfra: Pyinfra, unit: list[str] | str
) -> None:
    changes = {
        "old_program": "resque /etc/supervisor/conf.d/resque.conf",
        "started_in": "supervisor.service",
        "status": "resque   RUNNING   pid 9, uptime 1:00:00",
        "unit": unit,
    }
    printed = refused(pyinfra, {"fake_responses": migrating("debian", **changes)})
    assert "1. supervisord's program resque in /etc/supervisor/conf.d/resque.conf runs" in printed
    assert "start app/Console/worker/start.sh as the web user or through MISP's unit" in printed
    assert "  2. " not in printed


def test_a_program_that_nobody_started_yet_is_refused_too(pyinfra: Pyinfra) -> None:
    answers = converged("debian", old_program="resque /etc/supervisor/conf.d/resque.conf")
    assert "supervisord's program resque in" in refused(pyinfra, {"fake_responses": answers})


def test_old_workers_whose_launcher_is_taken_out_already_are_not_said_to_be_started_by_hand(
    pyinfra: Pyinfra,
) -> None:
    answers = migrating("debian", unit=[], taken_out="yes", started_in="ssh.service")
    run = pyinfra({"one": {"fake_responses": answers}}, "--dry", "-v")
    assert run.exit_code == 0, run.output
    assert "nothing starts the old workers at boot" not in run.output


@pytest.mark.parametrize(
    ("answers", "is_said"),
    [
        (migrating("debian", legacy={**QUIET, "delayed": 1, "overdue": 99}), True),
        (migrating("debian", legacy={**QUIET, "waiting": {"prio": 1}}), True),
        # Migrated with `convert`: MISP's scheduled tasks stay, and nobody is to start anything.
        (converged("debian", legacy={**QUIET, "scheduled": 2, "overdue": 99}), False),
    ],
)
def test_old_jobs_that_nobody_does_are_named_while_there_are_old_workers(
    pyinfra: Pyinfra, answers: dict[str, Any], is_said: bool
) -> None:
    run = pyinfra({"one": {"fake_responses": answers}}, "--dry", "-v")
    assert run.exit_code == 0, run.output
    assert ("As it is, this run will stop" in run.output) == is_said
