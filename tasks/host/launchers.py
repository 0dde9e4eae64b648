"""Lines in rc.local and in crontabs that start the old workers: found, taken out, put back.

A line is taken out of use by a mark in front of it, so that only marks have to go on the way back
and what others change meanwhile stays. A file that somebody else than root could exchange is told
of, and root neither reads nor writes it.
"""

import glob
import os
import re
import stat
from typing import Dict, List, NamedTuple, Optional

from tasks.host import files, gate, originals, programs
from tasks.host.errors import RefusedError, WebUserError
from tasks.host.files import FileError
from tasks.host.parts import Launcher
from tasks.host.programs import ProgramError
from tasks.host.site import Site
from tasks.host.web_user import WebUser

PLACES = (
    "/etc/rc.local",
    "/etc/rc.d/rc.local",
    "/etc/crontab",
    "/etc/cron.d/*",
    "/var/spool/cron/crontabs/*",
    "/var/spool/cron/*",
)
RAN = "ran"  # in the record: workers lived that nothing had started
# A shell needs a command where one stood (`then` before `fi` is an error), so `:` stays there.
MARK = b"#misp-workers-migration# "
_MARKED = re.compile(rb"^(: )?" + MARK)
_STARTING = re.compile(
    rb"[^#\n]*(worker/start(_dynamic)?[.]sh|CakeResque +(re)?start|CakeResque +load)"
)


class _File(NamedTuple):
    """A file with lines that start the old workers."""

    path: str  # without links
    data: bytes
    refused: str  # why root leaves it alone, empty: it does not
    uid: int  # its owner

    @property
    def lines(self) -> List[bytes]:
        """Its lines with their ends; only a newline ends one."""
        return re.findall(rb"[^\n]*\n|[^\n]+", self.data)

    @property
    def is_script(self) -> bool:
        """Whether a shell reads it, not cron."""
        return os.path.basename(self.path) == "rc.local"

    def taken_out(self) -> bytes:
        """Its text without the lines that start old workers."""
        mark = (b": " if self.is_script else b"") + MARK
        return b"".join(mark + line if _STARTING.match(line) else line for line in self.lines)


def found(site: Site, user: WebUser) -> List[Launcher]:
    """The files that start this MISP's old workers, and why one cannot be changed, if so.

    A crontab of a user who is neither root nor the web user is none of ours while it is unfit:
    else anybody could stop a migration by a line in his own.
    """
    launchers = []
    for one in _files(user):
        unfit = _why_unfit(site, user, one)
        if not unfit or one.uid in (0, user.uid):
            launchers.append(Launcher(one.path, unfit))
    return launchers


def check(site: Site, user: WebUser) -> List[Launcher]:
    """The launchers, all of which can be taken out automatically.

    Raises:
        RefusedError: naming the file that cannot, and the reason.
    """
    launchers = found(site, user)
    for launcher in launchers:
        if launcher.unfit:
            raise RefusedError(
                "the old workers are also started by %s (%s): take that out by hand and run again"
                % (launcher.path, launcher.unfit)
            )
    return launchers


def take_out(site: Site, user: WebUser) -> None:
    """Have no file start the old workers.

    The record comes before the change, so that a run that was cut off between them loses nothing.

    Raises:
        RefusedError: one cannot be taken out automatically; nothing was changed.
    """
    fit = {launcher.path for launcher in check(site, user)}
    for one in [one for one in _files(user) if one.path in fit]:
        originals.keep(site, one.path)
        originals.add_launcher(site, one.path)
        _rewrite(one.path, one.taken_out())


def put_back(site: Site) -> None:
    """Have the files start the old workers again, with whatever else others changed in them."""
    for path in _recorded(site):
        data = files.read(files.real_path(path))
        if data is None:
            originals.restore(site, path)
        elif _is_marked(data):
            lines = _File(path, data, "", 0).lines
            _rewrite(path, b"".join(_MARKED.sub(b"", line) for line in lines))


def are_out(site: Site, old_workers_live: bool) -> bool:
    """Whether the way back has something to do here."""
    for path in _recorded(site):
        try:
            data = files.read(files.real_path(path))
        except FileError:
            return True  # the way back will say why
        if data is None or _is_marked(data):
            return True
    return RAN in originals.launchers(site) and not old_workers_live


def _recorded(site: Site) -> List[str]:
    return [text for text in originals.launchers(site) if text.startswith("/")]


def _is_marked(data: bytes) -> bool:
    return any(_MARKED.match(line) for line in data.split(b"\n"))


def _files(user: WebUser) -> List[_File]:
    """Each file once, by its own name: the RHEL family's /etc/rc.local is a link."""
    seen: Dict[str, Optional[_File]] = {}
    for place in PLACES:
        for path in sorted(glob.glob(place)):
            try:
                real = files.real_path(path)
            except FileError as error:
                if path not in seen:
                    seen[path] = _of_others(user, path, str(error))
                continue
            if real not in seen:
                seen[real] = _own(real)
    return [one for one in seen.values() if one is not None]


def _own(path: str) -> Optional[_File]:
    """A file in a folder of root's; cron and rc.local take regular files alone."""
    try:
        status = os.lstat(path)
    except OSError:
        return None  # gone meanwhile
    if not stat.S_ISREG(status.st_mode):
        return None
    try:
        data = files.read(path)
    except FileError as error:  # as big as no crontab is; nobody knows what is in it
        return _File(path, b"", str(error), status.st_uid)
    return _File(path, data, "", status.st_uid) if data and _starts(data) else None


def _of_others(user: WebUser, path: str, refused: str) -> Optional[_File]:
    """A file that root does not open: the web user reads it, as what is MISP's is his to read."""
    try:
        data = gate.ask(user, _read_as_text, path)
    except WebUserError:
        return None
    if not isinstance(data, str) or not _starts(data.encode("latin-1", "replace")):
        return None
    return _File(path, b"", refused, 0)


def _read_as_text(path: str) -> str:
    """Runs as the web user. Its bytes as characters; empty where he may not read it."""
    real = os.path.realpath(path)
    return (files.read(real, files.LIMIT // 4) or b"").decode("latin-1")


def _starts(data: bytes) -> bool:
    return any(_STARTING.match(line) for line in data.split(b"\n"))


def _why_unfit(site: Site, user: WebUser, one: _File) -> str:
    if one.refused:
        return one.refused
    needles = [os.fsencode(root) + b"/" for root in site.roots]
    before = b""
    for line in (line.rstrip(b"\n") for line in one.lines):
        if _STARTING.match(line):
            if not any(needle in line for needle in needles):
                return "a line there does not name %s/" % site.misp_root
            if line.endswith(b"\\") or before.endswith(b"\\"):
                return "its command goes over several lines"
        before = line
    if one.is_script and not _is_sound(user, one.taken_out()):
        return "without that line it would be no valid script"
    return ""


def _is_sound(user: WebUser, script: bytes) -> bool:
    """Whether bash, which MISP's start.sh needs and which knows sh's words, can parse it."""
    try:
        return gate.run(user, [programs.find("bash") or "bash", "-n"], data=script).status == 0
    except ProgramError:
        return False


def _rewrite(path: str, data: bytes) -> None:
    """Owner and mode stay: a crontab belongs to its user.

    cron skips the new file while its name begins with a dot, and sees the folder's new time.
    """
    status = os.lstat(path)
    files.write(path, data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
