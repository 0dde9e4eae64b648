"""What a host answers to the deploy's probes, for pyinfra's `@fake` connector.

Keys are what the deploy's commands contain (`-- SUBJECT`), values the lines they print.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tasks import preflight, render
from tasks.settings import DEFAULT_WORKERS

Answers = dict[str, Any]

OS_RELEASE = {
    "debian": ["ID=debian", 'VERSION_ID="12"', 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"'],
    "rhel": ['ID="rocky"', 'ID_LIKE="rhel centos fedora"', 'VERSION_ID="9.4"'],
}
WEB_USER = {"debian": "www-data", "rhel": "apache"}
EXAMINE = "+".join((*preflight.SUBJECTS, *preflight.LATER))
PROGRAMS = render.programs(DEFAULT_WORKERS, scheduler=False)
WANTED = {
    "redis_host": "127.0.0.1",
    "redis_port": 6379,
    "redis_database": 1,
    "redis_namespace": "background_jobs",
    "max_job_history_ttl": 86400,
}
BLOCK = {
    **WANTED,
    "supervisor_host": "127.0.0.1",
    "supervisor_port": 9001,
    "supervisor_user": "supervisor",
    "enabled": True,
}
RUNNING = [
    f"{name}   RUNNING   pid {100 + number}, uptime 0:10:00"
    for number, name in enumerate(render.process_names(PROGRAMS))
]


def lines(**values: Any) -> list[str]:
    """KEY<TAB>VALUE lines; a list repeats its key, a dict becomes JSON, `__` stands for `-`."""
    printed = []
    for key, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            text = json.dumps(one) if isinstance(one, dict) else str(one)
            printed.append(f"{key.replace('__', '-')}\t{text}")
    return printed


def settings(block: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The answer to "what does config.php say"; with `block=BLOCK` as the deploy leaves it."""
    matches = block is not None
    return {
        "block": block or {},
        "wanted": WANTED,
        "supervisor_password_matches": matches,
        "redis_password_matches": matches,
        "database_mode": False,
        "encrypted": False,
        "background_jobs": True,
        **changes,
    }


def get_workers(**changes: Any) -> dict[str, Any]:
    """MISP's own view of the guide's worker set."""
    queues = {
        queue: {"ok": True, "workers": [{"pid": 1, "ok": True}] * count, "jobCount": 0}
        for queue, count in DEFAULT_WORKERS.items()
    }
    return {**queues, "proc_accessible": True, "supervisord_status": True, **changes}


def examined(family: str, **changes: Any) -> dict[str, Any]:
    """The answer to preflight of a host that can be migrated, still on the old workers."""
    user = WEB_USER[family]
    return {
        "init": "systemd",
        "memory_kb": 4_000_000,
        "disk_kb": 9_000_000,
        "disk_var_kb": 9_000_000,
        "tool": ["setpriv", "flock"],
        "root": "/var/www/MISP",
        "version": {"major": 2, "minor": 5, "hotfix": 1},
        "config": f"{user} {user} 640",
        "cake": "/var/www/MISP/app/Console/cake",
        "cake_php": "yes",
        "composer": "php composer.phar",
        "web_user": f"{user} {user}",
        "php": "/usr/bin/php",
        "php_version": "8.2.20",
        "extension": ["redis", "posix", "curl"],
        "web": ["root 100 php-fpm.service", f"{user} 100 php-fpm.service"],
        "settings": settings(),
        "redis": {"ok": True, "foreign_keys": [], "waiting": 0, "blocked_clients": 0},
        "mode": "Absent",
        "legacy": QUIET,
        "unit": "misp-workers.service active enabled",
        "process": "77 76 default",
        **changes,
    }


QUIET = {"installed": True, "waiting": {"default": 0}, "running": 0, "delayed": 0}


def identity(family: str) -> list[str]:
    """The first answer of all: root, and which system."""
    return lines(user="0", os__release=OS_RELEASE[family])


def migrating(family: str, **preflight: Any) -> Answers:
    """A host on which every step has something to do and every step works."""
    later = {
        "packages": [],
        "libraries": lines(**{"class": ["Supervisor\\Supervisor no"], "libraries": "done"}),
        "rpc": lines(unit_state="inactive disabled"),
        "workers": lines(status=RUNNING),
        "proof": lines(status=RUNNING, evidence="e"),
        "legacy": lines(
            legacy=QUIET, unit="misp-workers.service active enabled", process="77 76 default"
        ),
    }
    return {
        "id -u": identity(family),
        f"-- {EXAMINE}": look(examined(family, **preflight), {}),
        "-- proof+legacy+view": [
            *("@proof", *later["proof"]),
            *("@view", *lines(get_workers=get_workers())),
        ],
        **{f"-- {subject}": [f"@{subject}", *answer] for subject, answer in later.items()},
        "-- settings+web": ["@settings", *lines(settings=settings()), "@web", *lines(boot="b")],
        "-- settings": ["@settings", *lines(settings=settings(BLOCK))],
    }


def converged(family: str, **preflight: Any) -> Answers:
    """A host that a run has finished with; one look at it is all that a run takes."""
    user = WEB_USER[family]
    group = render.worker_group(PROGRAMS, "/var/www/MISP", user)
    digest = hashlib.sha256(group.encode()).hexdigest()
    done = {
        "unit": "misp-workers.service inactive disabled",
        "process": [],
        "settings": settings(BLOCK),
        "boot": "b",
        "settings_changed": "b 50",
        "web_reloaded": "b 50",
    }
    later = {
        "packages": lines(package="supervisor installed 4.2.5", supervisor_version="4.2.5"),
        "libraries": lines(**{"class": ["Supervisor\\Supervisor yes"], "libraries": "done"}),
        "rpc": lines(
            unit_state="active enabled",
            file="current",
            file_mode="root:root 600",
            answer="200 42",
            daemon_pid="42",
        ),
        "workers": lines(
            file=f"root:root 644 {digest}",
            log_dir=f"root:{user} 750",
            applied=digest,
            status=RUNNING,
        ),
        "proof": lines(proven="e", evidence="e", status=RUNNING),
        "view": lines(get_workers=get_workers()),
    }
    return {
        "id -u": identity(family),
        f"-- {EXAMINE}": look(examined(family, **{**done, **preflight}), later),
    }


SUBJECT_OF = {
    "web": ("web", "boot", "settings_changed", "web_reloaded"),
    "settings": ("settings",),
    "redis": ("redis",),
    "legacy": (
        *("legacy", "unit", "process", "hidden_process", "no_unit"),
        *("launcher", "unfit_launcher", "old_program", "taken_out", "started_in"),
    ),
}


def look(values: dict[str, Any], later: dict[str, list[str]]) -> list[str]:
    """The answer to preflight's one look: every subject's part of it."""
    placed = {key: subject for subject, keys in SUBJECT_OF.items() for key in keys}
    printed: list[str] = []
    for subject in EXAMINE.split("+"):
        # What is asked of no step by itself may stand anywhere.
        mine = {k: v for k, v in values.items() if placed.get(k, "system") == subject}
        printed += [f"@{subject}", *lines(**mine), *later.get(subject, [])]
    return printed
