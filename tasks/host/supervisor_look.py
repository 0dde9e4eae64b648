"""Supervisord as a part of a look: which one runs, its files, its programs, who holds its port."""

import os
import re
from typing import Dict, List, Optional, Tuple

from tasks.host import log_folders, peer
from tasks.host.daemon import Daemon
from tasks.host.errors import HostError
from tasks.host.parts import Listener, Supervisor, Unit, Worker
from tasks.host.processes import Process, Table
from tasks.host.remedies import word
from tasks.host.site import GROUP, Site
from tasks.host.supervisor import Door, answers_as_misp
from tasks.host.supervisor_access import conf_of, control, known_password, read_files
from tasks.host.supervisor_files import Server, SupervisorFiles, misp_of
from tasks.host.supervisor_identity import is_supervisord


def look(site: Site, unit: Unit, table: Table, password: str = "") -> Supervisor:
    """What there is of supervisord.

    Args:
        unit: its service, as systemd has it.
        password: one that may be right where a foreign [inet_http_server] has a hash.
    """
    main = table.get(unit.main_pid) if unit.active == "active" else None
    if main and not is_supervisord(main):
        main = None
    main_pid = main.pid if main else 0
    found = read_files(site, main_pid)
    foreign = found.foreign_inet(site.rpc_file)
    answer = _inet_answer(main_pid, foreign, password)
    workers, error = _programs(found, main_pid, password)
    workers = [one._replace(other_misp=_other_misp(site, found, one, table)) for one in workers]
    socket = next(found.servers("unix_http_server"), None)
    holders = _listeners(site, foreign, main_pid)
    lost, missing = log_folders.missing(site, found)
    if os.path.exists(Daemon(site.unit).drop_in):  # then its start makes them
        lost = []
    return Supervisor(
        identity=site.supervisor,
        conf=found.path if found.exists else "",
        include=found.patterns,
        unit=unit,
        unix_socket=socket.path if socket else "",
        inet_file=foreign.file if foreign else "",
        inet_address=foreign.address if foreign else "",
        inet_user=foreign.user if foreign else "",
        inet_answer=answer,
        is_listening=holders is not None,
        listeners=holders or [],
        group_elsewhere=_group_elsewhere(site, found, workers),
        group_root=as_misp_root(site, found.group_root(site.group_file)),
        group_extra=found.group_extra(site.group_file),
        lost_folders=lost,
        missing_folders=missing,
        other_daemon=_other_daemon(site, unit, main, table),
        error="; ".join(found.faults) or error,
        workers=workers,
    )


def _other_misp(site: Site, found: SupervisorFiles, worker: Worker, table: Table) -> str:
    """The other MISP that a worker is of, by its command line, or by the files while it has none.

    MISP fixes the group's name, so a name does not tell whose it is.
    """
    if worker.group != GROUP:
        return ""
    one = table.get(worker.pid)
    program = re.sub(r"_\d+\Z", "", worker.name.partition(":")[2])
    root = (misp_of(one.argv) if one else "") or found.program_root("program:" + program)
    return root if root and as_misp_root(site, root) != site.misp_root else ""


def _group_elsewhere(site: Site, found: SupervisorFiles, workers: List[Worker]) -> Dict[str, str]:
    """Other places that have MISP's group or its programs, each with the MISP that it is for."""
    files = found.group_elsewhere(site.group_file)
    places = {file: as_misp_root(site, found.group_root(file)) for file in files}
    roots = [found.group_root(site.group_file), *places.values()]
    known = {os.path.realpath(one) for one in roots if one}  # as `cake` itself names its folder
    # What runs may be from a file that was changed or removed since.
    for worker in workers:
        if worker.other_misp and os.path.realpath(worker.other_misp) not in known:
            places["supervisord, by files that it read earlier,"] = worker.other_misp
    return places


def _inet_answer(main_pid: int, foreign: Optional[Server], password: str) -> str:
    if not main_pid or foreign is None:
        return ""
    right = known_password(foreign, [password])
    if not right:
        return "the password there is hashed, and is not the one that is known" if password else ""
    return answers_as_misp(Door("", foreign.port, foreign.user, right), main_pid)


def _programs(found: SupervisorFiles, main_pid: int, password: str) -> Tuple[List[Worker], str]:
    if not main_pid:
        return [], ""
    try:
        return control(found, main_pid, password).status(), ""
    except HostError as error:
        return [], str(error)


def _listeners(site: Site, foreign: Optional[Server], main_pid: int) -> Optional[List[Listener]]:
    """Who listens on the RPC's port; `None`: nobody does."""
    port = foreign.port if foreign else site.rpc_port
    if site.transport != "tcp" or not port or not peer.listening(port):
        return None
    return peer.listeners(port, main_pid)


def _other_daemon(site: Site, unit: Unit, main: Optional[Process], table: Table) -> str:
    """Why the unit's supervisord is not the only one with these files; empty: it is."""
    conf = site.supervisor_conf
    if unit.active == "active" and main is None:
        return (
            "%s is active, but systemd does not know the supervisord that it has started (it says "
            "PID %d), as with an init script: give it a systemd unit whose ExecStart is `%s -n -c "
            "%s`, start that, then run again"
            % (site.unit, unit.main_pid, word(site.supervisor_program or "supervisord"), word(conf))
        )
    for one in table:
        if one is main or not is_supervisord(one) or not _is_same(conf_of(one), conf):
            continue
        if one.unit == site.unit or one.is_in_a_container:
            continue  # it starts or stops just now, or is another system's
        stop = "systemctl disable --now -- %s" % word(one.unit) if one.unit else "kill %d" % one.pid
        return (
            "a supervisord (PID %d, in %s) runs with %s outside of %s: stop it (`%s`), have "
            "nothing start it any more, and %s, then run again"
            % (one.pid, one.unit or "no unit", conf, site.unit, stop, _start(site, unit))
        )
    return ""


def _is_same(path: str, other: str) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _start(site: Site, unit: Unit) -> str:
    if unit.is_there:
        return "start it with `systemctl enable --now %s`" % word(site.unit)
    return "remove it, so that the package is installed, or give it a unit called %s" % site.unit


def as_misp_root(site: Site, directory: str) -> str:
    """This MISP's folder in the inventory's words, if a directory is that or below it."""
    below = os.path.realpath(site.misp_root) + "/"
    if directory and (os.path.realpath(directory) + "/").startswith(below):
        return site.misp_root
    return directory
