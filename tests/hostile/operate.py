"""What the operator does and sees: a run with a limit, every word of it, and its reports."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import kept, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.paths import REPOSITORY

LIMIT = 120.0
"""Seconds that no look may take, whatever the host does."""
DEPLOY_LIMIT = 400.0


@dataclass(frozen=True)
class Seen:
    """A run as an operator has seen it.

    Attributes:
        exit_code: None when the run was killed at its limit.
        words: everything that it printed.
        reports: by host, what the run wrote down of it.
    """

    exit_code: int | None
    words: str
    seconds: float
    memory_mb: int = 0  # the most that it ever took
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it came to an end by itself."""
        return self.exit_code is not None

    @property
    def ok(self) -> bool:
        """Whether it says that all is well."""
        return self.exit_code == 0

    @property
    def crashed(self) -> bool:
        """Whether an exception of the tool's own reached the operator."""
        return any(word in self.words for word in ("Traceback", "exception occurred"))

    @property
    def everything(self) -> str:
        """All that is kept of it or was shown, as text."""
        return self.words + json.dumps(self.reports, ensure_ascii=False)

    def tail(self) -> str:
        """The end of its words, for a failed test."""
        return f"exit {self.exit_code} after {self.seconds:.0f} s:\n{self.words[-3000:]}"


def deploy(lab: Lab, *options: str, limit: float = DEPLOY_LIMIT, **variables: str) -> Seen:
    """Migrate the lab's hosts."""
    return _operate(lab, "deploy.py", "-y", *options, limit=limit, **variables)


def rollback(lab: Lab, *options: str, limit: float = DEPLOY_LIMIT, **variables: str) -> Seen:
    """Take the lab's hosts back."""
    return _operate(lab, "rollback.py", "-y", *options, limit=limit, **variables)


def dry(lab: Lab, *options: str, limit: float = LIMIT, **variables: str) -> Seen:
    """Ask what a deploy would do."""
    return _operate(lab, "deploy.py", "--dry", "-y", *options, limit=limit, **variables)


def status(lab: Lab, *options: str, limit: float = LIMIT, **variables: str) -> Seen:
    """Ask how the hosts are."""
    return _operate(lab, "status.py", "--dry", *options, limit=limit, **variables)


def _operate(lab: Lab, script: str, *options: str, limit: float, **variables: str) -> Seen:
    before = _report_files(lab)
    began = time.monotonic()
    with run.started(lab, script, *options, environment=variables) as running:
        memory = 0
        while not (ended := running.ends_within(0.2)) and time.monotonic() - began < limit:
            memory = max(memory, _memory_mb(running.process.pid))
    seconds = time.monotonic() - began
    if not ended:
        for host in lab:
            end_logins(host)
    code = running.process.returncode if ended else None
    reports = {}
    for path in sorted(_report_files(lab) - before):
        report = json.loads(path.read_text(encoding="utf-8"))
        reports[str(report.get("host", path.stem))] = report
    return Seen(code, running.stdout + running.stderr, seconds, memory, reports)


def _memory_mb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    peak = re.search(r"VmHWM:\s+(\d+)", text)
    return int(peak[1]) // 1024 if peak else 0


def _report_files(lab: Lab) -> set[Path]:
    return set(lab.directory.reports.glob("*/*.json"))


def end_logins(host: LabHost) -> None:
    """End what the logins of an operator that has given up have left on the host."""
    host.exec(
        "main=$(systemctl show -p MainPID --value ssh 2>/dev/null || true);"
        " for tries in 1 2 3; do"
        "  for pid in $(find /sys/fs/cgroup -path '*ssh.service/cgroup.procs'"
        "   -exec cat {} + 2>/dev/null | sort -u); do"
        '   [ "$pid" = "$main" ] || kill -KILL "$pid" 2>/dev/null; done; done; true'
    )


def at_a_terminal(lab: Lab, script: str, *options: str, limit: float = LIMIT) -> bytes:
    """What a run sends to the operator's terminal, control characters and all."""
    ours, its = pty.openpty()
    got = bytearray()

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the last who had it open is gone
                return
            if not part:
                return
            got.extend(part)

    reader = threading.Thread(target=read, daemon=True)
    with subprocess.Popen(
        [*kept.program(), kept.INVENTORY, script, *options],
        cwd=REPOSITORY,
        env={**os.environ, **lab.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    ) as process:
        os.close(its)
        reader.start()
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            for host in lab:
                end_logins(host)
    reader.join(5)
    os.close(ours)
    return bytes(got)


_COLOUR = re.compile(rb"\x1b\[[0-9;]*[mK]")  # and what pyinfra's own spinner needs


def control_characters(printed: bytes) -> set[bytes]:
    """Those that do more than begin a line or colour a word."""
    plain = _COLOUR.sub(b"", printed)
    return {bytes([one]) for one in plain if one < 0x20 and one not in b"\n\r\t"}
