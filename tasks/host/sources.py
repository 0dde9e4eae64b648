"""Tries the sources of what a host lacks, before the first change. It changes nothing."""

from typing import Any, Callable, Dict, List

from tasks.host import composer_files, gate, libraries, machine, mounts, originals, packages
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.packages import Manager
from tasks.host.parts import Room, Sources
from tasks.host.programs import LateError
from tasks.host.site import Desired, Site
from tasks.host.trial import Trial

_RESERVE_KB = 64 << 10  # gate.save leaves it to the host
_LIBRARIES_KB, _LIBRARIES_FILES = 50_000, 2_000  # more than Composer's five take
_STATE_FILES = 100


def look(
    site: Site,
    desired: Desired,
    manager: Manager,
    trial: Trial,
    names: List[str],
    may_use_epel: bool,
    composer: List[str],
    http_proxy: str = "",
) -> Sources:
    """Try to have these packages, and the PHP libraries.

    Args:
        names: of packages, as `packages.install` has them; none: none is missing.
        composer: how Composer is called, in app/; empty: the libraries are there, or cannot be
            tried.
    """
    problems: List[str] = []
    late: List[str] = []

    def asked(ask: Callable[..., Dict[str, str]], *arguments: Any) -> Dict[str, str]:
        try:
            return ask(*arguments, http_proxy)
        except LateError as error:
            late.append(str(error))
        except HostError as error:
            problems.append(str(error))
        return {}

    offered, resolved, rooms = {}, {}, []
    if names:
        offered = asked(packages.offered, site, manager, trial, names, may_use_epel)
    if composer:
        resolved = asked(libraries.resolved, site, desired, composer)
        rooms = _rooms(site, desired)
    return Sources(offered, resolved, problems, late, rooms)


def _rooms(site: Site, desired: Desired) -> List[Room]:
    """Vendor is copied before Composer works in it, and put together beside it if that fails."""
    vendor = site.app + "/Vendor"
    try:
        with Misp(site, desired) as one:
            found = gate.ask(one.user, composer_files.size, vendor, timeout=60.0)
        is_kept = originals.is_kept(site, vendor)
    except HostError:
        return []  # whatever keeps it from being read keeps Composer from it as well
    if not isinstance(found, list) or [type(number) for number in found] != [int] * 5:
        return []
    count, packed, used, free_kb, free_inodes = found
    state = machine.state_place(site.state_dir)
    copies = 1 if is_kept else 2  # for the way back, and for a failure of Composer's
    return [
        Room(
            site.state_dir,
            "copies of %s" % vendor,
            mounts.free(state)[0],
            copies * packed + _RESERVE_KB,
            mounts.free(state)[1],
            _STATE_FILES,
        ),
        Room(
            site.app,
            "the new libraries, and Vendor once more if Composer fails",
            free_kb,
            used + _LIBRARIES_KB,
            free_inodes,
            count + _LIBRARIES_FILES,
        ),
    ]
