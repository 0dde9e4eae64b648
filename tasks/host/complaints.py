"""The line that tells why, out of what PHP, MISP or a worker printed."""

import os
import re
from typing import Dict, List, Sequence

from tasks.host.remedies import quoted
from tasks.host.site import Site

_LOG_BYTES = 16384  # of a log's end: an exception and the calls that led to it
_LONGEST = 300
_KEPT = 40  # lines of a log's end
_SHOWN = 3  # different lines, and names of workers for each
# The calls that led to an exception come after its own line.
_CALL = re.compile(
    r"^\s*(#\d+ |Stack trace:|\[?stacktrace\]?|thrown in |\{main\}|in .* on line \d+$)", re.I
)
_TELLS = re.compile(
    r"error|exception|fatal|uncaught|denied|refused|not found|no such|cannot|failed|exhausted", re.I
)


def telling(text: str) -> str:
    """The last line that names an error, else the last one; short, and without control letters."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [_without_calls(line) for line in lines if line and not _CALL.match(line)]
    best = [line for line in lines if _TELLS.search(line)] or lines
    last = (best or [""])[-1]
    return quoted("".join(letter if letter.isprintable() else "?" for letter in last), _LONGEST)


def _without_calls(line: str) -> str:
    """One that has its calls in the same line, as MISP keeps them of a job.

    PHP writes a call with its arguments, as in `Redis->auth('...')`.
    """
    return re.split(r"(?: |\\n)(?:#\d+ [/\[{]|\[?stack ?trace\]?:? ?#?\d*)", line, flags=re.I)[0]


class Logs:
    """The workers' logs from a moment on: they also hold what earlier runs have left."""

    def __init__(self, site: Site) -> None:
        self._folder = site.log_dir
        self._sizes = {name: self._size(name) for name in self._all()}

    def say(
        self, names: Sequence[str], known: Sequence[str] = (), *, with_old: bool = False
    ) -> str:
        """What the logs of these workers or queues end with, for a sentence; empty: nothing new.

        Each line comes once. One that names an error counts more than one that does not.

        Args:
            known: what the text says already.
            with_old: an older line counts where there is no new one.
        """
        said: Dict[str, List[str]] = {}
        for name in self._of(names):
            line = telling(self._end_of(name, self._sizes.get(name, 0)))
            line = line or (telling(self._end_of(name, 0)) if with_old else "")
            if line and not any(words in line for words in known if words):
                said.setdefault(line, []).append(name[: -len(".log")])
        lines = [line for line in said if _TELLS.search(line)] or ([] if known else list(said))
        shown = ["%s (%s)" % (line, listed(said[line])) for line in lines[:_SHOWN]]
        return ". Their logs say: " + " | ".join(shown) if shown else ""

    def ends(self, names: Sequence[str]) -> List[str]:
        """The ends of the logs of these workers or queues, by lines, for the run's log.

        They leave the host, so they have no calls: these have arguments, and so passwords.
        """
        found = []
        for name in self._of(names):
            lines = self._end_of(name, 0).split("\n")
            kept = [_without_calls(line) for line in lines if line and not _CALL.match(line)]
            found += ["%s: %s" % (name, line) for line in kept[-_KEPT:]]
        return found

    def _all(self) -> List[str]:
        names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
        return sorted(name for name in names if name.endswith(".log"))

    def _of(self, names: Sequence[str]) -> List[str]:
        stems = {file: file[: -len(".log")] for file in self._all()}
        return [
            file for file, stem in stems.items() if {stem, stem.rpartition("_")[0]} & set(names)
        ]

    def _path(self, name: str) -> str:
        return self._folder + "/" + name

    def _size(self, name: str) -> int:
        try:
            return os.path.getsize(self._path(name))
        except OSError:  # rotated away just now
            return 0

    def _end_of(self, name: str, start: int) -> str:
        with open(self._path(name), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = start if start <= size else 0  # else it is another file, since a rotation
            is_cut = start < size - _LOG_BYTES
            file.seek(max(start, size - _LOG_BYTES))
            data = file.read(_LOG_BYTES)
            # Half a line may begin amid the arguments of a call.
            return (data.partition(b"\n")[2] if is_cut else data).decode("utf-8", "replace")


def listed(names: Sequence[str]) -> str:
    """Some names and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (" and %d more" % more if more > 0 else "")
