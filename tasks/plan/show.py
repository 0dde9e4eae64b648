"""A plan as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lines(documents: Mapping[str, dict[str, Any]]) -> list[str]:
    """The steps with what they change, for each host."""
    shown = []
    for host, document in documents.items():
        steps = document.get("steps", ())
        shown.append(f"{host}: {len(steps)} steps change something" if steps else f"{host}: done")
        for step in steps:
            shown.append(f"  {step['step']}")
            shown += [f"    {one['kind']} {one['name']}" for one in step.get("changes", ())]
    return shown
