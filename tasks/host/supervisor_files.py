"""THE reader of supervisor's files: it reads what supervisord reads, as supervisord 4 does.

The main file names further ones by patterns in [include]. A section may stand in several files:
of two values for one key the later one counts.
"""

import configparser
import fnmatch
import glob
import os
import re
import shlex
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from tasks.host import files
from tasks.host.files import FileError
from tasks.host.queues import NEW_QUEUES
from tasks.host.site import GROUP

Values = Dict[str, str]

PROGRAM_KINDS = ("program:", "fcgi-program:", "eventlistener:")
STARTS_OLD_WORKERS = re.compile(
    r"worker/start(_dynamic)?\.sh|CakeResque\s+((re)?start|load)|bin/resque"
)
HASHED = "{SHA}"
_DEFAULTS = "DEFAULT"
_NO_SECTION = "\0"  # so that [DEFAULT] of one file is a section like others until all are read
_FILES = 1000
_CAKES = ("/app/Console/cake", "/app/Console/cake.php")
_LONGEST_PATH = 4096  # characters; a worker's arguments are the web user's


class Server(NamedTuple):
    """An HTTP server of supervisord's, as its section has it; `password` may be a hash."""

    file: str
    address: str  # of [inet_http_server]: HOST:PORT, or PORT
    path: str  # of [unix_http_server]
    user: str
    password: str

    @property
    def port(self) -> int:
        """The TCP port, 0 where there is none."""
        return port_of(self.address)

    @property
    def clear_password(self) -> str:
        """The password, empty where there is none or only its hash."""
        return "" if self.password.startswith(HASHED) else self.password


def misp_of(words: Sequence[str]) -> str:
    """The folder of the MISP whose `cake` a command line runs; empty: it runs none."""
    for word in words:
        whole = [word] if word.startswith("/") else []  # it may have blanks in it
        for text in (*whole, *word.split()):  # as in a shell's text
            for cake in _CAKES:
                root = text[text.find("/") : -len(cake)] if text.endswith(cake) else ""
                if 1 < len(root) <= _LONGEST_PATH:
                    return root
    return ""


def port_of(address: str) -> int:
    """The port of an [inet_http_server]'s address, 0 where it has none."""
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() and len(port) <= 5 else 0


class SupervisorFiles:
    """The sections of all files, by file and together."""

    def __init__(
        self, path: str, environment: Optional[Mapping[str, str]] = None, packaged: str = ""
    ) -> None:
        """Read the main file and all that it includes.

        Args:
            environment: supervisord's own, which values may refer to.
            packaged: what the package's main file includes, for as long as there is none.
        """
        self.path = path
        self.patterns: List[str] = []
        self.by_file: Dict[str, Dict[str, Values]] = {}
        self.faults: List[str] = []
        self._names = {"ENV_" + name: value for name, value in (environment or {}).items()}
        self._names["host_node_name"] = os.uname().nodename
        self._names["here"] = os.path.dirname(os.path.abspath(path))
        self.exists = self._read(path)
        if self.exists:
            self._include()
        elif packaged:
            self.patterns.append(packaged)
        for file in self._included():
            self.by_file.pop(file, None)  # of a file that is named twice the last reading counts
            self._read(file)
        if self.exists and not self.faults and "supervisord" not in self.sections():
            self.faults.append("%s has no [supervisord], so supervisord does not start" % path)

    def files_with(self, *names: str) -> List[str]:
        """Files that have one of these sections."""
        return [
            file
            for file, found in self.by_file.items()
            if any(_stripped(name) in names for name in found)
        ]

    def sections(self, file: str = "") -> List[str]:
        """Names of the sections in one file, or in all."""
        chosen = [file] if file else list(self.by_file)
        found: Dict[str, None] = {}
        for one in chosen:
            found.update(dict.fromkeys(self.by_file.get(one, {})))
        return [name for name in found if name != _DEFAULTS]

    def get(self, section: str, key: str, file: str = "") -> str:
        """A value, its references replaced; empty where there is none."""
        value = ""
        for name in (_DEFAULTS, section):
            for path, found in self.by_file.items():
                if name == _DEFAULTS or not file or path == file:
                    value = found.get(name, {}).get(key, value)
        return expanded(value, dict(self._names, **_names_in(section)))

    def foreign_inet(self, but: str) -> Optional[Server]:
        """The first TCP server of a file other than that one, with what that file says of it."""
        for file in self.by_file:
            for server in self.servers("inet_http_server", file) if file != but else ():
                return server
        return None

    def group_elsewhere(self, group_file: str) -> List[str]:
        """Other files that have MISP's group, or a program of a name that it needs.

        A program alone is a group of its own name, so one called misp-workers counts.
        """
        names = ["group:" + GROUP]
        names += [kind + name for kind in PROGRAM_KINDS for name in (GROUP, *NEW_QUEUES)]
        return [file for file in self.files_with(*names) if file != group_file]

    def group_root(self, group_file: str) -> str:
        """The MISP that a group's file is for."""
        names = sorted(self.sections(group_file), key=lambda name: name != "program:default")
        programs = [name for name in names if name.startswith("program:")]
        return next(filter(None, (self.program_root(one, group_file) for one in programs)), "")

    def program_root(self, section: str, file: str = "") -> str:
        """The MISP that a program is for: by its command, or else by its directory."""
        words = _words(self.get(section, "command", file))
        return (misp_of(words) or self.get(section, "directory", file)).rstrip("/")

    def group_extra(self, group_file: str) -> List[str]:
        """Sections of the group's file that are neither the group nor one of its programs."""
        listed = [one.strip() for one in self.get("group:" + GROUP, "programs").split(",")]
        ours = {"group:" + GROUP} | {"program:" + name for name in listed}
        found = self.sections(group_file)
        return ["[%s]" % name for name in found if _stripped(name) not in ours]

    def old_programs(self, roots: Sequence[str]) -> List[str]:
        """Programs that start old workers of the MISP in these folders, as in "NAME in FILE"."""
        found = []
        for name in self.sections():
            command, folder = self.get(name, "command"), self.get(name, "directory")
            if name.startswith(PROGRAM_KINDS) and _starts_old(command, folder, roots):
                file = self.files_with(_stripped(name))[-1]
                found.append("%s in %s" % (name.partition(":")[2].strip(), file))
        return sorted(found)

    def servers(self, kind: str, file: str = "") -> Iterator[Server]:
        """The servers of a kind, inet_http_server or unix_http_server, in one file or in all."""
        for name in self.sections(file):
            if name != kind and not name.startswith(kind + ":"):
                continue
            keys = ("port", "file", "username", "password")
            port, path, user, password = (self.get(name, key, file).strip() for key in keys)
            path = os.path.normpath(path) if path else ""
            yield Server(file or self.files_with(name)[-1], port, path, user, password)

    def _include(self) -> None:
        if "include" not in self.by_file[self.path]:
            return
        listed = self.get("include", "files", self.path).split()
        if not listed:
            self.faults.append("%s has an [include] without files" % self.path)
        folder = os.path.dirname(os.path.abspath(self.path))
        self.patterns = [os.path.join(folder, pattern) for pattern in listed]
        unknown = [pattern for pattern in listed if "%(" in pattern]
        if unknown:
            self.faults.append("%s includes %s, which is not known" % (self.path, unknown[0]))

    def _included(self) -> List[str]:
        found = [path for pattern in self.patterns for path in sorted(glob.glob(pattern))]
        found = [path for path in found if not os.path.isdir(path)]
        if len(found) > _FILES:
            self.faults.append("%s includes %d files" % (self.path, len(found)))
        return found[:_FILES]

    def _read(self, path: str) -> bool:
        try:
            data = files.read(files.real_path(path))
        except FileError as error:
            self.faults.append("supervisord reads %s, but %s" % (path, error))
            self.by_file[path] = {}
            return True
        if data is None:
            return False
        parser = _parser()
        try:
            parser.read_string(data.decode("utf-8", "replace"), path)
        except configparser.Error as error:
            # Whatever could be read counts: supervisord runs since before the fault came.
            self.faults.append(
                "supervisord cannot read %s: %s" % (path, " ".join(str(error).split()))
            )
        folder = os.path.dirname(os.path.abspath(path))
        self.by_file[path] = {
            name: {key: value.replace("%(here)s", folder) for key, value in parser.items(name)}
            for name in parser.sections()
        }
        return True


def expanded(value: str, names: Mapping[str, Any]) -> str:
    """A value with its references replaced; one to an unknown name leaves the whole as it is."""
    try:
        return value % names
    except (KeyError, ValueError, TypeError):
        return value


def _stripped(section: str) -> str:
    """A section's name as supervisord compares it: blanks around a program's name are nothing."""
    kind, colon, name = section.partition(":")
    return kind + colon + name.strip()


def is_included(file: str, patterns: Sequence[str]) -> bool:
    """Whether [include] with these patterns has a file of that name; `*` stays in its folder."""
    names = file.split("/")
    wanted = [os.path.normpath(pattern).split("/") for pattern in patterns]
    return any(
        len(one) == len(names) and all(map(fnmatch.fnmatchcase, names, one)) for one in wanted
    )


def _parser() -> Any:
    # As UnhosedConfigParser: Python 2's ways on Python 3.
    return configparser.RawConfigParser(
        strict=False, inline_comment_prefixes=(";", "#"), default_section=_NO_SECTION
    )


def _names_in(section: str) -> Dict[str, Any]:
    """What a program's section may refer to, for its first process."""
    name = section.partition(":")[2]
    return {"program_name": name, "group_name": name, "process_num": 0, "numprocs": 1}


def _starts_old(command: str, folder: str, roots: Sequence[str]) -> bool:
    """Whether a command, or a script of root's that it runs, starts old workers of this MISP."""
    lines = [command]
    for word in _words(command)[:3]:
        text = _script(word) if word.startswith("/") else ""
        lines += [line.partition("#")[0] for line in text.splitlines()]
    where = "/ ".join([*lines, folder, ""])
    is_ours = any(root + "/" in where for root in roots)
    return is_ours and any(STARTS_OLD_WORKERS.search(line) for line in lines)


def _words(command: str) -> List[str]:
    try:
        return shlex.split(command)
    except ValueError:  # supervisord refuses it
        return command.split()


def _script(path: str) -> str:
    try:
        data = files.read(files.real_path(path), 1 << 16) or b""
    except (FileError, OSError):
        return ""
    return data.decode("utf-8", "replace") if data.startswith(b"#!") else ""
