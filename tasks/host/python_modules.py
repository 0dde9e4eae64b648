"""Whether what a Python script of root's imports is root's alone, as the script itself has to be.

A supervisord of pip's may be in a folder of its own (a venv), which names its Python and where that
looks for modules. Somebody else's file among these would run as root.
"""

import glob
import os
import stat
from typing import Iterator, List, Set

from tasks.host import files
from tasks.host.files import FileError

_PACKAGED = ("/", "/usr")  # packages own what is there; what root's pip adds is in the next one
_LOCAL = "/usr/local"
_FOLDERS = 5000  # a venv with supervisor alone has 200
_SIZE = 1 << 16  # bytes of a file that names folders


def check(script: str) -> None:
    """Check where the interpreter of a script looks for modules, and all that is there.

    Args:
        script: a program that `files.program` lets pass; one that is not Python's has no modules.

    Raises:
        FileError: others than root can change something there.
    """
    interpreter = ["", *files.interpreters(script)][-1]
    if not os.path.basename(interpreter).startswith(("python", "platform-python")):
        return
    seen: Set[str] = set()
    for prefix in _prefixes(interpreter):
        for folder in sorted(glob.glob(glob.escape(prefix) + "/lib*/python*")):
            _check_below(folder, seen)


def _prefixes(interpreter: str) -> List[str]:
    """The folders that have `lib`: beside an interpreter, what it links to, and its home."""
    homes = [os.path.dirname(one) for one in (interpreter, os.path.realpath(interpreter))]
    homes += [home for folder in (homes[0], os.path.dirname(homes[0])) for home in _homes(folder)]
    prefixes = [os.path.dirname(home) for home in homes]
    own = [one for one in prefixes if one not in _PACKAGED]
    return list(dict.fromkeys(own if own == prefixes else [*own, _LOCAL]))


def _homes(folder: str) -> List[str]:
    """Where the Python of a venv is, as the venv's configuration says."""
    path = folder + "/pyvenv.cfg"
    if not os.path.lexists(path):
        return []
    list(_checked(files.real_path(path)))  # it names no folder, but it is checked
    pairs = [line.partition("=") for line in _text(path).splitlines()]
    return [value.strip() for key, _, value in pairs if key.strip().lower() == "home"]


def _check_below(folder: str, seen: Set[str]) -> None:
    todo = list(_checked(files.real_path(folder)))
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        if len(seen) > _FOLDERS:
            raise FileError("%s has more than %d folders" % (folder, _FOLDERS))
        for name in os.listdir(at):
            todo += _checked(at + "/" + name)


def _checked(path: str) -> Iterator[str]:
    """Check one file or folder, and return the folders whose content has to be checked too."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        path = files.real_path(path)
        if not os.path.lexists(path):
            return
        found = os.lstat(path)
    if found.st_uid != 0 or files.others_write(path, found):
        raise FileError(
            "%s can be changed by others than root, and Python looks for modules there" % path
        )
    if stat.S_ISDIR(found.st_mode):
        yield path
    elif path.endswith(".pth"):
        for line in _text(path).splitlines():
            more = os.path.join(os.path.dirname(path), line.strip())
            if os.path.isdir(more):  # other lines are code, or nothing
                yield from _checked(files.real_path(more))


def _text(path: str) -> str:
    return os.fsdecode(files.read(files.real_path(path), _SIZE) or b"")
