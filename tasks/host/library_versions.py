"""The versions of the PHP libraries, as Composer has noted them beside them."""

import json
from typing import Any, Dict, List

from tasks.host import gate, tree
from tasks.host.errors import HostError
from tasks.host.misp import Misp

_LENGTH = 40  # characters of a version


def look(one: Misp, names: List[str]) -> Dict[str, str]:
    """The versions of those packages that are there; none where nobody knows."""
    path = one.site.app + "/Vendor/composer/installed.json"
    try:
        found = gate.ask(one.user, noted, path, names)
    except HostError:
        return {}
    known = found if isinstance(found, dict) else {}
    return {name: str(known[name])[:_LENGTH] for name in names if name in known}


def noted(path: str, names: List[str]) -> Dict[str, str]:
    """The same, as the web user: Composer 1 has a list, and Composer 2 has it below a key.

    Each is cut here already, or a long one would be too much for an answer, and none be known.
    """
    content: Any = json.loads((tree.read(path) or b"[]").decode("utf-8"))
    packages: Any = content["packages"] if isinstance(content, dict) else content
    every = {one["name"]: one["version"] for one in packages}
    return {name: str(every[name])[:_LENGTH] for name in names if name in every}
