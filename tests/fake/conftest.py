from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.remote import PROJECT
from tasks.report import events

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One run of the CLI: exit code, all it printed, commands sent to each host, its events."""

    exit_code: int
    output: str
    commands: dict[str, list[str]]
    events: list[dict[str, Any]]

    def calls(self, host: str) -> list[str]:
        """Host functions, in order; a look with the parts that it asks for."""
        sent = "\n".join(self.commands.get(host, []))
        return [name.strip(" '\"") for name in re.findall(rf"{PROJECT} ([\w. ]+)", sent)]

    def actions(self, host: str) -> list[str]:
        """Host functions that change something, in order."""
        looks = ("look.take", "sources.look", "preview.")
        return [name for name in self.calls(host) if not name.startswith(looks)]


@pytest.fixture
def pyinfra(tmp_path: Path) -> Callable[..., Run]:
    """Run `pyinfra INVENTORY deploy.py` on fake hosts: {name: data with "fake_responses"}."""

    def run(
        hosts: dict[str, dict[str, Any]],
        *flags: str,
        deploy: str = "deploy.py",
        **environment: str,
    ) -> Run:
        written = tmp_path / "hosts.json"
        written.write_text(json.dumps(hosts))
        with (tmp_path / "events").open("w+b") as told:
            done = subprocess.run(
                [sys.executable, "-m", "pyinfra", "tests/fake/inventory.py", deploy, *flags],
                cwd=ROOT,
                env={
                    **os.environ,
                    "MISP_FAKE_HOSTS": str(written),
                    "MISP_WORKERS_REPORTS": str(tmp_path / "runs"),
                    events.VARIABLE: str(told.fileno()),
                    **environment,
                },
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                pass_fds=[told.fileno()],
            )
            told.seek(0)
            happened = [json.loads(line) for line in told]
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        commands: dict[str, list[str]] = {}
        for host, command in re.findall(r"\[@fake/(\S+)\]\s+>>> (.*)", output):
            commands.setdefault(host, []).append(command)
        return Run(done.returncode, output, commands, happened)

    return run
