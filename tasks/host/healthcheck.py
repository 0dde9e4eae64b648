"""The health check that is left on a host if the operator wishes so. Its text is check.py's."""

import os
from typing import List

from tasks.host import files, originals, programs
from tasks.host.errors import RefusedError
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
        RefusedError: there is no record of a migration, or it finds nothing out, and is removed.
    """
    if not originals.is_begun(site):
        raise RefusedError("this host has no record of a migration: run the deploy first")
    originals.keep(site, PATH)
    files.write(PATH, text.encode("utf-8"), 0o755)
    done = programs.run(PATH, timeout=_SECONDS)
    if done.status not in (0, 1, 2):
        remove(site)
        raise RefusedError(
            "the health check finds nothing out here, so it is not left behind: %s" % done.complaint
        )
    return ["%s says: %s" % (PATH, done.complaint)]


def remove(site: Site) -> None:
    """Have there what was there before the first `install`."""
    if originals.is_kept(site, PATH):
        originals.restore(site, PATH)
        files.drop_unfinished(os.path.dirname(PATH))
