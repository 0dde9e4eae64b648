"""Who is at work on a host, by the lock file that a run leaves, run by the shell itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.scripts import REMOTE

LIB = (REMOTE / "lib.sh").read_text(encoding="utf-8")
GONE = 2**22 + 1  # above the highest PID that Linux gives


def lock_holder(tmp_path: Path, pid: int, run: str = "other") -> str:
    """What a run `this` is told of a lock that RUN took in the login session PID."""
    lock = tmp_path / "lock"
    known = f"state_dir={tmp_path} web_user=nobody misp_root={tmp_path} run_id=this\n"
    take = f'echo "{run} ann@desk 2026-01-01T00:00:00 {pid} $(start_ticks {pid})" >"$lock_file"'
    script = f"{known}{LIB}\nlock_file={lock}\n{take}\nlock_holder\n"
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_run_whose_session_lives_is_at_work(tmp_path: Path) -> None:
    assert lock_holder(tmp_path, os.getpid()).startswith("ann@desk has been at work")


@pytest.mark.parametrize(
    ("pid", "run"),
    [(os.getpid(), "this"), (GONE, "other"), (1, "other")],
    ids=["own", "gone", "init"],
)
def test_own_and_orphaned_locks_hold_nobody_up(tmp_path: Path, pid: int, run: str) -> None:
    assert lock_holder(tmp_path, pid, run) == ""
