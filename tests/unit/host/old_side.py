"""A host for the tests of old workers: a /proc of our making, records in memory, no gate."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.host import gate, old_workers, processes
from tasks.host.parts import Unit
from tasks.host.processes import Table
from tasks.host.programs import Finished
from tasks.host.site import Site
from tasks.host.web_user import WebUser

ROOT = "/var/www/MISP"
WEB = WebUser("www-data", 33, 33, (33,), "/var/www", "www-data")
NOBODY = 65534
WORKER = ("php", "./bin/resque")
SCHEDULER = ("php", "./bin/resque-scheduler.php")


def site(**given: Any) -> Site:
    """A site with empty texts where nothing is given."""
    values: dict[str, Any] = dict.fromkeys(Site._fields, "")
    values.update(Site._field_defaults)
    values.update(
        misp_root=ROOT,
        drain_timeout=1,
        leftovers="stop",
        rpc_port=9001,
        supervisor_package="supervisor",
        supervisor_unit="supervisor",
    )
    values.update(given)
    return Site(**values)


class Records:
    """What originals.py keeps, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | None] = {}
        self.texts: list[str] = []
        self.recorded: list[Unit] = []
        self.selinux_before: dict[str, Any] | None = None

    def keep(self, _: Site, path: str) -> None:
        if path not in self.files:
            self.files[path] = Path(path).read_bytes() if Path(path).exists() else None

    def restore(self, _: Site, path: str) -> None:
        data = self.files[path]
        assert data is not None
        Path(path).write_bytes(data)

    def keep_units(self, _: Site, names: list[str]) -> None:
        self.texts += [f"unit {name}" for name in names]

    def units(self, _: Site) -> list[Unit]:
        return self.recorded

    def launchers(self, _: Site) -> list[str]:
        return [text for text in self.texts if not text.startswith("unit ")]

    def add_launcher(self, _: Site, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)

    def selinux(self, _: Site) -> dict[str, Any] | None:
        return self.selinux_before

    def note_selinux(self, _: Site, state: dict[str, Any]) -> None:
        self.selinux_before = self.selinux_before or state


class Proc:
    """A /proc with processes of our making."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "self").mkdir()
        self._namespace(folder / "self", "host")

    def _namespace(self, process: Path, name: str) -> None:
        (process / "ns").mkdir()
        file = self.folder / f"ns-{name}"
        file.touch()
        (process / "ns/pid").symlink_to(file)

    def add(
        self,
        pid: int,
        words: tuple[str, ...] = WORKER,
        *,
        parent: int = 1,
        uid: int = WEB.uid,
        cwd: str = f"{ROOT}/app/Vendor/kamisama/php-resque-ex",
        environ: bytes = b"QUEUE=default\0",
        unit: str = "misp-workers.service",
        namespace: str = "host",
        name: str = "",
    ) -> int:
        """Add a process and return its PID."""
        one = self.folder / str(pid)
        one.mkdir()
        fields = ["S", str(parent), *["0"] * 17, "4711", *["0"] * 20]
        (one / "stat").write_text(f"{pid} ({name or words[0]}) {' '.join(fields)}\n")
        (one / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
        (one / "environ").write_bytes(environ)
        (one / "status").write_text(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (one / "cgroup").write_text(f"0::/system.slice/{unit}\n")
        if cwd:
            (one / "cwd").symlink_to(cwd)
        self._namespace(one, namespace)
        os.chown(one, uid, uid)
        return pid

    def table(self) -> Table:
        """All of them."""
        return Table(str(self.folder))

    def remove(self, pid: int) -> None:
        """End a process."""
        subprocess.run(["rm", "-r", str(self.folder / str(pid))], check=True)


def use(proc: Proc, patch: pytest.MonkeyPatch) -> None:
    """Have the host package see these processes."""
    patch.setattr(old_workers, "Table", proc.table)
    patch.setattr(processes, "PROC", str(proc.folder))


def gate_without_drop(patch: pytest.MonkeyPatch) -> list[list[str]]:
    """Have the gate run things as the tests' own user; returns the commands, as they come."""
    commands: list[list[str]] = []

    def run(_: WebUser, words: list[str], cwd: str = "/", data: bytes = b"") -> Finished:
        commands.append(words)
        done = subprocess.run(words, cwd=cwd, input=data, capture_output=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def ask(_: WebUser, function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    patch.setattr(gate, "run", run)
    patch.setattr(gate, "ask", ask)
    return commands
