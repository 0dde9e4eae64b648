"""The file of a plan: a JSON object with `inventory` and, by host, `documents`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import RefusedError
from tasks.untrusted import from_json


def save(path: Path, documents: Mapping[str, dict[str, Any]], inventory: str) -> None:
    """Write the file, whole or not at all, for its owner's eyes only."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"inventory": inventory, "documents": documents}, file, indent=2)
        file.write("\n")
    new.replace(path)


def load(path: Path) -> tuple[str, dict[str, Any]]:
    """The inventory and the documents by host.

    Raises:
        RefusedError: it is no such file.
    """
    try:
        content = from_json(path.read_text(encoding="utf-8"))
        return str(content["inventory"]), dict(content["documents"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"the plan {path} is not whole: {error}") from None
