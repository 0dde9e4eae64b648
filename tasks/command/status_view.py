"""What `status` prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.command.texts import table, width


def expected(document: dict[str, Any], expect: str) -> dict[str, Any]:
    """The document, with a fault where the host's state is another one; `expect` may be empty."""
    state = document.get("state", "unknown")
    if not expect or state == expect:
        return document
    fault = f"the host is {state}, and --expect says {expect}"
    return {**document, "faults": [*document.get("faults", ()), fault]}


def lines(documents: Mapping[str, dict[str, Any]]) -> list[str]:
    """A row for each host, and its faults."""
    rows = [("host", "state", "workers")]
    for name, document in documents.items():
        said = [*document.get("lines", ()), *(f"FAULT: {one}" for one in document["faults"])]
        rows += [(name, document["state"], said[0] if said else "")]
        rows += [("", "", one) for one in said[1:]]
    return table(rows, width())


def as_json(documents: Mapping[str, dict[str, Any]]) -> str:
    """The documents by host."""
    return json.dumps(documents, indent=2)
