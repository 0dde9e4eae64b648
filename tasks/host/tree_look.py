"""MISP's files as a part of a look: what the web user says of them, checked for its type."""

import os
from typing import Any, Optional, Tuple

from tasks.host import access, gate, programs, remedies, tree, web_user
from tasks.host.errors import WebUserError
from tasks.host.misp import Misp, misp_version
from tasks.host.parts import Access, Tree
from tasks.host.site import Site

_UNKNOWN = Access("unknown", "", "")


def look(site: Site, misp: Optional[Misp], problem: str) -> Tree:
    """Look at MISP's files.

    Args:
        misp: `None` where there is no web user to look as.
        problem: why there is none.
    """
    exists = os.path.isdir(site.misp_root)
    unknown = Tree("", exists, "", "", "", (0, 0, 0), "", -1, False, _UNKNOWN, False, "", -1)
    if misp is None:
        return unknown._replace(error=problem)
    try:
        return _checked(misp, gate.ask(misp.user, tree.look, site.misp_root))
    except WebUserError as error:
        problem = "%s cannot look at MISP's files: %s" % (misp.user.name, error)
        return unknown._replace(error=_closed(misp) or problem)


def _closed(misp: Misp) -> str:
    """Which folder is closed to the web user, and how it is opened; empty: none is known."""
    root, user = misp.site.misp_root, misp.user.name
    try:
        found = gate.ask(misp.user, access.closed, root, web_user.CONFIG)
    except WebUserError:
        return ""
    if not isinstance(found, list) or len(found) != 2:
        return ""
    folder, rights = (str(one)[:300] for one in found)
    real = root if folder.startswith(root + "/") else os.path.realpath(root)
    return "%s may not enter %s (%s), so MISP's files cannot be looked at: %s" % (
        user,
        remedies.quoted(folder),
        remedies.quoted(rights, 80),
        remedies.open_folder(real, user, folder, web_user.CONFIG),
    )


def _checked(misp: Misp, found: Any) -> Tree:
    if not isinstance(found, dict):
        raise WebUserError("MISP's files cannot be looked at")
    config: Any = found.get("config")
    is_whole = isinstance(config, list) and [type(one) for one in config] == [int, int]
    text = str(found.get("version", ""))[:200]
    free: Any = found.get("free")
    if not isinstance(free, list) or [type(one) for one in free] != [int, int]:
        free = [-1, -1]
    return Tree(
        "",
        True,
        misp.user.name,
        misp.user.group,
        text[:80],
        misp_version(text),
        web_user.name_of(config[0]) if is_whole else "",
        config[1] & 0o7777 if is_whole else -1,
        found.get("savable") is True,
        _access(found.get("cake")),
        found.get("cake_php") is True,
        "php composer.phar" if found.get("phar") is True else programs.find("composer", gate.PATH),
        free[0],
        _known(found.get("links")),
        _known(found.get("mounts")),
        found.get("tmp") is True,
        free[1],
    )


def _access(found: Any) -> Access:
    if not isinstance(found, list) or len(found) != 3:
        return _UNKNOWN
    fault, place, rights = (str(one)[:300] for one in found)
    return Access(fault, place, rights)


def _known(names: Any) -> Tuple[str, ...]:
    return tuple(name for name in tree.COMPOSERS if isinstance(names, list) and name in names)
