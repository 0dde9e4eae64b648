"""Whether the web user may execute a file, and why not. Runs as the web user, by `gate.py`."""

import grp
import os
import pwd
import stat
from typing import List

from tasks.host.mounts import mount_point


def look(root: str, name: str) -> List[str]:
    """The three texts of an `Access` (parts.py) to a file that has to be read and executed.

    Args:
        root: MISP's folder. The web user may put a link at each path below it, and what he may not
            execute is then somebody else's file.
        name: the file's path below it.
    """
    path = root + "/" + name
    if os.path.isfile(path) and os.access(path, os.R_OK | os.X_OK):
        return ["", "", ""]
    link = _link(root, name)
    if link:
        return ["link", link, ""]
    shut = closed(root, name)
    if shut:
        return ["closed", *shut]
    if not os.path.isfile(path):
        return ["missing", path, ""]
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        at, real = mount_point(path), os.path.realpath(root)
        return ["noexec-below" if at.startswith(real + "/") else "noexec", at, ""]
    return ["forbidden" if _mode_allows(path) else "mode", path, _rights(path)]


def closed(root: str, name: str) -> List[str]:
    """The first folder on the way that may not be entered, and its rights; empty: there is none."""
    folder = _closed(root + "/" + name)
    if not folder:
        return []
    is_below = folder.startswith(root + "/")
    return [folder if is_below else os.path.realpath(folder), _rights(folder)]


def _link(root: str, name: str) -> str:
    """The first link on the way below that folder; empty: there is none."""
    names = name.split("/")
    paths = [root + "/" + "/".join(names[: count + 1]) for count in range(len(names))]
    return next((path for path in paths if os.path.islink(path)), "")


def _closed(path: str) -> str:
    """The first folder on the way that may not be entered; empty: there is none."""
    names = os.path.dirname(path).split("/")[1:]
    folders = ["/" + "/".join(names[: count + 1]) for count in range(len(names))]
    return next((one for one in folders if os.path.isdir(one) and not _may_enter(one)), "")


def _may_enter(folder: str) -> bool:
    return os.access(folder, os.X_OK)


def _mode_allows(path: str) -> bool:
    """Whether the mode is no obstacle, so that an ACL, SELinux or AppArmor is one."""
    found = os.stat(path)
    if found.st_uid == os.geteuid():
        bits = found.st_mode >> 6
    elif found.st_gid in (os.getegid(), *os.getgroups()):
        bits = found.st_mode >> 3
    else:
        bits = found.st_mode
    return bits & 0o5 == 0o5


def _rights(path: str) -> str:
    """As in `root:root 750`."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return "%s:%s %o" % (owner, group, stat.S_IMODE(found.st_mode))
