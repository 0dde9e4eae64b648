"""The peers that are a script over one SSH session: the bare floor, and the guide's commands."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import misp
from lab.bases import Family
from lab.errors import LabError
from lab.hosts import LabHost

HERE = Path(__file__).resolve().parent
TIME_LIMIT = 300.0

_PLATFORM: dict[Family, dict[str, str]] = {
    "debian": {
        "package_query": "dpkg-query -W",
        "supervisor_unit": "supervisor",
        "supervisor_conf": "/etc/supervisor/supervisord.conf",
        "include_dir": "/etc/supervisor/conf.d",
        "group_file": "/etc/supervisor/conf.d/misp-workers.conf",
    },
    "rhel": {
        "package_query": "rpm -q",
        "supervisor_unit": "supervisord",
        "supervisor_conf": "/etc/supervisord.conf",
        "include_dir": "/etc/supervisord.d",
        "group_file": "/etc/supervisord.d/misp-workers.ini",
    },
}
_MARKER = "--- getWorkers"


def require_program() -> None:
    """Make sure that there is an SSH client.

    Raises:
        LabError: when there is none.
    """
    if not shutil.which("ssh"):
        raise LabError("There is no ssh on the PATH.", "install openssh-client.")


def floor(hosts: Sequence[LabHost]) -> None:
    """Log in to each host once, ask everything at once, and call MISP's CLI once.

    Raises:
        LabError: when an answer is not a converged host's.
    """
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        list(pool.map(_ask, hosts))


def _ask(host: LabHost) -> None:
    done = _log_in(host, "sudo -n sh -s", _program("floor.sh", _variables(host)))
    probe, _, view = done.stdout.partition(f"{_MARKER}\n")
    if "RUNNING" not in probe or not _is_good(view):
        raise LabError(f"{host.name} does not answer as a converged host:\n{done.stderr[-2000:]}")


def _is_good(view: str) -> bool:
    try:
        return json.loads(view).get("supervisord_status") is True
    except ValueError:
        return False


def migrate(host: LabHost, php_unit: str) -> None:
    """Run the guide's commands on a fresh host.

    Raises:
        LabError: when one of them failed.
    """
    done = _log_in(host, "sh -s", guide(host, php_unit))
    if done.returncode:
        tail = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        raise LabError(f"{host.name}: the guide's commands failed:\n{tail}")


def guide(host: LabHost, php_unit: str) -> str:
    """Give the guide's commands for this host, as a script for sh on standard input."""
    return _program("guide.sh", {**_variables(host), "php_unit": php_unit})


def _variables(host: LabHost) -> dict[str, str]:
    return {
        **_PLATFORM[host.family],
        "family": host.family,
        "misp_root": host.spec.misp_root,
        "web_user": host.spec.web_user,
        "legacy_unit": misp.OLD_UNITS[host.spec.launcher],
        "marker": _MARKER,
    }


def _log_in(host: LabHost, shell: str, script: str) -> subprocess.CompletedProcess[str]:
    login = [*shlex.split(host.ssh_command), "-o", "BatchMode=yes"]
    return subprocess.run(
        [*login, shell],
        input=script,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )


def _program(script: str, variables: Mapping[str, str]) -> str:
    body = (HERE / script).read_text(encoding="utf-8")
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    # In a function, so that no command reads the script as its own standard input.
    return "\n".join(["main() {", *lines, body, "}", "main </dev/null", ""])
