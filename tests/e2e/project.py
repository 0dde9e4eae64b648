"""The project's own commands, called as an operator calls them."""

from __future__ import annotations

import os
import subprocess
import sys

from lab.lab import Lab
from lab.paths import REPOSITORY


def command(lab: Lab, *module: str) -> tuple[int, str]:
    """The status of `python -m MODULE`, and what it says itself."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=REPOSITORY,
        env={**os.environ, **lab.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def summary(lab: Lab) -> tuple[int, dict[str, str]]:
    """What `python -m tasks.report.record` says of the newest run: its status, a line per host."""
    code, table = command(lab, "tasks.report.record")
    return code, {line.split()[0]: line for line in table.splitlines()[2:]}
