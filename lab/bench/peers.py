"""The peers of the deploy: the bare floor, the guide's commands, and Ansible."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from lab import misp
from lab.bases import Family
from lab.console import step
from lab.errors import LabError
from lab.hosts import LabHost

HERE = Path(__file__).resolve().parent
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")

_SUPERVISOR: Mapping[Family, Sequence[str]] = {
    "debian": ("supervisor", "/etc/supervisor/supervisord.conf", "/etc/supervisor/conf.d", "conf"),
    "rhel": ("supervisord", "/etc/supervisord.conf", "/etc/supervisord.d", "ini"),
}
"""Unit, configuration, the directory that it includes, and the suffix of files there."""

_MARKER = "--- getWorkers"
_run = partial(subprocess.run, capture_output=True, text=True, timeout=600, check=False)


def floor(hosts: Sequence[LabHost]) -> None:
    """Log in to each host once, ask everything at once, and call MISP's CLI once."""
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        list(pool.map(_ask, hosts))


def _ask(host: LabHost) -> None:
    done = _log_in(host, "sudo -n sh -s", _program("floor.sh", _variables(host)))
    probe, _, view = done.stdout.partition(f"{_MARKER}\n")
    if done.returncode or "RUNNING" not in probe or not json.loads(view)["supervisord_status"]:
        raise LabError(f"{host.name} does not answer as a converged host:\n{done.stderr[-2000:]}")


def migrate(host: LabHost, php_unit: str) -> None:
    """Run the guide's commands on a fresh host."""
    done = _log_in(host, "sh -s", guide(host, php_unit))
    if done.returncode:
        tail = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        raise LabError(f"{host.name}: the guide's commands failed:\n{tail}")


def guide(host: LabHost, php_unit: str) -> str:
    """Give the guide's commands for this host, as a script for sh on standard input."""
    secret = host.data.get("misp_redis_password")
    redis = {
        "redis_host": host.data.get("misp_redis_host", "127.0.0.1"),
        "redis_password": Path(secret["file"]).read_text() if secret else "",
    }
    return _program("guide.sh", {**_variables(host), **redis, "php_unit": php_unit})


def _variables(host: LabHost) -> dict[str, str]:
    unit, conf, include_dir, suffix = _SUPERVISOR[host.family]
    return {
        "family": host.family,
        "supervisor_unit": unit,
        "supervisor_conf": conf,
        "include_dir": include_dir,
        "rpc_file": f"{include_dir}/misp-rpc.{suffix}",
        "group_file": f"{include_dir}/misp-workers.{suffix}",
        "misp_root": host.spec.misp_root,
        "web_user": host.spec.web_user,
        "legacy_unit": misp.OLD_UNITS[host.spec.launcher],
        "marker": _MARKER,
    }


def _log_in(host: LabHost, shell: str, script: str) -> subprocess.CompletedProcess[str]:
    return _run([*shlex.split(host.ssh_command), "-o", "BatchMode=yes", shell], input=script)


def _program(script: str, variables: Mapping[str, str]) -> str:
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    # In a function, so that no command reads the script as its own standard input.
    return "\n".join(["main() {", *lines, (HERE / script).read_text(), "}", "main </dev/null", ""])


def fetch_packages(hosts: Sequence[LabHost]) -> None:
    """Keep the network out of what is timed; the RHEL family's repositories are local anyway."""
    # Ansible's apt module needs python3-apt, and would install it itself.
    install = "apt-get install -y -qq"
    command = f"apt-get update -qq && {install} python3-apt && {install} --download-only supervisor"
    with step("packages onto the hosts"), ThreadPoolExecutor() as pool:
        debian = [host for host in hosts if host.family == "debian"]
        list(pool.map(lambda host: host.exec(command, timeout=300), debian))


def require_ansible() -> None:
    """Make sure that ansible-core is there."""
    if not ANSIBLE_PLAYBOOK.exists():
        raise LabError("ansible-core is not installed.", "run ./noxw -s bench, which installs it.")


class Playbook:
    """ansible/playbook.yml against lab hosts, over the same SSH key as the deploy."""

    def __init__(self, hosts: Sequence[LabHost], folder: Path) -> None:
        self._inventory = folder / "hosts.json"
        known = {"all": {"hosts": {host.name: _data(host) for host in hosts}}}
        self._inventory.write_text(json.dumps(known))

    def run(self, hosts: Sequence[LabHost], converged: bool = True) -> None:
        """Run the playbook on HOSTS, which it may not change when they are converged."""
        limit = ",".join(host.name for host in hosts)
        # A new folder has no socket: like the other peers it begins without a connection.
        # A short path, because that of a socket may have 107 letters at most.
        with tempfile.TemporaryDirectory(prefix="cp") as sockets:
            ours = {
                "ANSIBLE_CONFIG": f"{HERE}/ansible/ansible.cfg",
                "ANSIBLE_HOME": f"{self._inventory.parent}/home",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
                "LC_ALL": "C.UTF-8",
            }
            options = ["-i", self._inventory, "-l", limit, f"{HERE}/ansible/playbook.yml"]
            done = _run([ANSIBLE_PLAYBOOK, *options], input="", env={**os.environ, **ours})
        unchanged = done.stdout.count("changed=0 ")
        if done.returncode or (converged and unchanged != len(hosts)):
            output = (done.stdout + done.stderr)[-3000:]
            raise LabError(f"The playbook failed on or changed a host of {limit}:\n{output}")


def _data(host: LabHost) -> dict[str, Any]:
    data = host.data
    known_hosts = f"-o UserKnownHostsFile={shlex.quote(data['ssh_known_hosts_file'])}"
    return {
        **_variables(host),
        "php_unit": misp.php_unit(host),
        "ansible_host": data["ssh_hostname"],
        "ansible_port": data["ssh_port"],
        "ansible_user": data["ssh_user"],
        "ansible_ssh_private_key_file": data["ssh_key"],
        "ansible_ssh_common_args": f"{known_hosts} -o IdentitiesOnly=yes",
        **{key: value for key, value in data.items() if key.startswith("misp_")},
    }
