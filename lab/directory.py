"""A lab's own directory: keys, secrets and the inventory that pyinfra reads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from lab.credentials import Authority, Certificate, SshKey, password
from lab.paths import state_dir

INVENTORY_VARIABLE = "MISP_LAB_INVENTORY"
REPORTS_VARIABLE = "MISP_WORKERS_REPORTS"
INVENTORY_FILE = "inventory.json"


def environment(lab: str) -> dict[str, str]:
    """The environment under which ``inventories/lab.py`` means LAB, whatever other labs run."""
    path = state_dir() / lab
    return {
        INVENTORY_VARIABLE: str(path / INVENTORY_FILE),
        REPORTS_VARIABLE: str(path / "runs"),
    }


class LabDirectory:
    """Files of one lab below ``.lab/<id>/``; secrets are 0600, the directory is 0700."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.path = state_dir() / lab
        self.path.mkdir(mode=0o700)
        self.ssh_key = SshKey.generate()
        self.ssh_key_file = self.write("ssh_key", self.ssh_key.private)
        self._authority = Authority(lab)
        self.ca_bundle = self.write("ca.pem", self._authority.pem)
        self.known_hosts = self.write("known_hosts", "")
        self.redis_password = password()
        self.redis_password_file = self.write("redis_password", self.redis_password)
        self._secrets = [self.redis_password]

    @property
    def inventory(self) -> Path:
        """The inventory that ``inventories/lab.py`` reads."""
        return self.path / INVENTORY_FILE

    @property
    def reports(self) -> Path:
        """Return the folder where runs on this lab leave their reports."""
        return Path(environment(self.lab)[REPORTS_VARIABLE])

    @property
    def secrets(self) -> list[str]:
        """List every secret that the lab gave out; no output may contain one."""
        return list(self._secrets)

    def write(self, name: str, content: str) -> Path:
        """Write a 0600 file; returns its path."""
        path = self.path / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        return path

    def make_secret(self, name: str) -> tuple[str, Path]:
        """Make a secret and its file; returns both."""
        value = password()
        self._secrets.append(value)
        return value, self.write(name, value)

    def certificate(self, name: str) -> Certificate:
        """Issue a certificate for the host NAME."""
        return self._authority.issue(name)

    def trust_host(self, port: int, public_key: str) -> None:
        """Add a host's key, which the lab made itself, to the known hosts."""
        with self.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{port} {public_key}\n")

    def write_inventory(self, hosts: list[dict[str, Any]]) -> None:
        """Write the inventory, and make it the one that is used when none is named."""
        self.write(INVENTORY_FILE, json.dumps({"lab": self.lab, "hosts": hosts}, indent=2) + "\n")
        link = state_dir() / INVENTORY_FILE
        fresh = state_dir() / f".inventory-{self.lab}"
        fresh.symlink_to(self.inventory.relative_to(state_dir()))
        fresh.replace(link)

    def remove(self) -> None:
        """Remove the directory and the link to it."""
        remove(self.path)


def remove(path: Path) -> None:
    """Remove a lab's directory, and the newest inventory's link if it pointed there."""
    shutil.rmtree(path, ignore_errors=True)
    link = state_dir() / INVENTORY_FILE
    if link.is_symlink() and not link.exists():
        link.unlink()
