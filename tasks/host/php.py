"""The PHP that jobs run by, and one of MISP's jobs as a worker would start it."""

import contextlib
import glob
import os
import re
from typing import Any, List, Optional

from tasks.host import complaints, files, gate, programs, tree
from tasks.host.bridge import listed
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.parts import Job, Php
from tasks.host.proof_jobs import READY
from tasks.host.versions import version_of

# Where packages put a php that no PATH has.
_ELSEWHERE = (
    "/opt/remi/php*/root/usr/bin/php",
    "/opt/rh/*php*/root/usr/bin/php",
    "/opt/php*/bin/php",
    "/usr/local/php*/bin/php",
    "/usr/local/sbin/php",
    "/usr/sbin/php",
    "/usr/local/bin/php[0-9]*",
    "/usr/bin/php[0-9]*",
)
_JOB = ("admin", "redisReady")  # harmless, and in every version of MISP


def path() -> str:
    """The php that a job finds: it has no PATH, so bash's own default decides."""
    return programs.find("php", gate.PATH)


def look(one: Optional[Misp]) -> Php:
    """The PHP that jobs run by, as it tells of itself."""
    here, error = path(), ""
    found: Any = {}
    try:
        found = one.bridge.once("php") if one and here else {}
    except HostError as problem:
        error = str(problem)
    found = found if isinstance(found, dict) else {}
    text = str(found.get("version", ""))
    extensions = found.get("extensions")
    disabled = listed(found.get("disabled"))
    return Php(
        here,
        version_of(text),
        text[:40],
        [str(name)[:60] for name in extensions][:300] if isinstance(extensions, list) else [],
        disabled,
        _says_so(one, listed(found.get("files"))) if one and disabled else "",
        str(found.get("basedir", ""))[:500],
        found.get("proc") is True,
        _elsewhere(here),
        error,
    )


def _elsewhere(here: str) -> str:
    """Another php than `here`, the newest of the first folder that has one.

    Only root may be able to change it: the operator is told to link it into everybody's PATH.
    """
    real = os.path.realpath(here) if here else ""
    for pattern in _ELSEWHERE:
        for at in sorted(glob.glob(pattern), reverse=True):
            with contextlib.suppress(HostError):
                if files.program(at) != real and os.access(at, os.X_OK):
                    return at
    return ""


def _says_so(one: Misp, files: List[str]) -> str:
    """Which of PHP's files forbids functions; the last one counts."""
    try:
        found = gate.ask(one.user, _those_with, files[:200], "disable_functions")
    except HostError:
        return ""
    names = found if isinstance(found, list) else []
    return str(names[-1])[:300] if names else ""


def _those_with(paths: List[str], word: str) -> List[str]:
    """Runs as the web user. Those of some files of settings in which a line begins with a word."""
    begins = re.compile(r"\s*%s\s*=\s*\S" % re.escape(word))
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            lines = (tree.read(path, 1 << 20) or b"").decode("utf-8", "replace").splitlines()
            if any(map(begins.match, lines)):
                found.append(path)
    return found


def start_job(one: Misp) -> Any:
    """Start one of MISP's jobs with an environment as empty as a worker gives it; a `Popen`.

    Raises:
        ProgramError: it cannot be started.
    """
    cake = one.site.app + "/Console/cake"
    return gate.start(one.user, ["/usr/bin/env", "-i", cake, *_JOB], one.site.misp_root)


def job(process: Any, seconds: float) -> Job:
    """How a job that was started has ended, within these seconds."""
    try:
        done = programs.finish(process, b"", seconds, 1 << 20, "cake")
    except HostError as error:
        return Job(str(error))
    if done.status == 0 and READY in done.text:
        return Job("")
    said = complaints.telling(done.text + "\n" + done.err.decode("utf-8", "replace"))
    return Job("%s (exit status %d)" % (said or "no word", done.status))
