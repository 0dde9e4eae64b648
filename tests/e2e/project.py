"""The project's own command, called as an operator calls it, and the records that a run leaves."""

from __future__ import annotations

import os
import subprocess
import sys

from lab.lab import Lab
from lab.paths import REPOSITORY
from tasks.report import record
from tasks.report.record import Report


def command(lab: Lab, name: str, *options: str) -> tuple[int, str]:
    """The status of `python -m tasks NAME` on the lab's hosts, and all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tasks", name, "inventories/lab.py", *options],
        cwd=REPOSITORY,
        env={**os.environ, **lab.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def reports(lab: Lab) -> dict[str, Report]:
    """The newest run's record of each host."""
    newest = max(lab.directory.reports.glob("*Z-*"), key=lambda path: path.stat().st_mtime)
    return {report.host: report for report in record.read(newest)}


def outcomes(lab: Lab) -> dict[str, str]:
    """The newest run's outcome of each host."""
    return {host: report.outcome for host, report in reports(lab).items()}
