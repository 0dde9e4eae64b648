"""The health check that is left on a host if the operator wishes so. Its text is check.py's."""

import os
import stat
from typing import List, Tuple

from tasks.host import files, originals, programs
from tasks.host.errors import HostError, RefusedError
from tasks.host.parts import HealthCheck
from tasks.host.site import Site

PATH = "/usr/local/sbin/misp-workers-check"
_SECONDS = 30.0  # its own limit is ten


def look() -> HealthCheck:
    """What there is of it."""
    return HealthCheck(files.digest(PATH) if files.mode_of(PATH) == "0:0 755" else "")


def install(site: Site, text: str) -> List[str]:
    """Have it there with this text, and try it. The way back removes it.

    Raises:
        RefusedError: there is no record of a migration, or it finds nothing out. Then what was
            there before is there again.
    """
    if not originals.is_begun(site):
        raise RefusedError("this host has no record of a migration: run the deploy first")
    originals.keep(site, PATH)
    known = originals.kept(site, PATH)
    path = files.real_path(PATH)
    before = files.read(path)
    status = os.lstat(path) if before is not None else None
    originals.note_own(site, PATH)
    files.write(PATH, text.encode("utf-8"), 0o755)
    originals.note_own(site, PATH, files.digest(path))
    said, fault = _tried()
    if not fault:
        return ["%s says: %s" % (PATH, said)]
    if before is None or status is None:
        files.remove(path)
        stays = "it is not left behind"
    else:
        files.write(PATH, before, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        stays = "what was there before is there again"
    originals.note_own(site, PATH, known.ours if known else "")
    raise RefusedError("the health check finds nothing out here, so %s: %s" % (stays, fault))


def _tried() -> Tuple[str, str]:
    """What it says, and why it is of no use here; empty: it is."""
    try:
        done = programs.run(PATH, timeout=_SECONDS)
    except HostError as error:  # as where the file system is mounted noexec
        return "", str(error)
    return done.complaint, "" if done.status in (0, 1, 2) else done.complaint


def remove(site: Site) -> List[str]:
    """Have there what was there before the first `install`, unless somebody changed it since.

    It is the last that a way back does, and no reason for that to fail. Returns what stays and why.
    """
    known = originals.kept(site, PATH)
    if known is None:
        return []
    try:
        now = files.digest(files.real_path(PATH))
        # A record from before this was noted does not say how it was left.
        is_known = not known.ours or originals.is_as_we_left_it(site, PATH, now)
        if not is_known and now not in ("", known.digest):
            return [_stays(site, "somebody else changed it since", existed=known.existed)]
        originals.restore(site, PATH)
        files.drop_unfinished(os.path.dirname(PATH))
    except (HostError, OSError) as error:
        return [_stays(site, str(error), existed=known.existed)]
    return []


def _stays(site: Site, why: str, *, existed: bool) -> str:
    words = "the health check %s stays (%s): remove it by hand" % (PATH, why)
    if existed:
        words += ". What was there before it is in %s" % originals.set_apart(site, [PATH])
    return words
