"""Which supervisord is the host's: its unit, its program, its main file and our place in that.

It is the one of a unit with a usual name, or else one that a unit of another name runs with a usual
file: packages, pip and installers leave no others. An application may have a supervisord of its
own, which is none of ours. A daemon that runs says itself what it has read; before it is started
its unit says what it will read.
"""

import os
import re
from typing import Callable, List, Mapping, Optional, Tuple

from tasks.host import systemd
from tasks.host.processes import Process, Table
from tasks.host.site import GROUP, Site, SupervisorIdentity
from tasks.host.supervisor_access import PROGRAMS, USUAL_FILES, conf_in, program_in
from tasks.host.supervisor_files import SupervisorFiles, is_included
from tasks.host.systemd import Service

UNITS = ("supervisor.service", "supervisord.service")
_NAMES = ("supervisord", "python", "platform-python")  # of its process
_NOT_LITERAL = re.compile(r"[*?\[%]")


def identify(site: Site, table: Callable[[], Table]) -> SupervisorIdentity:
    """The host's supervisord; what cannot be told is as the site has it, by the platform.

    Args:
        table: gives all processes; it is called only where the usual unit does not run.
    """
    services = systemd.services(list(dict.fromkeys([site.unit, *UNITS])))
    if not services[0].is_active:
        services += _unusual(site, table(), [one.name for one in services])
    service = _chosen(services)
    main = table().get(service.main_pid) if service.is_active else None
    words, folder = (main.argv, main.cwd) if main and is_supervisord(main) else (service.words, "")
    program = program_in(words)
    conf = conf_in(words, folder or "/") if program else ""
    if not conf or "$" in conf or "%" in conf:  # systemd has not replaced it yet
        conf = site.supervisor_conf
    place = _place(site, conf, main.environ if main else None)
    return SupervisorIdentity(service.name[: -len(".service")], program, conf, *place)


def is_supervisord(one: Process) -> bool:
    """Whether a process is a supervisord of root's.

    Anybody may give such a name, and such arguments, to a setuid program that he starts.
    """
    if one.uid != 0 or not one.name.startswith(_NAMES) or not one.is_wholly_roots:
        return False
    return any(os.path.basename(word) in PROGRAMS for word in one.argv[:4])


def _unusual(site: Site, table: Table, known: List[str]) -> List[Service]:
    """Lasting services of other names that run a supervisord with a usual file."""
    usual = (site.supervisor_conf, *USUAL_FILES)
    daemons = {
        one.pid: one.unit
        for one in table
        if is_supervisord(one) and one.unit and conf_in(one.argv, one.cwd or "/") in usual
    }
    names = sorted({unit for unit in daemons.values() if unit not in known})
    found = systemd.services([name for name in names if systemd.is_name(name)])
    return [one for one in found if one.is_lasting and one.main_pid in daemons]


def _chosen(services: List[Service]) -> Service:
    running = [one for one in services if one.is_active]
    startable = [one for one in services if program_in(one.words)]
    return [*running, *startable, *services][0]


def _place(site: Site, conf: str, environ: Optional[Mapping[str, str]]) -> Tuple[str, str]:
    """Folder and suffix that our files get: the platform's, or else the first that is included."""
    found = SupervisorFiles(conf, environ)
    if not found.exists or is_included(site.group_file, found.patterns):
        return site.include_dir, site.include_suffix
    places = []
    for pattern in found.patterns:
        folder, _, name = os.path.normpath(pattern).rpartition("/")
        if name.startswith("*.") and not _NOT_LITERAL.search(folder + name[1:]):
            places.append((folder, name[1:]))
    taken = [(folder, suffix) for folder, suffix in places if _has_group(folder, suffix)]
    return [*taken, *places, (site.include_dir, site.include_suffix)][0]


def _has_group(folder: str, suffix: str) -> bool:
    return os.path.exists("%s/%s%s" % (folder, GROUP, suffix))
