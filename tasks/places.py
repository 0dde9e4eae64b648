"""Where the project's own files are, in a checkout and where pip has installed it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that has the package `tasks`."""

FILES = Path(__file__).resolve().parent / "deploys"
"""deploy.py, rollback.py, status.py and templates/: in a checkout links to its top level."""


def runs() -> Path:
    """The directory that has a directory for each run, unless the operator names another one."""
    if (ROOT / "deploy.py").exists():  # a checkout
        return ROOT / "reports" / "runs"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "misp-workers" / "runs"
