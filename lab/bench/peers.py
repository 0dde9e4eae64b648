"""The three ways to ask whether hosts are converged: the deploy, an Ansible playbook, the floor.

Each function asks once and fails when a host turns out not to be converged: a time that was spent
on changes, or on an error, measures something else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import misp, run
from lab.bases import Family
from lab.bench.measure import round_trips
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab

HERE = Path(__file__).resolve().parent
ANSIBLE_DIR = HERE / "ansible"
TIME_LIMIT = 300.0

NOT_IN_THE_PLAYBOOK = (
    "preflight (versions, extensions, memory, disk, ports, other MISPs' keys, hidden old workers)",
    "whether supervisord has loaded the current file, and whether a proof was made for it",
    "proof by a job on every queue, drain, stop of the old workers without cutting a job, return",
)
"""What the deploy does and the playbook does not, in words for the report."""

NOT_IN_THE_FLOOR = "the floor judges nothing: it only asks, in one login"

_PLATFORM: dict[Family, dict[str, str]] = {
    "debian": {
        "package_query": "dpkg-query -W",
        "supervisor_unit": "supervisor",
        "include_dir": "/etc/supervisor/conf.d",
    },
    "rhel": {
        "package_query": "rpm -q",
        "supervisor_unit": "supervisord",
        "include_dir": "/etc/supervisord.d",
    },
}
_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)"
    r"\s+failed=(?P<failed>\d+)",
    re.M,
)
_MARKER = "--- getWorkers"


def require_programs() -> None:
    """Make sure that everything is there that the peers are run with.

    Raises:
        LabError: naming what is missing.
    """
    if not _ansible_playbook().exists():
        raise LabError(
            "ansible-core is not installed here.", "run ./noxw -s bench, which installs it."
        )
    if not shutil.which("ssh"):
        raise LabError("There is no ssh on the PATH.", "install openssh-client.")


# --- the deploy ---------------------------------------------------------------------------------


def deploy(lab: Lab, hosts: Sequence[LabHost]) -> None:
    """Run the deploy again.

    Raises:
        LabError: when it failed, changed something or left a host out.
    """
    limits = [word for host in hosts for word in ("--limit", host.name)]
    check_unchanged(run.apply(lab, *limits).check(), [host.name for host in hosts])


def check_unchanged(done: run.Run, hosts: Sequence[str]) -> None:
    """Check that a run looked at every one of HOSTS and changed nothing.

    A limit that fits no host is no error to pyinfra, and very fast.

    Raises:
        LabError: naming the operations that changed something, or the hosts that were left out.
    """
    if done.changed:
        names = ", ".join(operation.name for operation in done.changed)
        raise LabError(f"The deploy changed something on a converged host: {names}")
    looked_at = {host for operation in done.operations for host in operation.no_change}
    if left_out := sorted(set(hosts) - looked_at):
        raise LabError(f"The deploy left out {', '.join(left_out)}.")


def count_round_trips(lab: Lab) -> dict[str, int]:
    """Run the deploy again, not timed, and count its round trips per host."""
    return round_trips(run.pyinfra(lab, "deploy.py", "-y", "--debug").check().stderr)


# --- Ansible ------------------------------------------------------------------------------------


class Playbook:
    """ansible/playbook.yml against the hosts of a lab, over the same SSH key."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._folder = folder
        self._inventory = folder / "hosts.json"
        self._inventory.write_text(json.dumps(inventory(list(lab)), indent=1))

    def run(self, hosts: Sequence[LabHost]) -> None:
        """Run the playbook; like the other two it begins without a connection.

        Raises:
            LabError: when a host failed or was changed.
        """
        limit = ",".join(host.name for host in hosts)
        arguments = ["--inventory", str(self._inventory), "--limit", limit]
        with self._environment() as environment:
            done = subprocess.run(
                [str(_ansible_playbook()), *arguments, "playbook.yml"],
                cwd=ANSIBLE_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
                check=False,
            )
        check_recap(done.stdout, [host.name for host in hosts])

    @contextlib.contextmanager
    def _environment(self) -> Iterator[dict[str, str]]:
        # A short path, because that of a socket may have 107 letters at most.
        with tempfile.TemporaryDirectory(prefix="cp") as sockets:
            yield {
                **{key: text for key, text in os.environ.items() if "ANSIBLE" not in key},
                "ANSIBLE_CONFIG": str(ANSIBLE_DIR / "ansible.cfg"),
                "ANSIBLE_HOME": str(self._folder / "home"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
                "LC_ALL": "C.UTF-8",
            }
            for socket in Path(sockets).iterdir():
                exit_master = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "host"]
                subprocess.run(exit_master, capture_output=True, check=False)


def _ansible_playbook() -> Path:
    return Path(sys.executable).with_name("ansible-playbook")


def inventory(hosts: Sequence[LabHost]) -> dict[str, Any]:
    """Make Ansible's inventory of lab hosts, in a group for each family."""
    groups: dict[str, Any] = {}
    for host in hosts:
        groups.setdefault(host.family, {"hosts": {}})["hosts"][host.name] = _variables(host)
    return {"all": {"children": groups}}


def _variables(host: LabHost) -> dict[str, Any]:
    data = host.data
    known_hosts = f"-o UserKnownHostsFile={shlex.quote(data['ssh_known_hosts_file'])}"
    return {
        "ansible_host": data["ssh_hostname"],
        "ansible_port": data["ssh_port"],
        "ansible_user": data["ssh_user"],
        "ansible_ssh_private_key_file": data["ssh_key"],
        "ansible_ssh_common_args": f"{known_hosts} -o IdentitiesOnly=yes",
        "legacy_unit": misp.OLD_UNITS[host.spec.launcher],
        **{key: value for key, value in data.items() if key.startswith("misp_")},
    }


def check_recap(output: str, hosts: Sequence[str]) -> None:
    """Check the end of ansible-playbook's output: every host well and unchanged.

    Raises:
        LabError: with the end of the output.
    """
    good = {
        found["host"]
        for found in _RECAP.finditer(output)
        if not int(found["changed"]) + int(found["unreachable"]) + int(found["failed"])
    }
    if bad := sorted(set(hosts) - good):
        tail = "\n".join("    " + line for line in output.splitlines()[-40:])
        raise LabError(f"The playbook failed on or changed {', '.join(bad)}:\n{tail}")


def prepare_for_ansible(host: LabHost) -> None:
    """Install what Ansible's apt module needs on its hosts and would install itself."""
    if host.family == "debian":
        host.exec("apt-get update -qq && apt-get install -y -qq python3-apt", timeout=180)


# --- the floor ----------------------------------------------------------------------------------


def floor(hosts: Sequence[LabHost]) -> None:
    """Log in to each host once, ask everything at once, and call MISP's CLI once.

    Raises:
        LabError: when an answer is not a converged host's.
    """
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        list(pool.map(_ask, hosts))


def _ask(host: LabHost) -> None:
    login = [*shlex.split(host.ssh_command), "-o", "BatchMode=yes"]
    done = subprocess.run(
        [*login, "sudo", "-n", "sh", "-s"],
        input=_script(host),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    probe, _, view = done.stdout.partition(f"{_MARKER}\n")
    if "RUNNING" not in probe or not _is_good(view):
        raise LabError(f"{host.name} does not answer as a converged host:\n{done.stderr[-2000:]}")


def _is_good(view: str) -> bool:
    try:
        return json.loads(view).get("supervisord_status") is True
    except ValueError:
        return False


def _script(host: LabHost) -> str:
    variables = {
        **_PLATFORM[host.family],
        "misp_root": host.spec.misp_root,
        "web_user": host.spec.web_user,
        "legacy_unit": misp.OLD_UNITS[host.spec.launcher],
        "marker": _MARKER,
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    # In a function, so that no command reads the script as its own standard input.
    body = (HERE / "floor.sh").read_text(encoding="utf-8")
    return "\n".join(["main() {", *lines, body, "}", "main </dev/null", ""])
