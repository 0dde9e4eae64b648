"""Whether a command starts the old workers of this MISP: itself, by a script, or by their unit.

MISP's own commands say it themselves, and a path in them says of which MISP. A script is followed
one hop: its text is read as root only where nobody else could exchange it. What others could
exchange is read by the web user, as what is MISP's is his to read, and his word changes no file.
"""

import os
import re
import stat
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from tasks.host import files, gate
from tasks.host.errors import WebUserError
from tasks.host.files import FileError
from tasks.host.web_user import WebUser

COMMAND = re.compile(
    r"worker/start(_dynamic)?\.sh|CakeResque[ \t]+((re)?start|load)"
    r"|(?<![\w.-])php[\w.-]*[ \t]+\S*bin/resque"
)
_HINT = re.compile(r"start(_dynamic)?\.sh|CakeResque|bin/resque")
_LOOKS = re.compile(r"\b(?:p?grep|p?kill|killall)\b[^|;&]*")  # for processes, and starts none
_BESIDE = re.compile(r"(?:^|[\s;&|\"'/])start(?:_dynamic)?\.sh\b")  # after `cd app/Console/worker`
_FOLDER = "app/Console/worker"
_BETWEEN = re.compile(r"[\s\"'`;|&<>()=:]+")  # what no path has in it
_APP = re.compile(r"/app(?=/|\Z)")
CONTROL = re.compile(r"\b(systemctl|service|invoke-rc\.d|init\.d)\b")
# `try-restart` and `condrestart` start nothing that was stopped.
_VERB = re.compile(r"(?<![\w.-])((re)?start|reload-or-restart|enable|force-reload)(?![\w.-])")
_UNIT = r"(?:(?<![\w.@/-])|(?<=init\.d/))(%s)(?:\.service)?(?![\w@/.-])"
# As a shell and systemd take one: a blank in it stands behind a backslash (\x20), or in quotes.
_PATH = re.compile(r"(?<![\w.=$}*?/\\-])/(?:[\w.@+/-]|\\x[0-9a-fA-F]{2}|\\.)+")
_QUOTED = re.compile(r"\"(/[^\"]+)\"|'(/[^']+)'")
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")
_WORD = re.compile(r"(?<![\w./=$@-])[A-Za-z][\w.-]+(?![\w./=@-])")
_SET = re.compile(
    r"^[ \t]*(?:export[ \t]+)?(\w+)=(\"[^\"`$]*\"|'[^']*'|[^\s\"'`$;&|]*)[ \t\r]*(?:;[ \t\r]*)?$"
)
_CHANGE = re.compile(r"(?:^|[\s;&|])cd[ \t]+([^\s;&|]+)")
_USE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_FOR_A_SHELL = re.compile(
    r"(?:\b(?:ba|da|k)?sh(?:[ \t]+-\w+)*|(?:^|[\s;&|(])\.|\bsource)[ \t]+[\"']?"
)
_ON_PATH = ("/usr/local/sbin/", "/usr/local/bin/")  # where a script of the host's own would be
_KERNELS = ("/dev/", "/proc/", "/sys/")  # to open a device may already do something
# Some texts are the web user's, who may write what takes for ever to read.
_SCRIPT = 1 << 16  # bytes; a script that starts something is smaller
_LINE = 4096  # characters of a line that are looked at; cron takes 1000
_VALUE = 512  # characters of a variable's value: one that holds itself twice doubles in each line
_PATHS = 40  # of one line
_ASKED = 100  # scripts that the web user reads


class How(NamedTuple):
    """How a command starts the old workers."""

    via: str  # the script or the unit, empty: the command does it itself
    unfit: str  # why it cannot be taken out of use automatically, empty: it can
    doubt: str = ""  # why root does not take the script's word, empty: it does


class Starting:
    """Answers for commands; what it reads of scripts it reads once."""

    def __init__(
        self,
        roots: List[str],
        user: Optional[WebUser] = None,
        units: Iterable[str] = (),
        but: Iterable[str] = (),
    ) -> None:
        """Take what tells this MISP's commands from others'.

        Args:
            roots: MISP's folder as the operator names it, and without links.
            user: who reads scripts that root does not; nobody does without.
            units: names of the old workers' units.
            but: scripts that are not followed, as they are looked at for themselves.
        """
        self.roots = roots
        self.user = user
        self._but = set(but)
        names = [re.escape(_short(one)) for one in units]
        self._unit = re.compile(_UNIT % "|".join(names)) if names else None
        self._scripts: Dict[Tuple[str, bool], Optional[How]] = {}
        self._asked = 0

    def by(self, line: str, folder: str = "") -> Optional[How]:
        """How a command starts them; `None`: it does not.

        Args:
            folder: where it runs, empty where that is not known.
        """
        line = line[:_LINE].replace("\0", " ")
        return self._inside(Line(line, folder)) or self._by_scripts(_code(line))

    def _itself(self, line: str, folder: str) -> Optional[How]:
        is_beside = _FOLDER in line + folder and _BESIDE.search(line)
        if not (COMMAND.search(line) or is_beside):
            return None
        text = "%s %s " % (line, folder)
        others = [one for one in _roots_in(text) if not self._is_ours(one)]
        if not self._names_ours(text):
            return None if others else How("", "a line there does not name %s/" % self.roots[0])
        return How("", "a line there also starts those of %s" % others[0] if others else "")

    def _names_ours(self, text: str) -> bool:
        is_root = any(re.search(re.escape(one) + r"(?![\w.-])", text) for one in self.roots)
        return is_root or any(map(self._is_ours, _roots_in(text)))

    def _is_ours(self, folder: str) -> bool:
        is_path = _is_path(folder)
        return folder in self.roots or (is_path and os.path.realpath(folder) == self.roots[-1])

    def _by_unit(self, line: str) -> Optional[How]:
        found = self._unit.search(line) if self._unit else None
        if not (found and CONTROL.search(line) and _VERB.search(line)):
            return None
        return How(found.group(1), "")

    def _by_scripts(self, line: str) -> Optional[How]:
        for path in list(_scripts(line))[:_PATHS]:
            if path in self._but or not _is_path(path):
                continue
            key = (path, _is_given_to_a_shell(path, line))
            if key not in self._scripts:
                self._scripts[key] = self._by_script(*key)
            if self._scripts[key]:
                return self._scripts[key]
        return None

    def _by_script(self, path: str, is_for_a_shell: bool) -> Optional[How]:
        text, why = self._text(path)
        if not (is_for_a_shell or text.startswith("#!")):
            return None  # a file of another kind, as one of supervisord's
        if not (_HINT.search(text) or (self._unit and self._unit.search(text))):
            return None  # most of a system's scripts: no use to look at each line
        hows = [self._inside(line) for line in lines_of(text)]
        reasons = [how.unfit for how in hows if how]
        if not reasons:
            return None
        unfit = next(filter(None, reasons), "")
        return How(path, unfit and "%s: %s" % (path, unfit), why)

    def _inside(self, line: "Line") -> Optional[How]:
        text = _code(line.text)
        return self._itself(text, line.folder) or self._by_unit(text)

    def _text(self, path: str) -> Tuple[str, str]:
        """A script's text, and why root does not take its word, if so."""
        if not os.path.lexists(path) or os.path.realpath(path).startswith(_KERNELS):
            return "", ""
        try:
            real = files.real_path(path)
        except FileError as error:
            return self._as_web_user(path), str(error)
        if real.startswith(_KERNELS):  # exchanged meanwhile
            return "", ""
        try:
            found = os.lstat(real)
            is_small = found.st_size <= _SCRIPT  # programs are not
            text = _decoded(files.read(real, _SCRIPT) or b"") if is_small else ""
        except (FileError, OSError):
            return "", ""
        is_roots = found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return text, "" if is_roots else "%s can be changed by others than root" % path

    def _as_web_user(self, path: str) -> str:
        self._asked += 1
        if self._asked > _ASKED:
            return ""
        try:
            text = gate.ask(self.user, _read_as_text, path) if self.user else ""
        except WebUserError:  # he may stop each of these processes: one that hangs is enough
            self._asked = _ASKED
            return ""
        return _decoded(text.encode("latin-1", "replace")) if isinstance(text, str) else ""


class Line(NamedTuple):
    """A line of a script."""

    text: str  # with the values of variables that the script sets to plain text
    folder: str  # where a `cd` before it leads, empty: not known


def lines_of(text: str) -> List[Line]:
    """A script's lines, as many as it has."""
    values: Dict[str, str] = {}
    lines = []
    folder = ""
    for written in text.split("\n"):
        line = _USE.sub(
            lambda use: values.get(use.group(1) or use.group(2), use.group()), written[:_LINE]
        )[:_LINE]
        code = line.partition("#")[0]
        found = _SET.match(code)
        if found:
            values[found.group(1)] = found.group(2).strip("\"'")[:_VALUE]
        lines.append(Line(line, folder))
        for change in _CHANGE.findall(code):
            folder = change.strip("\"'")
    return lines


def _code(line: str) -> str:
    """What a line runs: a comment runs nothing, nor does one that only names a command."""
    code = line.partition("#")[0]
    return "" if _SET.match(code) else _LOOKS.sub(" ", code)


def _roots_in(text: str) -> List[str]:
    """The folders in a text that have MISP's `app` in them, as their paths say."""
    found = []
    for word in _BETWEEN.split(text):
        start = word.find("/")
        for match in _APP.finditer(word, start + 1) if start >= 0 else ():
            found.append(word[start : match.start()])
            start = match.end()
    return found


def _short(unit: str) -> str:
    return unit[: -len(".service")] if unit.endswith(".service") else unit


def _is_given_to_a_shell(path: str, line: str) -> bool:
    """Whether a shell reads it, though it may not begin as a script does."""
    return any(line.startswith(path, shell.end()) for shell in _FOR_A_SHELL.finditer(line))


def _scripts(line: str) -> Iterator[str]:
    for found in _PATH.finditer(line):
        yield _ESCAPED.sub(_unescaped, found.group())
    for found in _QUOTED.finditer(line):
        yield found.group(1) or found.group(2)
    for found in _WORD.finditer(line):
        for folder in _ON_PATH:
            if os.path.lexists(folder + found.group()):
                yield folder + found.group()


def _is_path(text: str) -> bool:
    """Whether the kernel takes it: without a NUL, and in the C locale of Python 3.6 of ASCII."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _unescaped(found: Any) -> str:
    return chr(int(found.group(1), 16)) if found.group(1) else str(found.group(2))


def _decoded(data: bytes) -> str:
    return "" if b"\0" in data else os.fsdecode(data)


def _read_as_text(path: str) -> str:
    """Runs as the web user. Its bytes as characters; empty where he may not read it."""
    real = os.path.realpath(path)
    return (files.read(real, _SCRIPT) or b"").decode("latin-1")
