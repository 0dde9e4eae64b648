"""Which version of this project runs, for reports and plans."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
from functools import cache

from tasks.places import ROOT

_NAME = "misp-workers-migration"
_SECONDS = 10


@cache
def version_and_commit() -> dict[str, str]:
    """The version, and the commit of the checkout; one is empty where it cannot be told.

    A commit that ends in `-dirty` has changes that are in no commit.
    """
    return {"version": _version(), "commit": _commit()}


def _version() -> str:
    try:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:  # installed, not a checkout
        try:
            return importlib.metadata.version(_NAME)
        except importlib.metadata.PackageNotFoundError:
            return ""
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else ""


def _commit() -> str:
    if not (ROOT / ".git").exists():  # else git would find the repository of a folder above
        return ""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
