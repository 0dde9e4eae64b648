"""A folder like a fresh clone of this project, as far as an operator needs it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fake.conftest import ROOT

_FOLDERS = ("inventories", "tasks", "templates")
_FILES = ("LICENSE", "README.md", "constraints.txt", "pyproject.toml")


def laid_out(folder: Path) -> Path:
    """Make it; returns the folder."""
    folder.mkdir()
    left = shutil.ignore_patterns("__pycache__", "production.py")
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=left)
    for path in [*ROOT.glob("*.py"), *map(ROOT.joinpath, _FILES)]:
        shutil.copy(path, folder)
    return folder
