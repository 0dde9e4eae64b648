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
    """One that has its calls in the same line, as MISP keeps them of a job."""
    return re.split(r" (?:#0 /|Stack trace: ?#0)", line)[0]


def of_logs(site: Site, names: Sequence[str], known: Sequence[str] = ()) -> str:
    """What the logs of these workers or queues end with, for an error's text; empty: nothing new.

    Each line comes once. One that names an error counts more than one that does not.

    Args:
        known: what the text says already.
    """
    said: Dict[str, List[str]] = {}
    for file in _logs(site.log_dir):
        name = file[: -len(".log")]
        if name in names or name.rpartition("_")[0] in names:
            line = telling(_end_of(site.log_dir + "/" + file))
            if line and not any(words in line for words in known if words):
                said.setdefault(line, []).append(name)
    lines = [line for line in said if _TELLS.search(line)] or ([] if known else list(said))
    shown = ["%s (%s)" % (line, listed(said[line])) for line in lines[:_SHOWN]]
    return ". Their logs say: " + " | ".join(shown) if shown else ""


def ends_of_logs(site: Site, names: Sequence[str]) -> List[str]:
    """The ends of the logs of these workers or queues, for the run's log."""
    lines: List[str] = []
    for file in _logs(site.log_dir):
        name = file[: -len(".log")]
        if name in names or name.rpartition("_")[0] in names:
            end = _end_of(site.log_dir + "/" + file).splitlines()[-_KEPT:]
            lines += ["%s: %s" % (file, line) for line in end]
    return lines


def listed(names: Sequence[str]) -> str:
    """Some names and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (" and %d more" % more if more > 0 else "")


def _logs(folder: str) -> List[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if name.endswith(".log"))


def _end_of(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
        return file.read(_LOG_BYTES).decode("utf-8", "replace")
