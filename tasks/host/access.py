"""Whether the web user may execute a file, and why not. Runs as the web user, by `gate.py`."""

import grp
import os
import pwd
import re
import stat
from typing import List

_MOUNTS = "/proc/self/mountinfo"


def look(path: str, mounts: str = _MOUNTS) -> List[str]:
    """The three texts of an `Access` (parts.py) to a file that has to be read and executed."""
    folder = _closed(path)
    if folder:
        return ["closed", folder, _rights(folder)]
    if not os.path.isfile(path):
        return ["missing", path, ""]
    if os.access(path, os.R_OK | os.X_OK):
        return ["", "", ""]
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return ["noexec", mount_point(path, mounts), ""]
    return ["forbidden" if _mode_allows(path) else "mode", path, _rights(path)]


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


def mount_point(path: str, mounts: str = _MOUNTS) -> str:
    """Where the file system is mounted that a file is on; a bind mount is one of its own."""
    real, best = os.path.realpath(path), "/"
    with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            place = re.sub(
                r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), line.split()[4]
            )
            is_above = place in ("/", real) or real.startswith(place + "/")
            if is_above and len(place) >= len(best):
                best = place
    return best
