"""Versions as numbers."""

import re
from typing import Tuple

Version = Tuple[int, int, int]  # (0, 0, 0): unknown


def version_of(text: str) -> Version:
    """The first dotted number in a text; (0, 0, 0) without one."""
    match = re.search(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,5}))?", text[:200])
    if not match:
        return (0, 0, 0)
    return int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)
