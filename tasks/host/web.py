"""The web tier: PHP processes that may know MISP's settings from before.

The opcache belongs to the master and not to the children that serve, so each unit is reloaded once
for each change: with opcache.validate_timestamps=0 it serves the old config.php for ever, and no
command line clears it.
"""

import os
import signal
from typing import Dict, List, Tuple

from tasks.host import files, programs, waiting, web_user
from tasks.host.errors import HostError
from tasks.host.parts import Web
from tasks.host.processes import Process, Table, now_ticks
from tasks.host.site import Site
from tasks.host.web_user import WebUser

SECONDS = 300.0  # for children with a long request
_BOOT = "/proc/sys/kernel/random/boot_id"


class WebTierError(HostError):
    """The web tier still has settings from before."""


def note_change(site: Site, ticks: int) -> None:
    """Date a change of MISP's settings; 0: it has begun and has no date yet."""
    text = "%s %s\n" % (files.first_line(_BOOT), ticks or "unfinished")
    files.write(site.state_dir + "/settings-changed", text.encode())


def look(site: Site, table: Table) -> Web:
    """The web tier as a part of a look."""
    found = table.web_tier()
    users = sorted({web_user.name_of(one.uid) for one in found})
    changed = files.first_line(site.state_dir + "/settings-changed")
    reloaded = files.first_line(site.state_dir + "/web-reloaded")
    is_this_boot = changed.split(" ")[0] == files.first_line(_BOOT)
    is_stale = bool(found) and bool(changed) and is_this_boot and changed != reloaded
    return Web(users, sorted({one.unit for one in found if one.unit}), is_stale, [])


def reload_web(site: Site) -> List[str]:
    """As `reload`, for who has not identified the web user yet."""
    return reload(site, web_user.web_user(site))


def reload(site: Site, user: WebUser) -> List[str]:
    """Have every PHP process of the web tier go that may know MISP's old settings."""
    boot, ticks = _changed(site)
    if not boot:
        return []
    table = Table()
    reloaded = _reload_units(site, user, table)
    _reload_masters(user, table, reloaded)
    is_this_boot = boot == files.first_line(_BOOT)
    if is_this_boot and not waiting.wait_until(lambda: not _old_children(user, ticks), SECONDS):
        raise WebTierError(
            "after five minutes PHP processes with the old settings still serve in %s: end their "
            "long requests, then run again" % ", ".join(_old_children(user, ticks))
        )
    files.write(
        site.state_dir + "/web-reloaded", files.read(site.state_dir + "/settings-changed") or b""
    )
    return []


def _changed(site: Site) -> Tuple[str, int]:
    boot, _, ticks = files.first_line(site.state_dir + "/settings-changed").partition(" ")
    if ticks == "unfinished":  # a run was cut off between the settings and their date
        note_change(site, now_ticks())
        return _changed(site)
    return boot, int(ticks or 0)


def _reload_units(site: Site, user: WebUser, table: Table) -> List[str]:
    units = sorted({one.unit for one in _of_misps(user, table) if one.unit})
    reloaded = []
    for unit in units:
        # Not one that somebody wrote by hand without ExecReload, and not supervisord's, whose
        # reload restarts all of its programs.
        if unit == site.unit or _says(unit, "CanReload") == "no":
            continue
        done = programs.run("systemctl", "reload", unit, timeout=120.0)
        if done.status != 0:
            raise WebTierError(
                "%s could not be reloaded: %s. See journalctl -u %s" % (unit, done.complaint, unit)
            )
        reloaded.append(unit)
    return reloaded


def _of_misps(user: WebUser, table: Table) -> List[Process]:
    """Root's and the web user's: a look-alike of anybody else has no say in what is reloaded."""
    return [one for one in table.web_tier() if one.uid in (0, user.uid)]


def _says(unit: str, name: str) -> str:
    return programs.run("systemctl", "show", "-p", name, "--value", "--", unit).text.strip()


def _reload_masters(user: WebUser, table: Table, reloaded: List[str]) -> None:
    """Those of no unit, or of one that cannot be reloaded, get the signal of a unit's reload.

    Never a restart: whatever else runs in such a unit would go with it, as old workers that MISP's
    page has started.
    """
    signals = {"php-fpm": signal.SIGUSR2, "apache2": signal.SIGUSR1, "httpd": signal.SIGUSR1}
    for one in _of_misps(user, table):
        parent = table.get(one.parent)
        is_child = parent is not None and parent.name == one.name
        name = "php-fpm" if one.name.startswith("php-fpm") else one.name
        if one.unit not in reloaded and not is_child and one.is_alive and name in signals:
            try:
                os.kill(one.pid, signals[name])
            except ProcessLookupError:
                pass  # it has ended meanwhile


def _old_children(user: WebUser, ticks: int) -> List[str]:
    """Units with PHP processes of the web user's from before the change."""
    found: Dict[str, Process] = {}
    for one in Table().web_tier():
        if one.uid == user.uid and one.started <= ticks:
            found[one.unit or "no unit (PID %d)" % one.pid] = one
    return sorted(found)
