"""Each reason why a host is not migrated, and what is no reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.checks import migration
from tasks.checks.seen import SeenToMigrate
from tasks.host import parts
from tasks.host.packages import UNKNOWN
from tasks.host.redis import REFUSES
from tasks.identity import with_answers
from tests import hosts
from tests.hosts import BLOCK, OLD_UNIT, Parts, converged, migrating

CHANGES = dict[str, dict[str, Any]]


def problems(found: Parts, **data: Any) -> list[str]:
    """What preflight says of a host."""
    seen = hosts.seen(SeenToMigrate, found)
    return list(migration.of(with_answers(hosts.target(**data), seen), seen))


@pytest.mark.parametrize("family", ["debian", "rhel"])
def test_a_good_host_has_no_problem_before_and_after(family: str) -> None:
    for found in (migrating(family), converged(family)):
        seen = hosts.seen(SeenToMigrate, found)
        target = with_answers(hosts.target(family), seen)
        assert list(migration.of(target, seen)) == []


def launcher(unfit: str = "") -> parts.Launcher:
    return parts.Launcher(path="/etc/rc.local", unfit=unfit)


def missing(path: str, section: str, owner: str = "") -> parts.MissingFolder:
    return parts.MissingFolder(path, section, owner)


def no_cake(fault: str, place: str = "", rights: str = "") -> CHANGES:
    return {"tree": {"cake": parts.Access(fault, place, rights)}}


HOST: list[tuple[CHANGES, str]] = [
    ({"system": {"init": "bash"}}, "PID 1 is bash, but supervisor's service needs systemd"),
    ({"system": {"busy": "ann@desk has been at work"}}, "ann@desk has been at work: wait"),
    ({"system": {"logs_input": True}}, "add the line `Defaults:deploy !log_input` to sudoers"),
    ({"system": {"inodes": 0}}, "no inode is free in /var/log or /var/lib, where state and logs"),
    ({"system": {"inodes": 199}}, "/var/log or /var/lib has 199 inodes free, but 200 are needed"),
    ({"tree": {"inodes": 0}}, "/var/www/MISP/app/tmp has 0 inodes free, but 200 are needed: remo"),
    ({"system": {"is_writable": False}}, "no file can be written in /var/lib"),
    ({"system": {"memory_kb": 200_000}}, "21 more workers take about 246 MiB: lower the counts"),
    ({"system": {"disk_kb": 1000}}, "/var/log or /var/lib has 0 MiB free, but 195 are needed"),
    ({"tree": {"disk_kb": 1000}}, "/var/www/MISP/app/tmp has 0 MiB free"),
    ({"php": {"path": ""}}, "php is in none of /usr/local/bin, /usr/bin and /bin"),
    ({"php": {"version": (0, 0, 0)}}, "/usr/bin/php does not tell its version"),
    ({"php": {"version": (7, 4, 3), "version_text": "7.4.3"}}, "MISP 2.5.1 needs 8.1 to run"),
    ({"php": {"extensions": ["posix", "curl"]}}, "lacks the extension(s) redis"),
    ({"php": {"disabled": ["exec", "proc_open"]}}, "may not call proc_open, which MISP starts"),
    (
        {"php": {"disabled": ["proc_open"], "disabled_in": "/etc/php.ini"}},
        "with: take it out of disable_functions in /etc/php.ini",
    ),
    (
        {"php": {"path": "", "elsewhere": "/opt/remi/php82/root/usr/bin/php"}},
        "run `ln -s /opt/remi/php82/root/usr/bin/php /usr/local/bin/php`. A job has no PATH but",
    ),
    (
        {"php": {"version": (7, 4, 3), "elsewhere": "/opt/php83/bin/php"}},
        "or link it there, or `ln -s /opt/php83/bin/php /usr/local/bin/php` if that is newer",
    ),
    (
        {"php": {"version": (0, 0, 0), "error": "Permission denied"}},
        "does not tell its version (Permission denied): run `setsid -w runuser -u www-data -- /",
    ),
    (
        {"php": {"open_basedir": "/var/www", "sees_proc": False}},
        "PHP's command line may not look at /proc, where MISP looks at its workers: add /proc to",
    ),
    (
        {"job": {"error": "HOME is not set (exit status 9)"}},
        "without environment as workers start it, ended so: HOME is not set (exit status 9). To "
        "see all of it run `setsid -w runuser -u www-data -- env -i /var/www/MISP/app/Console/cake",
    ),
]
MISP: list[tuple[CHANGES, str]] = [
    ({"tree": {"root_exists": False}}, "/var/www/MISP is no directory: set misp_root"),
    ({"tree": {"version_text": "", "version": (0, 0, 0)}}, "VERSION.json is missing"),
    ({"tree": {"version": (2, 4, 150)}}, "MISP is 2.4.150, but SimpleBackgroundJobs came with"),
    ({"tree": {"version_text": "{}", "version": (0, 0, 0)}}, "holds no version of MISP's"),
    ({"tree": {"config_mode": -1}}, "config.php is missing: finish MISP's own installation"),
    (
        {"tree": {"config_owner": "root"}},
        "config.php belongs to root, not to www-data, "
        "so MISP cannot save its settings: run `find -H /var/www/MISP -xdev -path ",
    ),
    ({"tree": {"web_user": ""}}, "the web user www-data does not exist on this host"),
    ({"tree": {"web_user": "", "config_owner": ""}}, "MISP's web user is not known"),
    (no_cake("missing"), "app/Console/cake is missing: restore it"),
    (
        no_cake("mode", "/var/www/MISP/app/Console/cake", "root:root 750"),
        "www-data may not execute /var/www/MISP/app/Console/cake (root:root 750), and workers and "
        "jobs run it as www-data: run `find -H /var/www/MISP -xdev -path "
        "/var/www/MISP/app/Console/cake \\( -type d -o -links 1 \\) -execdir",
    ),
    (
        no_cake("noexec", "/var/www"),
        "/var/www is mounted noexec, so workers and jobs cannot run /var/www/MISP/app/Console/cake:"
        " run `mount -o remount,exec /var/www`, and take noexec out of /etc/fstab",
    ),
    (
        no_cake("closed", "/var/www/MISP/app", "root:root 700"),
        "www-data may not enter /var/www/MISP/app (root:root 700), so workers and jobs cannot run "
        "/var/www/MISP/app/Console/cake: run `find -H /var/www/MISP -xdev -path /var/www/MISP/app",
    ),
    (
        no_cake("closed", "/var/www", "root:root 700"),
        'run `(cd -P /var/www && [ "$(pwd -P)" = /var/www ] && chmod o+x .)`, or `(cd -P /var/www '
        '&& [ "$(pwd -P)" = /var/www ] && setfacl -m u:www-data:x .)`',
    ),
    (
        no_cake("closed", "/root", "root:root 700"),
        "cake: see the modes on the way (namei -l /var/w",
    ),
    (no_cake("noexec", "/srv"), "if /var/www/MISP is a link that leads there, mount it again with"),
    (
        no_cake("noexec-below", "/var/www/MISP/app/Console"),
        "/var/www/MISP/app/Console, in MISP's own folder, is mounted noexec, so workers and jobs",
    ),
    (
        no_cake("link", "/var/www/MISP/app/Console"),
        "/var/www/MISP/app/Console is a link: have the web user, not root, put the real one in",
    ),
    (no_cake("forbidden", "/x", "root:root 755"), "though its mode allows it (root:root 755): see"),
    (no_cake("unknown"), "though its mode allows it (unknown): see its ACL (getfacl)"),
    ({"tree": {"has_cake_php": False}}, "app/Console/cake.php is missing: restore it"),
    ({"tree": {"is_savable": False}}, "www-data may not write /var/www/MISP/app/Config"),
    ({"tree": {"is_tmp_writable": False}}, "may not write /var/www/MISP/app/tmp or its folder"),
    ({"tree": {"composer": ""}}, "Composer is neither at"),
    (
        {"tree": {"links": ("Vendor",)}, "libraries": {"missing": []}},
        "/var/www/MISP/app/Vendor is a link, and old workers run from where it leads to",
    ),
    (
        {"tree": {"links": ("composer.json",)}},
        "app/composer.json is a link, which cannot be exchanged",
    ),
    ({"tree": {"mounts": ("Vendor",)}}, "app/Vendor is a mount, which cannot be exchanged"),
    (
        {"tree": {"composer": ""}, "libraries": {"missing": [], "is_unfinished": True}},
        "Composer is neither at",
    ),
    ({"web": {"users": ["nginx"]}}, "PHP serves the web as nginx"),
    ({"settings": {"error": "cannot be read by www-data"}}, "config.php cannot be read by www"),
    ({"settings": {"read_timeout": 30.0}}, "gives up on Redis after 30 s, but an idle worker"),
    ({"settings": {"has_background_jobs": False}}, "MISP.background_jobs is false"),
    ({"settings": {"is_redis_password_settable": False}}, "password begins with -"),
    ({"settings": {"block": {**BLOCK, "redis_serializer": "igbinary"}}}, "is igbinary"),
    (
        {"settings": {"block": {**BLOCK, "supervisor_host": "workers.example.org"}}},
        "supervisor_host is workers.example.org, and this deploy runs workers on MISP's own host",
    ),
    ({"settings": {"is_in_database": True, "is_encrypted": True}}, "encryption_key"),
]
FPM: list[tuple[dict[str, Any], str]] = [
    ({"version": (7, 4, 1)}, "is PHP 7.4.1, but MISP 2.5.1 needs 8.1: have the web server use"),
    ({"config_error": "cannot be read by x"}, "which cannot be read by x there: correct its mode"),
    ({"extensions": ["redis", "posix"]}, "lacks the extension(s) curl: install them, enable them"),
    ({"disabled": ["curl_exec", "exec"]}, "php8.2-fpm.sock may not call curl_exec, by which MISP"),
    ({"open_basedir": "/var/www", "sees_proc": False}, "add /proc to its open_basedir (/var/www)"),
]
REDIS: list[tuple[CHANGES, str]] = [
    (
        {"new_backend": {"error": "no connection"}},
        "Redis at 127.0.0.1:6379, database 1, namespace background_jobs cannot be used with the "
        "credentials that MISP will have: no connection",
    ),
    ({"new_backend": {"foreign_keys": ["x:y"]}}, "something else uses Redis at 127.0.0.1:6379"),
    ({"new_backend": {"blocked_clients": 5}}, "5 worker(s) of another MISP wait for jobs in"),
    ({"new_backend": {"waiting": {"prio": 2}}}, "2 job(s) already wait in Redis at"),
]
SUPERVISOR: list[tuple[CHANGES, str]] = [
    (
        {"packages": {"supervisor_version": "3.3.1", "installed": {"supervisor": "3.3.1"}}},
        "CVE-2017-11610",
    ),
    (
        {
            "packages": {
                "supervisor_version": UNKNOWN,
                "installed": {"supervisor": "4.2.5"},
                "version_error": "/x can be changed by others",
            }
        },
        "the version of /usr/bin/supervisord is not known: /x can be changed by others. Correct th",
    ),
    (
        {
            "supervisor": {
                "unit": hosts.NO_UNIT._replace(name="supervisor.service", enabled="masked")
            }
        },
        "supervisor.service is masked: run `systemctl unmask supervisor.service`",
    ),
    (
        {
            "supervisor": {
                "is_listening": True,
                "listeners": [parts.Listener(pid=9, name="tor", unit="tor.service")],
            }
        },
        "port 9001 is taken by tor tor.service: set supervisor_port",
    ),
    ({"supervisor": {"is_listening": True}}, "taken by a process outside this host"),
    ({"supervisor": {"error": "it asks for a password"}}, "runs are not known: it asks for a pass"),
    ({"supervisor": {"workers": [hosts.worker("gunicorn")]}}, "supervisord also runs gunicorn"),
    (
        {"supervisor": {"conf": "/etc/x.conf", "include": ["/etc/other.d/*"]}},
        "/etc/x.conf does not include /etc/supervisor/conf.d/misp-workers.conf",
    ),
    (
        {"supervisor": {"conf": "/etc/x.conf", "include": ["/etc/supervisor/*"]}},
        "/etc/x.conf does not include /etc/supervisor/conf.d/misp-workers.conf",
    ),
    (
        {"supervisor": {"group_elsewhere": {"/etc/a.conf": ""}}},
        "/etc/a.conf has a group misp-workers",
    ),
    (
        {"supervisor": {"group_elsewhere": {"/etc/50-workers.conf": "/srv/misp2"}}},
        "/etc/50-workers.conf has the worker group of the MISP in /srv/misp2",
    ),
    (
        {
            "supervisor": {
                "missing_folders": [missing("/var/log/app", "stdout_logfile of [program:app]")]
            }
        },
        "would not start again, since /var/log/app (stdout_logfile of [program:app]) is missing: "
        "run `mkdir -p /var/log/app`",
    ),
    (
        {
            "supervisor": {
                "missing_folders": [missing("/var/www/MISP/app/x (y)", "logfile", "www-data")]
            }
        },
        "is missing: run `setsid -w runuser -u www-data -- mkdir -p '/var/www/MISP/app/x (y)' <",
    ),
    ({"supervisor": {"other_daemon": "another one runs"}}, "another one runs"),
    ({"packages": {"supervisor_version": "4.3.0"}}, "no systemd unit starts it: give it a unit"),
    (
        {
            "supervisor": {
                "unit": parts.Unit("supervisor.service", "inactive", "enabled", 0, True),
                "identity": hosts.supervisor_identity("debian")._replace(supervisor_program=""),
            }
        },
        "its ExecStart is not supervisord itself",
    ),
    ({"supervisor": {"group_extra": ["[program:mail]"]}}, "conf also has [program:mail]"),
    ({"supervisor": {"group_root": "/srv/misp"}}, "has the worker group of the MISP in /srv/misp"),
    (
        {"supervisor": {"workers": hosts.running("root")}},
        "workers run as root, but www-data must own them",
    ),
]
OWN_RPC = {"inet_file": "/etc/supervisord.conf", "inet_address": "127.0.0.1:9001"}
OLD: list[tuple[CHANGES, str]] = [
    (
        {"old_workers": {"launchers": [launcher("its command goes over several lines")]}},
        "/etc/rc.local also starts the old workers, and this deploy cannot take that out (its com",
    ),
    ({"old_workers": {"hidden": [77]}}, "root may not read /proc/77/cwd"),
    (
        {"old_workers": {"processes": [parts.OldWorker(77, 1, ["prio"], 0)]}},
        "root runs old workers (77)",
    ),
    ({"workers": {"root_strays": [78]}}, "root runs MISP's workers (78) without a supervisord"),
    (
        {"workers": {"elsewhere": {"own.service": [78]}}},
        "workers of this MISP run outside of supervisord's group misp-workers (PID 78 in own.serv",
    ),
    (  # MISP's are in that file
        {
            "workers": {"elsewhere": {"supervisor.service below supervisord": [78]}},
            "supervisor": {"group_elsewhere": {"/etc/supervisor/conf.d/own.conf": ""}},
        },
        "/etc/supervisor/conf.d/own.conf has a group misp-workers, or a program with the name of",
    ),
    (
        {"old_workers": {"started_in": ["ssh.service", "php-fpm.service", "wrapped.service"]}},
        "old workers run in wrapped.service, which does not start them",
    ),
    (
        {"old_workers": {"programs": ["resque in /etc/supervisor/conf.d/resque.conf"]}},
        "supervisord's program resque in /etc/supervisor/conf.d/resque.conf runs the old workers",
    ),
    (
        {"old_workers": {"started_in": ["supervisor.service"]}},
        "old workers run in supervisor.service, where a program of supervisord's has started them",
    ),
    (
        {
            "old_workers": {
                "started_in": ["other.service"],
                "origins": [parts.Origin("other.service", "", "", "", "PID 8, with /opt/s.conf")],
            }
        },
        "another supervisord (PID 8, with /opt/s.conf) runs old workers, in other.service: while",
    ),
    (
        {
            "old_workers": {
                "started_in": ["other.service"],
                "origins": [parts.Origin("other.service", "", "", "", "PID 8", "www-data")],
            }
        },
        "a supervisord of www-data's (PID 8) runs old workers, in other.service: while no job "
        "runs, stop it as that user, and have nothing start it any more. Then start them by",
    ),
    (
        {
            "old_workers": {
                "started_in": [],
                "origins": [parts.Origin("misp.service", "www-data", "", "", "")],
            }
        },
        '--user disable --now -- "$1"\' sh misp.service </dev/null 2>&1 | cat -v`, and the same',
    ),
    (  # supervisord's program, in the file and with the name of our own group
        {
            "old_workers": {
                "programs": ["misp-workers in /etc/supervisor/conf.d/misp-workers.conf"],
                "started_in": ["supervisor.service"],
            },
            "supervisor": {
                "group_extra": ["[program:misp-workers]"],
                "group_root": "/var/www/MISP/app",
                "workers": [hosts.worker("misp-workers")._replace(user="root")],
            },
        },
        "take [program:misp-workers] out of that file and run `supervisorctl update`. Then start",
    ),
    (
        {
            "old_workers": {"programs": ["default in /etc/supervisor/conf.d/old.conf"]},
            "supervisor": {
                "group_elsewhere": {"/etc/supervisor/conf.d/old.conf": ""},
                "workers": [hosts.worker("old:default")],
            },
        },
        "supervisord's program default in /etc/supervisor/conf.d/old.conf runs the old workers",
    ),
    ({"old_backend": {"is_installed": False}}, "config.php is missing, which says in which Redis"),
    ({"old_backend": {"error": "NOAUTH"}}, "Redis does not say how many jobs wait: NOAUTH"),
    (
        {
            "old_workers": {"processes": []},
            "old_backend": {"is_installed": False, "waiting": {"prio": 2}, "at": "h:1"},
        },
        "the old backend (h:1) has 2 waiting in prio, and this MISP has no CakeResque any more",
    ),
    (
        {
            "old_workers": {"processes": []},
            "old_backend": {"is_installed": False, "error": "NOPERM", "at": "h:1"},
        },
        "and whether jobs stayed behind (h:1) cannot be told: NOPERM",
    ),
    (
        {"new_backend": {"error": f"{REFUSES}LLEN (NOPERM): allow it"}},
        "cannot be used as MISP's user: Redis refuses the command LLEN (NOPERM): allow it",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), HOST + MISP + REDIS + SUPERVISOR + OLD)
def test_one_thing_that_is_wrong_is_one_sentence(changes: CHANGES, sentence: str) -> None:
    (problem,) = problems(migrating(**changes))
    assert sentence in problem


@pytest.mark.parametrize(("changes", "sentence"), FPM)
def test_php_fpm_has_to_be_fit_unless_another_pool_may_be_misps(
    changes: dict[str, Any], sentence: str
) -> None:
    unfit = hosts.pool(**changes)
    (problem,) = problems(migrating(web={"pools": [unfit, unfit._replace(at="127.0.0.1:9000")]}))
    assert sentence in problem
    assert problem.startswith("PHP-FPM at /run/php/php8.2-fpm.sock ")
    assert problems(migrating(web={"pools": [unfit, hosts.pool()]})) == []


def test_a_php_fpm_that_gives_no_answer_is_one_only_where_misp_cannot_be_asked_itself() -> None:
    silent = hosts.pool(at="/run/a", error="File not found.")
    found = migrating(web={"pools": [silent]})
    (problem,) = problems(found)
    assert "PHP-FPM at /run/a cannot be asked what it may do (File not found.): have" in problem
    assert "or set misp_url and misp_api_key" in problem
    assert problems(migrating(web={"pools": [silent, hosts.pool()]})) == []
    assert problems(migrating(web={"pools": []})) == []


def test_a_busy_php_fpm_is_no_problem() -> None:
    """It may be fit; another one that is not, and has answered, is."""
    busy = hosts.pool(error="no answer within 10 s", may_be_fit=True)
    assert problems(migrating(web={"pools": [hosts.pool(error="no word"), busy]})) == []
    (problem,) = problems(migrating(web={"pools": [busy, hosts.pool(extensions=[])]}))
    assert "lacks the extension(s)" in problem


def test_a_job_that_fails_is_told_where_nothing_else_explains_it() -> None:
    found = migrating(job={"error": "it fails"}, php={"extensions": ["posix", "curl"]})
    (problem,) = problems(found)
    assert "lacks the extension(s) redis" in problem


@pytest.mark.parametrize(
    ("supervisor", "sentence"),
    [
        (OWN_RPC, "has no port or no username"),
        ({**OWN_RPC, "inet_address": "*:9001", "inet_user": "boss"}, "listens on *:9001, where"),
        (
            {
                **OWN_RPC,
                "inet_user": "boss",
                "inet_answer": "401",
                "is_listening": True,
                "unit": hosts.NO_UNIT._replace(active="active"),
            },
            "(answer: 401)",
        ),
        (
            {**OWN_RPC, "inet_user": "b", "unit": hosts.NO_UNIT._replace(active="active")},
            "(answer: none)",
        ),
    ],
)
def test_an_rpc_of_the_operators_has_to_be_fit(supervisor: dict[str, Any], sentence: str) -> None:
    (problem,) = problems(migrating(supervisor=supervisor))
    assert sentence in problem


NO_ROOT_USER = "the web user is root"


def test_of_a_tree_that_was_not_looked_at_nothing_but_that_is_said() -> None:
    nothing = {"error": NO_ROOT_USER, "version_text": "", "web_user": ""}
    found = migrating(tree=nothing, settings={"error": "not asked"}, php={"path": ""})
    assert problems(found) == [NO_ROOT_USER]


def test_every_problem_is_named_at_once() -> None:
    changes: CHANGES = {
        "system": {"init": "bash"},
        "tree": {"composer": ""},
        "php": {"version": (7, 4, 3)},
        "new_backend": {"error": "gone"},
    }
    assert len(problems(migrating(**changes))) == 4


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"system": {"memory_kb": 500_000}}, {}),
        ({"system": {"memory_kb": -1, "disk_kb": -1, "inodes": -1}, "tree": {"inodes": -1}}, {}),
        ({"web": {"users": ["nginx"]}}, {"misp_web_user": "www-data"}),
        ({"web": {"users": []}}, {}),
        ({"tree": {"composer": ""}, "libraries": {"missing": []}}, {}),
        (
            {
                "tree": {"links": ("composer.json",), "mounts": ("Vendor",)},
                "libraries": {"missing": []},
            },
            {},
        ),
        ({"supervisor": {"conf": "x", "include": ["/etc/supervisor/conf.d/*.conf"]}}, {}),
        ({"supervisor": {"workers": [hosts.worker("web")]}}, {"allow_foreign_restart": True}),
        ({"supervisor": {"is_listening": True}}, {"supervisor_transport": "unix"}),
        (
            {
                "supervisor": {
                    **OWN_RPC,
                    "inet_user": "boss",
                    "inet_answer": "no connection",
                    "unit": hosts.NO_UNIT._replace(active="active"),
                }
            },
            {},
        ),
        ({"old_workers": {"launchers": [launcher()]}}, {}),
        ({"old_workers": {"started_in": ["ssh.service", "php-fpm.service"]}}, {}),
        ({"old_workers": {"processes": []}, "old_backend": {"is_installed": False}}, {}),
        (
            {
                "old_workers": {"processes": []},
                "old_backend": {"is_installed": False, "waiting": {"prio": 2}},
            },
            {"on_leftover_jobs": "convert"},
        ),
        ({"new_backend": {"refused": ("SCAN", "INFO", "CLIENT LIST", "EVAL")}}, {}),
        ({"settings": {"block": {**BLOCK, "supervisor_host": "unix:/run/s.sock"}}}, {}),
        ({"settings": {"block": {**BLOCK, "supervisor_host": "localhost"}}}, {}),
        ({"settings": {"block": {"supervisor_host": "nowhere.invalid"}}}, {}),
    ],
)
def test_what_will_do_is_not_refused(changes: CHANGES, data: dict[str, Any]) -> None:
    assert problems(migrating(**changes), **data) == []


def test_jobs_that_a_script_shall_move_need_a_redis_that_takes_one() -> None:
    found = migrating(new_backend={"refused": ("EVAL",)})
    (problem,) = problems(found, on_leftover_jobs="convert")
    assert "refuses EVAL" in problem


def test_a_masked_unit_that_a_cut_off_install_left_is_no_problem() -> None:
    unit = hosts.NO_UNIT._replace(name="supervisor.service", enabled="masked-runtime")
    found = migrating(supervisor={"unit": unit}, packages={"is_masked": True})
    assert problems(found) == []


@pytest.mark.parametrize("service", ["supervisor", "supervisor.service"])
def test_the_unit_of_the_new_workers_is_not_retired(service: str) -> None:
    (problem,) = problems(migrating(), legacy_service=service)
    assert "legacy_service is supervisord's own unit" in problem


def test_a_legacy_service_that_is_not_there() -> None:
    gone = OLD_UNIT._replace(name="nosuch.service", is_there=False)
    found = migrating(old_workers={"units": [OLD_UNIT, gone]})
    assert problems(found) == []
    (problem,) = problems(found, legacy_service="nosuch")
    assert "there is no unit nosuch.service" in problem


@pytest.mark.parametrize(
    ("supervisor", "sentence"),
    [
        ({**OWN_RPC, "inet_user": "boss"}, "rotate_password does not change the [inet_http_serv"),
        ({"workers": [*hosts.running(), hosts.worker("web")]}, "supervisord also runs web, and a"),
    ],
)
def test_a_rotation_that_would_touch_what_is_somebody_elses(
    supervisor: dict[str, Any], sentence: str
) -> None:
    found = converged(supervisor={**supervisor, "inet_answer": "ok"})
    (problem,) = problems(found, rotate_password=True)
    assert sentence in problem


def test_a_scheduler_needs_a_misp_that_has_one() -> None:
    (problem,) = problems(migrating(), misp_scheduler=True)
    assert "misp_scheduler needs MISP 2.5.18, but this is 2.5.1" in problem


class TestAMigratedMispStaysInItsRedis:
    @staticmethod
    def moved(wanted: dict[str, Any], **stored: Any) -> list[str]:
        place = hosts.PLACE._replace(**wanted)
        return problems(converged(settings={"block": {**BLOCK, **stored}, "wanted": place}))

    @pytest.mark.parametrize(
        ("wanted", "sentence"),
        [
            ({"database": 5}, "at redis_database 1, but the inventory says misp_redis_database 5,"),
            ({"port": 1}, "at redis_port 6379, but the inventory says misp_redis_port 1,"),
            ({"namespace": "x"}, "redis_namespace background_jobs, but the inventory says misp_re"),
            (
                {"host": "r", "database": 5},
                "at redis_host 127.0.0.1 and redis_database 1, but the inventory says "
                "misp_redis_host r and misp_redis_database 5, and the deploy moves no queues",
            ),
            ({"host": "/run/r.sock", "port": 0}, "the inventory says misp_redis_host /run/r.sock,"),
        ],
    )
    def test_another_place_is_refused(self, wanted: dict[str, Any], sentence: str) -> None:
        (problem,) = self.moved(wanted)
        assert sentence in problem

    def test_a_namespace_that_is_missing_is_refused(self) -> None:
        (problem,) = self.moved({}, redis_namespace="")
        assert "without SimpleBackgroundJobs.redis_namespace" in problem

    @pytest.mark.parametrize(
        ("wanted", "stored"),
        [
            ({}, {"redis_port": "6379"}),
            ({}, {"redis_host": "localhost"}),
            ({}, {"redis_database": None}),
            ({"host": "/run/r.sock", "port": 0}, {"redis_host": "/run/r.sock"}),
        ],
    )
    def test_the_same_place_in_other_words(
        self, wanted: dict[str, Any], stored: dict[str, Any]
    ) -> None:
        assert self.moved(wanted, **stored) == []

    def test_a_host_before_its_migration_may_take_any(self) -> None:
        place = hosts.PLACE._replace(database=5)
        block = {**BLOCK, "enabled": False}
        assert problems(migrating(settings={"block": block, "wanted": place})) == []


def test_workers_and_jobs_of_this_misp_are_not_taken_for_anothers() -> None:
    busy = {"blocked_clients": 21, "waiting": {"prio": 2}}
    off = {"settings": {"block": {**BLOCK, "enabled": False}}}
    assert problems(converged(new_backend=busy)) == []
    assert problems(converged(new_backend=busy, **off)) == []  # somebody spoiled its settings
    assert len(problems(migrating(new_backend=busy))) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"tree": {"error": "x"}},
        {"settings": {"error": "x"}},
        {"old_backend": {"error": "read error"}},
    ],
)
def test_a_misp_that_cannot_answer_is_not_asked_over_rest(changes: CHANGES) -> None:
    assert migration.can_ask_rest(hosts.seen(SeenToMigrate, migrating()))
    assert not migration.can_ask_rest(hosts.seen(SeenToMigrate, migrating(**changes)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*BLOCK, "redis_serializer"]), JSON), JSON)
def test_no_lies_of_misps_settings_break_a_check(block: dict[str, Any], enabled: Any) -> None:
    lies = {**block, "enabled": enabled}
    assert isinstance(problems(converged(settings={"block": lies})), list)
