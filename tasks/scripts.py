"""The scripts that run on a host: texts from tasks/remote/ with a host's values in front.

A script goes to a shell on standard input, so neither it nor a secret in it is ever an argument of
a process, a line in sudo's log or a file. What is logged of it is its name.
"""

from __future__ import annotations

import getpass
import json
import platform
import re
import shlex
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from tasks import render
from tasks.platforms import Platform
from tasks.target import Target

RUN_ID = uuid.uuid4().hex  # of this pyinfra process, for the lock on each host
RUN_OWNER = re.sub(r"[^A-Za-z0-9@._-]", "-", f"{getpass.getuser()}@{platform.node()}")
REMOTE = Path(__file__).resolve().parent / "remote"
# What runs a script, its name behind it. Not `sh -s`: bash, which is sh on the RHEL family, would
# read it from SSH byte by byte (31 ms of processor time a script; 14 ms this way).
RUNNER = "sh -c 'eval \"$(cat)\"' --"
# Functions; the other *.sh are actions.
PARTS = ("lib", "workers", "originals", "launchers", "probes", "web", "jobs", "restore")
LIBRARIES = (
    "supervisorphp/supervisor:^4.0",  # 5.1 dropped constants that MISP uses (MISP #10006)
    "guzzlehttp/guzzle",
    "php-http/message",
    "php-http/message-factory",  # no longer a dependency of php-http/message (MISP #9232)
    "lstrojny/fxmlrpc",
)


# What each subject asks of PHP (see remote/ask.php): one process answers for all of them.
_PHP = ("php_version", "extension")
_TOPICS = {
    "php": _PHP,
    "settings": ("settings",),
    "redis": ("redis",),
    "legacy": ("legacy",),
    "libraries": ("class", "libraries"),
    "supervisor": ("password",),
    "rpc": ("password",),
    "workers": ("password",),
    "proof": ("password", *_PHP, "evidence"),
    "view": ("redis",),
    "new_backend": ("redis",),
}
_WITH_STATUS = {"supervisor", "rpc", "workers", "proof"}


class Script(str):
    """A script's text. Wherever it is printed or formatted, its name appears in its place.

    pyinfra prints the keyword arguments of a fact at -v, and standard input is one of them.
    """

    label: str

    def __new__(cls, label: str, text: str) -> Script:
        """Keep `text` as the value and `label` as what is shown of it."""
        script = super().__new__(cls, text if text.endswith("\n") else text + "\n")
        script.label = label
        return script

    def __repr__(self) -> str:
        return f"<{self.label}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def probe(target: Target, *subjects: str) -> Script:
    """A script that prints what is true of `subjects` (see remote/probes.sh)."""
    looks = {one: f"echo @{one}; probe_{one}" for one in subjects}
    by_shell = [look for one, look in looks.items() if one not in _TOPICS]
    by_php = [look for one, look in looks.items() if one in _TOPICS]
    body = "\n".join([*by_shell, "gather", *by_php])
    # Both take long and are on their way while the shell looks by itself.
    body = f"see_rpc\n{_beside('misp_topics', 4, body)}"
    if "view" in subjects:
        body = _beside("misp_view", 3, body)
    status = "yes" if _WITH_STATUS.intersection(subjects) else "no"
    waits = "no" if "run_state" in subjects else "yes"  # to say that a run is at work, not to wait
    last = sorted(subjects, key="libraries".__eq__)  # a broken class file ends PHP
    topics = dict.fromkeys(topic for one in last for topic in _TOPICS.get(one, ()))
    return _script(
        "+".join(subjects),
        target,
        {"topics": " ".join(topics), "needs_status": status, "waits_for_lock": waits},
        f"await_actions\n{body}\nexit 0",
        programs=("php_misp",),  # a shell forks the quicker the less it holds
    )


def _beside(command: str, descriptor: int, body: str) -> str:
    """`body`, which reads from the descriptor what `command` prints."""
    return f"{command} | {{\nexec {descriptor}<&0 </dev/null\n{body}\n}}"


def action(name: str, target: Target, **extra: str) -> Script:
    """The script remote/`name`.sh, which changes something, with further shell variables."""
    return _script(name, target, extra, "hold_lock\n" + _text(f"{name}.sh"))


def _script(
    label: str,
    target: Target,
    extra: Mapping[str, str],
    body: str,
    programs: Iterable[str] = (),
) -> Script:
    asked = {"topics": "", "needs_status": "no", "waits_for_lock": "yes"}
    values = {**variables(target), **asked, **extra}
    lines = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
    # In a function, so that nothing runs of a script that was cut off on its way.
    parts = (_text(f"{part}.sh") for part in PARTS)
    whole = "\n".join([*lines, _php(*(programs or _PROGRAMS)), *parts, body])
    return Script(label, f"main() {{\n{whole}\n}}\nmain </dev/null\n")


def variables(target: Target) -> dict[str, str]:
    """The shell variables that stand for a host and its data in every script; secrets in clear."""
    settings = target.settings
    password = target.secrets.supervisor_password
    return {
        "run_id": RUN_ID,
        "run_owner": RUN_OWNER,
        "misp_root": settings.misp_root,
        "web_user": target.web_user,
        "web_group": target.web_group,
        "state_dir": target.state_dir,
        "backend_before": "on" if target.is_on else "off",
        "log_dir": render.LOG_DIR,
        "legacy_service": settings.legacy_service or "",
        "drain_timeout": str(settings.drain_timeout),
        "on_leftover_jobs": settings.on_leftover_jobs,
        "desired_json": json.dumps(target.desired_redis()),
        "desired_password": password.unmask() if password else "",
        "supervisor_transport": settings.supervisor_transport,
        "rpc_port": str(target.rpc_port),
        "rpc_user": target.rpc_user,
        "rpc_socket": target.rpc_socket,
        "rpc_template": target.rpc_text(),
        "password_token": render.PASSWORD_SHA1_TOKEN,
        "composer": target.composer,
        "libraries": " ".join(LIBRARIES),
        "packages": " ".join(target.packages()),
        "package_names": " ".join(target.possible_packages),
        **_platform_variables(target.platform),
    }


def _platform_variables(system: Platform) -> dict[str, str]:
    return {
        "supervisor_package": system.supervisor_package,
        "supervisor_unit": system.supervisor_unit,
        "supervisor_conf": system.supervisor_conf,
        "supervisor_include_dir": system.supervisor_include_dir,
        "supervisor_include_suffix": system.supervisor_include_suffix,
        "rpc_file": system.include_file("misp-rpc"),
        "group_file": system.include_file(render.GROUP),
        "package_query": system.package_query,
        "package_repair": system.package_repair,
        "package_refresh": system.package_refresh,
        "package_install": system.package_install,
        "package_offered": system.package_offered,
        "epel_packages": " ".join(system.epel_packages),
    }


_MISP = ("misp", "places", "redis")
# Each becomes a shell variable, an argument of `php -r` that holds no secret.
_PROGRAMS = {
    "php_misp": (*_MISP, "resque", "rpc", "libraries", "ask"),
    "php_canary": (*_MISP, "canary"),
    "php_list_old_jobs": (*_MISP, "resque", "jobs", "list_old_jobs"),
    "php_convert_jobs": (*_MISP, "resque", "jobs", "jobs_table", "convert_jobs"),
    "php_move_jobs": (*_MISP, "resque", "jobs", "move_jobs"),
    "php_freeze_workers": (*_MISP, "resque", "jobs", "freeze_workers"),
    "php_forget_old_workers": (*_MISP, "resque", "forget_old_workers"),
    "php_set_settings": ("set_settings",),
}


@cache
def _php(*programs: str) -> str:
    """PHP programs, put together on the host from pieces, which several of them share."""
    pieces = dict.fromkeys(piece for program in programs for piece in _PROGRAMS[program])
    lines = [f"code_{piece}={shlex.quote(_text(f'{piece}.php'))}" for piece in pieces]
    for program in programs:
        lines.append(f"{program}={''.join(f'$code_{part}' for part in _PROGRAMS[program])}")
    return "\n".join(lines)


@cache
def _text(name: str) -> str:
    return (REMOTE / name).read_text(encoding="utf-8")
