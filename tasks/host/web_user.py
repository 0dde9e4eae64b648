"""Who the web user is: decided before anything of MISP's is read or run, also in a dry run.

MISP's files say it, and the web user may have made them, so a path that he could turn to somebody
else's file is no answer.
"""

import grp
import os
import pwd
import stat
from typing import Any, List, NamedTuple, Tuple

from tasks.host import remedies
from tasks.host.errors import WebUserError
from tasks.host.site import Site

# Members of these are root on most systems, or read what only root may.
PRIVILEGED = frozenset(
    (
        "root",
        "sudo",
        "wheel",
        "admin",
        "docker",
        "lxd",
        "incus-admin",
        "syslog",  # may write in /var/log on Ubuntu
        "libvirt",
        "adm",
        "shadow",
        "disk",
        "kmem",
        "staff",
    )
)
CONFIG = "app/Config/config.php"
NO_LOGIN = ("nologin", "false", "sync", "")


class WebUser(NamedTuple):
    """The account that MISP runs as."""

    name: str
    uid: int
    gid: int
    groups: Tuple[int, ...]
    home: str
    group: str


def identify(misp_root: str, wanted: str, login: str) -> WebUser:
    """Who the web user is, before anything of MISP's is read or run.

    Args:
        wanted: the operator's misp_web_user; empty: the owner of config.php.
        login: the user who called sudo, who is not the web user.

    Raises:
        WebUserError: nobody is, or it is somebody whose rights MISP must not get.
    """
    path = misp_root + "/" + CONFIG
    parts = _components(os.path.realpath(misp_root), CONFIG)
    owner = parts[-1][1].st_uid
    try:
        entry = pwd.getpwnam(wanted) if wanted else pwd.getpwuid(owner)
    except KeyError:
        who = wanted or "with the number %d, who owns %s," % (owner, path)
        raise WebUserError(
            "the web user %s does not exist on this host: set misp_web_user" % who
        ) from None
    user = _web_user(entry)
    _check_rights(user, entry.pw_shell, bool(wanted), login, misp_root)
    for name, found in parts:
        if found.st_uid not in (0, user.uid) and (name != path or not wanted):
            raise WebUserError(
                "%s belongs to neither root nor %s, so whose code is there cannot be told: "
                "correct its owner, or misp_web_user" % (remedies.quoted(name), user.name)
            )
    return user


def web_user(site: Site) -> WebUser:
    """As `identify`, for a site."""
    return identify(site.misp_root, site.web_user, os.environ.get("SUDO_USER", ""))


def name_of(uid: int) -> str:
    """The name of an account; its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _components(root: str, below: str) -> List[Tuple[str, os.stat_result]]:
    """Each folder on the way to config.php, and that file itself; a link ends the look."""
    names = [name for name in root.split("/") if name] + below.split("/")
    path = ""
    found: List[Tuple[str, os.stat_result]] = []
    for name in names:
        path += "/" + name
        try:
            status = os.lstat(path)
        except OSError as error:
            raise WebUserError(
                "%s: %s. Check misp_root, or finish MISP's own installation"
                % (remedies.quoted(path), error.strerror)
            ) from None
        is_last = len(found) == len(names) - 1
        if not (stat.S_ISREG if is_last else stat.S_ISDIR)(status.st_mode):
            raise WebUserError(
                "%s is a link or no plain %s: its owner cannot be trusted to be MISP's. Put the "
                "real one in its place as the web user, not as root (%s, by `%s`)"
                % (
                    remedies.quoted(path),
                    "file" if is_last else "folder",
                    "cp --remove-destination -p" if is_last else "rm, then mv",
                    remedies.as_web_user("", "COMMAND"),
                )
            )
        if is_last and status.st_nlink > 1:
            raise WebUserError(
                "%s has a second name (hard link), so it may be another user's file: copy it and "
                "put the copy in its place" % remedies.quoted(path)
            )
        if not is_last and status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise WebUserError(
                "every user may write in %s: take that right away (`%s`)"
                % (remedies.quoted(path), _no_writers(path, status.st_uid))
            )
        found.append((path, status))
    return found


def _no_writers(path: str, owner: int) -> str:
    """The command that takes the right away; a folder's owner, who may exchange it, does so."""
    if owner == 0:
        return remedies.in_folder(path, "chmod", "o-w", ".")
    return remedies.as_web_user(name_of(owner), "chmod", "o-w", path)


def _web_user(entry: Any) -> WebUser:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        group = str(entry.pw_gid)
    return WebUser(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, group)


def _check_rights(user: WebUser, shell: str, is_named: bool, login: str, root: str) -> None:
    path, nobody = root + "/" + CONFIG, remedies.NOBODY_KNOWN
    if user.uid == 0:
        raise WebUserError(
            "%s belongs to root, as after a cake command that root ran, or misp_web_user is root. "
            "MISP runs as its web user alone: give app/Config and app/tmp back to that user "
            "(`%s`, with its name)"
            % (path, remedies.give_back(root, nobody, "app/Config", "app/tmp", below=True))
        )
    for gid in user.groups:
        try:
            name = grp.getgrgid(gid).gr_name
        except KeyError:
            continue
        if name in PRIVILEGED:
            raise WebUserError(
                "the web user %s is in the group %s, whose members have root's rights or nearly: "
                "MISP's code would have them too. Take it out of that group" % (user.name, name)
            )
    if user.name == login:
        raise WebUserError(
            "the web user %s is the user you log in as, who may become root: MISP needs a user of "
            "its own" % user.name
        )
    if os.path.basename(shell) not in NO_LOGIN and not is_named:
        raise WebUserError(
            "%s belongs to %s, an account for people (its shell is %s): if MISP really runs as "
            "this user set misp_web_user, else give the file back to the web user (`%s`, with its "
            "name)" % (path, user.name, shell, remedies.give_back(root, nobody, CONFIG))
        )
