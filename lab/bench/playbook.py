"""The Ansible peer: the playbook of ansible/, as fast as ansible-core gets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab import misp
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab

ANSIBLE_DIR = Path(__file__).resolve().parent / "ansible"
TIME_LIMIT = 600.0

_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)"
    r"\s+failed=(?P<failed>\d+)",
    re.M,
)


def require_program() -> None:
    """Make sure that ansible-core is there.

    Raises:
        LabError: when it is not.
    """
    if not _ansible_playbook().exists():
        raise LabError(
            "ansible-core is not installed here.", "run ./noxw -s bench, which installs it."
        )


class Playbook:
    """ansible/playbook.yml against the hosts of a lab, over the same SSH key."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._folder = folder
        self._inventory = folder / "hosts.json"
        self._inventory.write_text(json.dumps(inventory(list(lab)), indent=1))

    def check(self, hosts: Sequence[LabHost]) -> None:
        """Run the playbook on converged hosts.

        Raises:
            LabError: when a host failed or was changed.
        """
        check_recap(self._run(hosts), [host.name for host in hosts])

    def migrate(self, host: LabHost) -> None:
        """Run the playbook on a fresh host.

        Raises:
            LabError: when the host failed.
        """
        check_recap(self._run([host]), [host.name], may_change=True)

    def _run(self, hosts: Sequence[LabHost]) -> str:
        """Run the playbook; like the other peers it begins without a connection."""
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
        return done.stdout + done.stderr

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
        "php_unit": misp.php_unit(host),
        **{key: value for key, value in data.items() if key.startswith("misp_")},
    }


def check_recap(output: str, hosts: Sequence[str], may_change: bool = False) -> None:
    """Check the end of ansible-playbook's output: every host well and, by default, unchanged.

    Raises:
        LabError: with the end of the output.
    """
    bad_signs = ["unreachable", "failed"] if may_change else ["unreachable", "failed", "changed"]
    good = {
        found["host"]
        for found in _RECAP.finditer(output)
        if not sum(int(found[sign]) for sign in bad_signs)
    }
    if bad := sorted(set(hosts) - good):
        tail = "\n".join("    " + line for line in output.splitlines()[-40:])
        raise LabError(f"The playbook failed on or changed {', '.join(bad)}:\n{tail}")


def prepare(host: LabHost) -> None:
    """Install what Ansible's apt module needs on its hosts and would install itself."""
    if host.family == "debian":
        host.exec("apt-get update -qq && apt-get install -y -qq python3-apt", timeout=180)
