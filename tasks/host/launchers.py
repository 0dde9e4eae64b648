"""Files of cron, of init and the like that start the old workers: found, taken out, put back.

A line is taken out of use by a mark in front of it, so that only marks have to go on the way back
and what others change meanwhile stays. A file that somebody else than root could exchange is told
of, and root neither reads nor writes it.
"""

import glob
import os
import re
import stat
from typing import Dict, Iterator, List, NamedTuple, Optional

from tasks.host import files, gate, old_units, originals, programs
from tasks.host.errors import RefusedError, WebUserError
from tasks.host.files import FileError
from tasks.host.old_units import OldUnit
from tasks.host.parts import Launcher
from tasks.host.programs import ProgramError
from tasks.host.site import Site
from tasks.host.starting import How, Starting, lines_of
from tasks.host.web_user import WebUser

PLACES = (
    "/etc/rc.local",
    "/etc/rc.d/rc.local",
    "/etc/crontab",
    "/etc/cron.d/*",
    "/etc/anacrontab",
    "/etc/cron.hourly/*",
    "/etc/cron.daily/*",
    "/etc/cron.weekly/*",
    "/etc/cron.monthly/*",
    "/etc/logrotate.d/*",
    "/var/spool/cron/crontabs/*",
    "/var/spool/cron/*",
)
RAN = "ran"  # in the record: workers lived that nothing had started
# A shell needs a command where one stood (`then` before `fi` is an error), so `:` stays there.
MARK = b"#misp-workers-migration# "
_MARKED = re.compile(rb"^(: )?" + MARK)
_SCRIPTS = re.compile(r"/rc\.local\Z|/cron\.(hourly|daily|weekly|monthly)/")


class Rewrite(NamedTuple):
    """What becomes of a file."""

    path: str  # without links
    before: Optional[bytes]  # None: it is gone
    after: Optional[bytes]  # None: the copy that is kept of it comes back


class _File(NamedTuple):
    """A file with lines that start the old workers."""

    path: str  # without links
    data: bytes
    refused: str  # why root leaves it alone, empty: it does not
    uid: int  # its owner
    hows: List[Optional[How]]  # for each of its lines

    @property
    def via(self) -> str:
        """The script or unit by which it starts them, empty: by a command of MISP's."""
        return next((how.via for how in self.hows if how and how.via), "")

    def taken_out(self) -> bytes:
        """Its text without the lines that start old workers."""
        mark = (b": " if _is_script(self.path) else b"") + MARK
        lines = zip(_lines(self.data), self.hows)
        return b"".join(mark + line if how else line for line, how in lines)


def found(site: Site, user: WebUser, units: Optional[List[OldUnit]] = None) -> List[Launcher]:
    """The files that start this MISP's old workers, and why one cannot be changed, if so.

    A crontab of a user who is neither root nor the web user is none of ours while it is unfit:
    else anybody could stop a migration by a line in his own.

    Args:
        units: as `old_units.found` has them, where that is known.
    """
    launchers = []
    for one in _files(site, user, units):
        unfit = _why_unfit(user, one)
        if not unfit or one.uid in (0, user.uid):
            launchers.append(Launcher(one.path, unfit, one.via))
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


def to_take_out(site: Site, user: WebUser) -> List[Rewrite]:
    """What `take_out` does to the files.

    Raises:
        RefusedError: one cannot be taken out automatically.
    """
    fit = {launcher.path for launcher in check(site, user)}
    found_ = [one for one in _files(site, user) if one.path in fit]
    return [Rewrite(one.path, one.data, one.taken_out()) for one in found_]


def take_out(site: Site, user: WebUser) -> None:
    """Have no file start the old workers.

    The record comes before the change, so that a run that was cut off between them loses nothing.

    Raises:
        RefusedError: one cannot be taken out automatically; nothing was changed.
    """
    for one in to_take_out(site, user):
        originals.keep(site, one.path)
        originals.add_launcher(site, one.path)
        _rewrite(one)


def to_put_back(site: Site) -> Iterator[Rewrite]:
    """What `put_back` does to the files."""
    for path in _recorded(site):
        data = files.read(files.real_path(path))
        if data is None:
            yield Rewrite(path, None, None)
        elif _is_marked(data):
            yield Rewrite(path, data, b"".join(_MARKED.sub(b"", line) for line in _lines(data)))


def put_back(site: Site) -> None:
    """Have the files start the old workers again, with whatever else others changed in them."""
    for one in to_put_back(site):
        if one.after is None:
            originals.restore(site, one.path)
        else:
            _rewrite(one)


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


def _lines(data: bytes) -> List[bytes]:
    """Its lines with their ends; only a newline ends one."""
    return re.findall(rb"[^\n]*\n|[^\n]+", data)


def _is_script(path: str) -> bool:
    """Whether a shell reads all of it."""
    return _SCRIPTS.search(path) is not None


def _files(site: Site, user: WebUser, units: Optional[List[OldUnit]] = None) -> List[_File]:
    """Each file once, by its own name: the RHEL family's /etc/rc.local is a link."""
    names = old_units.names(site, units)
    starting = Starting(site.roots, user, names)
    seen: Dict[str, Optional[_File]] = {}
    for place in PLACES:
        for path in sorted(glob.glob(place)):
            try:
                real = files.real_path(path)
            except FileError as error:
                if path not in seen:
                    seen[path] = _of_others(starting, user, path, str(error))
                continue
            if real not in seen:
                seen[real] = _own(starting, real)
    return [one for one in seen.values() if one is not None]


def _own(starting: Starting, path: str) -> Optional[_File]:
    """A file in a folder of root's; cron and rc.local take regular files alone."""
    try:
        status = os.lstat(path)
    except OSError:
        return None  # gone meanwhile
    if not stat.S_ISREG(status.st_mode):
        return None
    try:
        data = files.read(path) or b""
    except FileError as error:  # as big as no crontab is; nobody knows what is in it
        return _File(path, b"", str(error), status.st_uid, [])
    hows = _hows(starting, path, data)
    return _File(path, data, "", status.st_uid, hows) if any(hows) else None


def _of_others(starting: Starting, user: WebUser, path: str, refused: str) -> Optional[_File]:
    """A file that root does not open: the web user reads it, as what is MISP's is his to read."""
    try:
        data = gate.ask(user, _read_as_text, path)
    except WebUserError:
        return None
    hows = _hows(starting, path, data.encode("latin-1", "replace")) if isinstance(data, str) else []
    return _File(path, b"", refused, 0, hows) if any(hows) else None


def _read_as_text(path: str) -> str:
    """Runs as the web user. Its bytes as characters; empty where he may not read it."""
    real = os.path.realpath(path)
    return (files.read(real, files.LIMIT // 4) or b"").decode("latin-1")


def _hows(starting: Starting, path: str, data: bytes) -> List[Optional[How]]:
    """How each line starts the old workers. A `cd` counts for later lines of a script alone."""
    lines = lines_of(os.fsdecode(data))[: len(_lines(data))]
    is_script = _is_script(path)
    return [starting.by(line.text, line.folder if is_script else "") for line in lines]


def _why_unfit(user: WebUser, one: _File) -> str:
    if one.refused:
        return one.refused
    before = b""
    lines = [line.rstrip(b"\n") for line in _lines(one.data)]
    for line, how in zip(lines, one.hows):
        if how:
            # A line in his own crontab may rest on his word: it can take out no line but his.
            unfit = how.unfit or (how.doubt if one.uid != user.uid else "")
            if unfit:
                return unfit
            if line.endswith(b"\\") or before.endswith(b"\\"):
                return "its command goes over several lines"
        before = line
    if _is_script(one.path) and not _is_sound(user, one.uid, one.taken_out()):
        return "without that line it would be no valid script"
    return ""


def _is_sound(user: WebUser, uid: int, script: bytes) -> bool:
    """Whether bash, which MISP's start.sh needs and which knows sh's words, can parse it.

    Bash runs nothing of it (-n). The web user could read the memory of a bash of his, and root's
    script may hold a secret, so only his own script is given to him.
    """
    words = ["bash", "--norc", "-n"]
    try:
        if uid == user.uid:
            return gate.run(user, words, data=script).status == 0
        return programs.run(*words, data=script).status == 0
    except ProgramError:
        return False


def _rewrite(one: Rewrite) -> None:
    """Owner and mode stay: a crontab belongs to its user.

    cron skips the new file while its name begins with a dot, and sees the folder's new time.
    """
    status = os.lstat(one.path)
    mode = stat.S_IMODE(status.st_mode)
    files.write(one.path, one.after or b"", mode, status.st_uid, status.st_gid)
