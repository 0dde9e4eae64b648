"""A trial of the package manager: what an install would fetch is fetched and thrown away.

The lists of the repositories, the cache and the packages are in a folder of the trial's own, so the
host stays as it is, and nothing waits for another package manager's lock.
"""

import contextlib
import os
import re
import time
from typing import Dict, Iterator, List, NamedTuple

from tasks.host.programs import ProgramError

_PREFIX = ".misp-workers-"
_LEFT_SECONDS = 3600.0  # after which a folder is one that a killed trial has left
_FILE = re.compile(r"([^_]+)_([^_]+)_[^_]+\.deb$|(.+)-([^-]+-[^-]+)\.[^.]+\.rpm$")


class Trial(NamedTuple):
    """How the platform's package manager only fetches what an install would bring."""

    options: List[str]  # it writes nowhere but in the folder {0}: the packages into {0}/packages
    known: str  # folder of what it knows of the repositories; the trial's own one is {0}/known


@contextlib.contextmanager
def folder_of(trial: Trial) -> Iterator[str]:
    """A new folder. It has what is known of the repositories as hard links, which save a download.

    The package manager exchanges such files and writes into none; dnf may set the time of one that
    it has compared with the repository.

    Raises:
        ProgramError: no folder can be made.
    """
    import shutil

    parent = os.path.dirname(trial.known)
    try:
        _remove_left(parent)
        folder = _made(trial.known, parent)
    except OSError as error:
        raise ProgramError("no folder can be made in %s: %s" % (parent, error.strerror)) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: str) -> None:
    import shutil

    for name in os.listdir(parent):
        path = parent + "/" + name
        if name.startswith(_PREFIX) and time.time() - os.lstat(path).st_mtime > _LEFT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _made(known: str, parent: str) -> str:
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    os.chmod(folder, 0o711)  # noqa: S103 - apt fetches as a user of its own
    os.mkdir(folder + "/packages")
    try:
        # dnf writes into *.json, and the others are locks, or of a download that is under way.
        others = shutil.ignore_patterns("*.json", "partial", "lock", "*.pid")
        shutil.copytree(known, folder + "/known", copy_function=os.link, ignore=others)
    except OSError:  # there is none, or it is on another file system: all is fetched anew
        shutil.rmtree(folder + "/known", ignore_errors=True)
        os.mkdir(folder + "/known")
    return folder


def versions(names: List[str]) -> Dict[str, str]:
    """The packages' versions, which the names of their files have."""
    from urllib.parse import unquote

    found = filter(None, map(_FILE.match, names))
    return {one.group(1) or one.group(3): unquote(one.group(2) or one.group(4)) for one in found}
