"""Supervisord as a part of a look: which one it is, its files, its programs, who holds its port."""

import os
from typing import List, Optional, Tuple

from tasks.host import peer
from tasks.host.errors import HostError
from tasks.host.parts import Listener, Supervisor, Unit, Worker
from tasks.host.processes import Process, Table
from tasks.host.site import Site
from tasks.host.supervisor import Door, answers_as_misp
from tasks.host.supervisor_access import conf_of, control, known_password, read_files
from tasks.host.supervisor_files import Server, SupervisorFiles


def look(site: Site, unit: Unit, table: Table, password: str = "") -> Supervisor:
    """What there is of supervisord.

    Args:
        unit: its service, as systemd has it.
        password: one that may be right where a foreign [inet_http_server] has a hash.
    """
    main = table.get(unit.main_pid) if unit.active == "active" else None
    main_pid = main.pid if main else 0
    found = read_files(site, main_pid)
    foreign = found.foreign_inet(site.rpc_file)
    answer = _inet_answer(main_pid, foreign, password)
    workers, error = _programs(found, main_pid, password)
    socket = next(found.servers("unix_http_server"), None)
    holders = _listeners(site, foreign, main_pid)
    return Supervisor(
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
        group_elsewhere=found.group_elsewhere(site.group_file),
        group_root=as_misp_root(site, found.group_root(site.group_file)),
        group_extra=found.group_extra(site.group_file),
        error=_which_one(site, main, table) or "; ".join(found.faults) or error,
        workers=workers,
    )


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


def _which_one(site: Site, main: Optional[Process], table: Table) -> str:
    """Why the service's supervisord is not the only one with these files; empty: it is."""
    wanted = os.path.realpath(site.supervisor_conf)
    for one in table:
        if one is main or not _is_supervisord(one) or os.path.realpath(conf_of(one)) != wanted:
            continue
        if one.unit == site.unit or one.is_in_a_container:
            continue  # it starts or stops just now, or is another system's
        return (
            "a supervisord (PID %d, in %s) runs with %s outside of %s: stop it, have nothing start "
            "it any more, and start it with systemctl enable --now %s"
            % (one.pid, one.unit or "no unit", site.supervisor_conf, site.unit, site.unit)
        )
    return ""


def _is_supervisord(one: Process) -> bool:
    if one.uid != 0 or not one.name.startswith(("supervisord", "python", "platform-python")):
        return False
    return any(os.path.basename(word) == "supervisord" for word in one.argv[:3])


def as_misp_root(site: Site, directory: str) -> str:
    """A directory in the inventory's words, if it is this MISP's."""
    if directory and os.path.realpath(directory) == os.path.realpath(site.misp_root):
        return site.misp_root
    return directory
