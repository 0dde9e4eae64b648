"""Typed parts of sample hosts, and the lines in which a fake host answers with them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from tasks import render
from tasks.checks.seen import AnySeen
from tasks.host import boot, parts
from tasks.host.site import SupervisorIdentity
from tasks.platforms import detect
from tasks.setting_types import DEFAULT_WORKERS
from tasks.settings import Secrets, from_host_data
from tasks.target import Target

Parts = dict[str, Any]  # a part by the snake-case name of its class

OS_RELEASE = {
    "debian": ["ID=debian", 'VERSION_ID="12"', 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"'],
    "rhel": ['ID="rocky"', 'ID_LIKE="rhel centos fedora"', 'VERSION_ID="9.4"'],
}
WEB_USER = {"debian": "www-data", "rhel": "apache"}
ROOT = "/var/www/MISP"
PROGRAMS = render.programs(DEFAULT_WORKERS, scheduler=False)
PLACE = parts.Place(
    host="127.0.0.1",
    port=6379,
    database=1,
    namespace="background_jobs",
    max_job_history_ttl=86400,
)
BLOCK: dict[str, Any] = {
    "redis_host": "127.0.0.1",
    "redis_port": 6379,
    "redis_database": 1,
    "redis_namespace": "background_jobs",
    "max_job_history_ttl": 86400,
    "supervisor_host": "127.0.0.1",
    "supervisor_port": 9001,
    "supervisor_user": "supervisor",
    "enabled": True,
}
LIBRARIES = {"supervisorphp/supervisor": "4.0.0", "lstrojny/fxmlrpc": "0.22.0"}
SOURCES = parts.Sources(
    packages={"supervisor": "4.2.5-1"},
    libraries={"guzzlehttp/guzzle": "7.9.2"},
    problems=[],
    late=[],
    rooms=[],
)
NO_UNIT = parts.Unit(name="", active="", enabled="", main_pid=0, is_there=False)
OLD_UNIT = parts.Unit(
    name="misp-workers.service", active="active", enabled="enabled", main_pid=76, is_there=True
)


def target(family: str = "debian", *, secrets: Secrets | None = None, **data: Any) -> Target:
    """A target as preflight leaves it on a host of `family`; `data` is the inventory's."""
    os_release = {"ID": "debian", "VERSION_ID": "12"}
    if family == "rhel":
        os_release = {"ID": "rocky", "ID_LIKE": "rhel", "VERSION_ID": "9.4"}
    return Target(
        settings=from_host_data(data),
        secrets=secrets or Secrets(),
        platform=detect(os_release),
        web_user=WEB_USER[family],
        web_group=WEB_USER[family],
        version=(2, 5, 1),
        redis=PLACE,
    )


def worker(name: str, state: str = "RUNNING", note: str = "", **changes: Any) -> parts.Worker:
    """A worker of the group; one that runs has a process."""
    is_alive = state in ("RUNNING", "STARTING", "STOPPING")
    made = parts.Worker(
        name=name,
        state=state,
        pid=100 if is_alive else 0,
        uptime=600 if is_alive else 0,
        note=note,
        user="www-data" if is_alive else "",
    )
    return made._replace(**changes)


def running(user: str = "www-data") -> list[parts.Worker]:
    """The guide's worker set, as it is to be."""
    return [
        worker(name, pid=100 + number, user=user)
        for number, name in enumerate(render.process_names(PROGRAMS))
    ]


def pool(**changes: Any) -> parts.Pool:
    """PHP-FPM as MISP needs it."""
    made = parts.Pool(
        at="/run/php/php8.2-fpm.sock",
        error="",
        version=(8, 2, 20),
        extensions=["redis", "posix", "curl"],
        disabled=[],
        open_basedir="",
        sees_proc=True,
        config_error="",
    )
    return made._replace(**changes)


def get_workers(**changes: Any) -> dict[str, Any]:
    """MISP's own view of the guide's worker set."""
    queues = {
        queue: {"ok": True, "workers": [{"pid": 1, "ok": True}] * count, "jobCount": 0}
        for queue, count in DEFAULT_WORKERS.items()
    }
    return {**queues, "proc_accessible": True, "supervisord_status": True, **changes}


def changed(base: Parts, changes: dict[str, dict[str, Any]]) -> Parts:
    """The parts with other values: `{"system": {"init": "bash"}}`."""
    assert set(changes) <= set(base), set(changes) - set(base)
    return {
        name: part._replace(**changes[name]) if name in changes else part
        for name, part in base.items()
    }


def migrating(family: str = "debian", /, **changes: dict[str, Any]) -> Parts:
    """A host that can be migrated, still on its old workers."""
    user = WEB_USER[family]
    return changed({**_host(user), **_old_backend(), **_nothing_new(family)}, changes)


def supervisor_identity(family: str) -> SupervisorIdentity:
    """The supervisord that the family's package brings."""
    system = detect(dict(line.replace('"', "").split("=", 1) for line in OS_RELEASE[family]))
    return SupervisorIdentity(
        supervisor_unit=system.supervisor_unit,
        supervisor_program="/usr/bin/supervisord",
        supervisor_conf=system.supervisor_conf,
        include_dir=system.supervisor_include_dir,
        include_suffix=system.supervisor_include_suffix,
    )


def converged(family: str = "debian", /, **changes: dict[str, Any]) -> Parts:
    """A host that a run has finished with."""
    user = WEB_USER[family]
    group = render.worker_group(PROGRAMS, ROOT, user)
    digest = hashlib.sha256(group.encode()).hexdigest()
    unit = f"{'supervisor' if family == 'debian' else 'supervisord'}.service"
    conf = "/etc/supervisor/supervisord.conf" if family == "debian" else "/etc/supervisord.conf"
    include = "/etc/supervisor/conf.d/*.conf" if family == "debian" else "/etc/supervisord.d/*.ini"
    done: dict[str, dict[str, Any]] = {
        "settings": {
            "block": BLOCK,
            "is_supervisor_password_right": True,
            "is_redis_password_right": True,
        },
        "old_workers": {
            "processes": [],
            "units": [OLD_UNIT._replace(active="inactive", enabled="disabled", main_pid=0)],
            "started_in": [],
        },
        "packages": {"installed": {"supervisor": "4.2.5"}, "supervisor_version": "4.2.5"},
        "libraries": {"missing": [], "versions": LIBRARIES},
        "supervisor": {
            "conf": conf,
            "unix_socket": "/run/supervisor.sock",
            "include": [include],
            "unit": parts.Unit(unit, "active", "enabled", 42, True),
            "is_listening": True,
            "listeners": [parts.Listener(pid=42, name="supervisord", unit=unit)],
            "group_root": ROOT,
            "workers": running(user),
        },
        "rpc": {"is_current": True, "answer": "ok", "keeps_log_folders": True},
        "workers": {"digest": digest, "has_log_dir": True, "applied": digest},
        "proof": {"proven": "e", "evidence": "e"},
        "view": {"error": "", "workers": get_workers()},
        "originals": {"is_kept": True, "units_before": [OLD_UNIT]},
        "run_state": {"has_state": True},
    }
    return changed(changed(migrating(family), done), changes)


def _host(user: str) -> Parts:
    return {
        "system": parts.System(
            init="systemd",
            memory_kb=4_000_000,
            disk_kb=9_000_000,
            inodes=1_000_000,
            is_writable=True,
            busy="",
            logs_input=False,
            login="deploy",
        ),
        "tree": parts.Tree(
            error="",
            root_exists=True,
            web_user=user,
            web_group=user,
            version_text='{"major":2, "minor":5, "hotfix":1}',
            version=(2, 5, 1),
            config_owner=user,
            config_mode=0o640,
            is_savable=True,
            cake=parts.Access("", "", ""),
            has_cake_php=True,
            composer="php composer.phar",
            disk_kb=9_000_000,
        ),
        "php": parts.Php(
            path="/usr/bin/php",
            version=(8, 2, 20),
            version_text="8.2.20",
            extensions=["redis", "posix", "curl"],
            disabled=[],
            disabled_in="",
            open_basedir="",
            sees_proc=True,
            elsewhere="",
            error="",
        ),
        "web": parts.Web(
            users=["root", user], units=["php-fpm.service"], is_stale=False, pools=[pool()]
        ),
        "job": parts.Job(error=""),
        "settings": parts.Settings(
            error="",
            block={},
            wanted=PLACE,
            is_supervisor_password_right=False,
            is_redis_password_right=False,
            is_redis_password_settable=True,
            is_in_database=False,
            is_encrypted=False,
            has_background_jobs=True,
            read_timeout=-1.0,
            is_pending=False,
        ),
        "new_backend": parts.NewBackend(
            waiting={}, foreign_keys=[], eviction="noeviction", version="7.0.15"
        ),
        "scheduled_tasks": parts.ScheduledTasks(left=0, lines=[], error="", unfit=[], lacks=[]),
    }


def _old_backend() -> Parts:
    return {
        "old_backend": parts.OldBackend(waiting={"default": 0}, elsewhere={}),
        "old_workers": parts.OldWorkers(
            processes=[parts.OldWorker(pid=77, parent=76, queues=["*"], uid=33)],
            hidden=[],
            units=[OLD_UNIT],
            launchers=[],
            programs=[],
            is_taken_out=False,
            started_in=["misp-workers.service"],
            origins=[parts.Origin("misp-workers.service", "", "", "", "")],
            indirect={},
            variables={},
        ),
        "originals": parts.Originals(
            is_kept=False,
            was_on=False,
            daemon_before="",
            units_before=[],
            units_now=[],
            launchers=[],
            are_launchers_out=False,
            has_rpc_file=False,
            unserved=[],
        ),
        "run_state": parts.RunState(has_state=False, is_at_work=False, last_run=""),
    }


def _nothing_new(family: str) -> Parts:
    unit = f"{'supervisor' if family == 'debian' else 'supervisord'}.service"
    return {
        "packages": parts.Packages(installed={}, supervisor_version="", is_masked=False),
        "libraries": parts.Libraries(
            missing=["Supervisor\\Supervisor"],
            is_complete=True,
            is_unfinished=False,
            versions={},
        ),
        "supervisor": parts.Supervisor(
            identity=supervisor_identity(family),
            conf="",
            include=[],
            unit=NO_UNIT._replace(name=unit),
            unix_socket="",
            inet_file="",
            inet_address="",
            inet_user="",
            inet_answer="",
            is_listening=False,
            listeners=[],
            group_elsewhere={},
            group_root="",
            group_extra=[],
            lost_folders=[],
            missing_folders=[],
            other_daemon="",
            error="",
            workers=[],
        ),
        "rpc": parts.Rpc(is_current=False, answer="", keeps_log_folders=False),
        "own_rpc": parts.OwnRpc(mode=-1, password_length=0),
        "workers": parts.Workers(
            digest="",
            has_log_dir=False,
            applied="",
            strays=[],
            root_strays=[],
            busy=[],
            elsewhere={},
        ),
        "proof": parts.Proof(proven="", evidence="e"),
        "view": parts.View(error="", workers={"cache": {"ok": True}}),
        "health_check": parts.HealthCheck(digest=""),
        "selinux": parts.Selinux(
            mode="Absent", built="", is_loaded=False, cake_label="", cake_rule="", has_network=False
        ),
    }


def seen(kind: type[AnySeen], found: Parts) -> AnySeen:
    """What a check looks at, of these parts."""
    return kind(**{field.name: found[field.name] for field in fields(kind)})


# --- a fake host's answers ----------------------------------------------------------------------


def identity(family: str, python: str = "/usr/bin/python3 3.11") -> list[str]:
    """The first answer of all: root, the Python, and which system."""
    system = [f"os-release\t{line}" for line in OS_RELEASE[family]]
    return ["user\t0", f"python\t{python}", *system]


def answer(value: Any) -> list[str]:
    """The line in which a host function's result arrives."""
    return [signed(json.dumps({"value": boot.plain(value)}))]


def refusal(kind: str, text: str) -> list[str]:
    """The line in which a host function's own error arrives."""
    return [signed(json.dumps({"error": {"kind": kind, "text": text}}))]


def signed(text: str) -> str:
    """Any text as an answer that is whole."""
    return f"{boot.MARK} {hashlib.sha256(text.encode()).hexdigest()} {text}"


def look(found: Parts) -> list[str]:
    """The answer to any look at this host: it may hold more than was asked."""
    return answer({_class_name(name): part for name, part in found.items()})


def look_key(kinds: Iterable[type]) -> str:
    """What the command of a look at these parts contains."""
    return f"look.take {' '.join(kind.__name__ for kind in kinds)}"


def _class_name(name: str) -> str:
    return re.sub(r"(?:^|_)([a-z])", lambda match: match[1].upper(), name)
