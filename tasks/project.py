"""Which version of this project runs."""

from __future__ import annotations

import hashlib
import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SENT = ("deploy.py", "rollback.py", "tasks/**/*.py", "tasks/**/*.php", "templates/*")


@cache
def version() -> str:
    """The version as pyproject.toml has it, empty where it has none."""
    try:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^version = "([^"]*)"', text, re.MULTILINE)
    return found[1] if found else ""


@cache
def commit() -> str:
    """The commit that is checked out, empty where that cannot be told."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def digest() -> str:
    """The SHA-256 of all code that decides what happens to a host, changed files as they are."""
    total = hashlib.sha256()
    for path in sorted(path for pattern in _SENT for path in ROOT.glob(pattern)):
        total.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()
