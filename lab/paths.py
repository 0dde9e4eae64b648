"""Places inside the checkout where the lab keeps things."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = REPOSITORY / "lab" / "recipes"
STUB = REPOSITORY / "lab" / "stub"


def state_dir() -> Path:
    """Return the lab's state directory (ignored by git), made on first use."""
    path = Path(os.environ.get("MISP_LAB_DIR", REPOSITORY / ".lab"))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
