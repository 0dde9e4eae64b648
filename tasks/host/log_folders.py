"""Folders that supervisord needs to start; a cleaner, or a tmpfs there, may take them away.

supervisord ends at once, and so does every program that it runs, if the folder of one log is
missing, also of a program's log. So its unit makes ours and its own before each start. This is a
drop-in and no line for systemd-tmpfiles, which runs at boot only.
"""

import contextlib
import os
import re
import stat
from typing import Iterator, List, Tuple

from tasks.host import files, originals
from tasks.host.daemon import Daemon
from tasks.host.parts import MissingFolder
from tasks.host.site import Site
from tasks.host.supervisor_files import PROGRAM_KINDS, SupervisorFiles
from tasks.host.web_user import WebUser, name_of

_SWEPT = ("/var/log/", "/run/", "/var/run/")
_PLAIN = re.compile(r"(/[A-Za-z0-9_.+-]+)+\Z")  # systemd takes each of these letters as it is
_STEPS = 100  # of a path, links on it included
_NO_FILE = ("", "none", "off", "auto", "syslog")
# A failure must not keep supervisord from starting, hence the dash.
_DROP_IN = """\
# Written by the MISP workers migration: without these folders supervisord does not start, and
# nor does any of its programs. A cleaned or new /var/log lacks them.
[Service]
%s"""


def own(found: SupervisorFiles) -> List[str]:
    """Folders of supervisord's own log, PID file and socket, as far as they may be swept away.

    Not those whose path others than root can change: root would make a folder where they like.
    """
    paths = [found.get("supervisord", key) for key in ("logfile", "pidfile")]
    paths += [server.path for server in found.servers("unix_http_server")]
    folders = [os.path.dirname(path.strip()) for path in paths]
    folders.append(found.get("supervisord", "childlogdir").strip())
    plain = [os.path.normpath(one) for one in folders if _PLAIN.match(one)]
    swept = [one for one in plain if one.startswith(_SWEPT) and _is_roots(one)]
    return list(dict.fromkeys(swept))


def _is_roots(path: str) -> bool:
    try:
        files.real_path(path)
    except files.FileError:
        return False
    return True


def missing(site: Site, found: SupervisorFiles) -> Tuple[List[str], List[MissingFolder]]:
    """Folders without which supervisord would not start: those that its unit is to make, others."""
    made = {*own(found), site.log_dir}
    lacking = {folder: why for folder, why in _needed(found) if not os.path.isdir(folder)}
    ours = [folder for folder in lacking if folder in made]
    others = [
        MissingFolder(folder, why, _turner(folder))
        for folder, why in lacking.items()
        if folder not in made
    ]
    return ours, others


def _turner(folder: str) -> str:
    """Who other than root can put a link on the way to a folder; empty: nobody."""
    if _is_roots(folder + "/any"):
        return ""
    left, path = [name for name in reversed(folder.split("/")) if name], "/"
    for _ in range(_STEPS):
        if not left:
            break
        path = os.path.join(path, left.pop())
        try:
            found = os.lstat(path)
        except OSError:
            break  # what is not there has nobody who could exchange it
        if found.st_uid:
            return name_of(found.st_uid)
        if stat.S_ISLNK(found.st_mode):  # root's own, so it counts where it leads
            target = os.path.join(os.path.dirname(path), os.readlink(path))
            left += [name for name in reversed(os.path.normpath(target).split("/")) if name]
            path = "/"
    return ""  # a group's folder


def _needed(found: SupervisorFiles) -> Iterator[Tuple[str, str]]:
    for key in ("logfile", "pidfile"):
        yield from _folder_of(found.get("supervisord", key), "%s of [supervisord]" % key)
    yield from _folder_of(found.get("supervisord", "childlogdir") + "/", "childlogdir")
    for section in found.sections():
        if section.startswith(PROGRAM_KINDS):
            for key in ("stdout_logfile", "stderr_logfile"):
                yield from _folder_of(found.get(section, key), "%s of [%s]" % (key, section))


def _folder_of(path: str, why: str) -> Iterator[Tuple[str, str]]:
    path = path.strip()
    if path.lower() not in _NO_FILE and path.startswith("/") and "%" not in path:
        yield os.path.normpath(os.path.dirname(path)), why


def text(site: Site, found: SupervisorFiles, web: WebUser) -> bytes:
    """The drop-in of supervisord's unit."""
    lines = ["ExecStartPre=-/bin/mkdir -p %s\n" % folder for folder in own(found)]
    lines.append(
        "ExecStartPre=-/usr/bin/install -d -m 0750 -o root -g %d %s\n" % (web.gid, site.log_dir)
    )
    return (_DROP_IN % "".join(lines)).encode("utf-8")


def are_kept(daemon: Daemon, wanted: bytes) -> bool:
    """Whether the unit makes them."""
    return files.mode_of(daemon.drop_in) == "0:0 644" and files.read(daemon.drop_in) == wanted


def keep(site: Site, found: SupervisorFiles, web: WebUser, daemon: Daemon) -> None:
    """Have them now, and have the unit make them before each start.

    `see_through` or `take_back` follows.
    """
    for folder in own(found):
        _make(folder)
    files.make_folder(site.log_dir, 0o750, web.gid)
    wanted = text(site, found, web)
    if are_kept(daemon, wanted):
        return
    originals.keep(site, daemon.drop_in)
    files.make_folder(os.path.dirname(daemon.drop_in), 0o755)
    files.exchange(daemon.drop_in, wanted, _previous(site), 0o644)
    daemon.reload_units()


def see_through(site: Site) -> None:
    """What `keep` did to the unit stays."""
    files.remove(_previous(site))


def take_back(site: Site, daemon: Daemon) -> None:
    """Undo what `keep` did to the unit; only where it was not `are_kept` before."""
    files.take_back(daemon.drop_in, _previous(site), 0o644)
    _tidy_up(daemon)


def restore(site: Site, daemon: Daemon) -> None:
    """Have the unit as it was before the migration. The folders stay, as the logs in them do."""
    if originals.is_kept(site, daemon.drop_in):
        originals.restore(site, daemon.drop_in)
        _tidy_up(daemon)


def _tidy_up(daemon: Daemon) -> None:
    with contextlib.suppress(OSError):  # somebody else's drop-ins are there
        os.rmdir(os.path.dirname(daemon.drop_in))
    daemon.reload_units()


def _make(folder: str) -> None:
    if not os.path.isdir(folder):
        _make(os.path.dirname(folder))
        files.make_folder(folder, 0o755)


def _previous(site: Site) -> str:
    return site.state_dir + "/unit-previous"
