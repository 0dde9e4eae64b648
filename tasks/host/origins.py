"""Where old workers run, which says who started them: a unit, a login session, a user's systemd."""

import os
import pwd
import re
from typing import Dict, List, Optional, Set, Tuple

from tasks.host import files
from tasks.host.files import FileError
from tasks.host.parts import Origin
from tasks.host.processes import Process, Table
from tasks.host.supervisor_access import PROGRAMS, conf_of
from tasks.host.supervisor_identity import is_supervisord

_SESSIONS = "/run/systemd/sessions/"  # of logind's, a file for each session
_SESSION = re.compile(r"session-(\w+)\.scope\Z")
_MANAGER = re.compile(r"user@(\d+)\.service\Z")
_ODD = re.compile(r"[^\w.:@\\-]")
_PLAIN = re.compile(r"/[A-Za-z0-9_./@+-]{1,200}\Z")  # a path that a shell takes as it is
_DEPTH = 50


def of(workers: List[Process], table: Table) -> List[Origin]:
    """The origins of these workers, each once."""
    known = {one.pid for one in workers}
    return sorted({_origin(one, known, table) for one in workers})


def _origin(worker: Process, known: Set[int], table: Table) -> Origin:
    unit, user, service = _place(worker)
    above = _above(worker, known, table)
    supervisord = _supervisord_of(above)
    if supervisord is None and unit and not user:
        supervisord = _supervisord_of([one for one in table if one.unit == unit])
    return Origin(
        unit,
        user,
        service,
        _ODD.sub("?", above[0].name) if above and above[0].name != "systemd" else "",
        _described(supervisord) if supervisord else "",
        _name(str(supervisord.uid)) if supervisord and supervisord.uid else "",
    )


def _place(worker: Process) -> Tuple[str, str, str]:
    """Unit, user and what opened the session, by its control group."""
    for names in worker.groups:
        units = [name for name in names if name.endswith((".service", ".scope"))]
        if not units:
            continue
        session, manager = _SESSION.match(units[-1]), _MANAGER.match(units[0])
        if session:
            found = _session(session.group(1))
            return units[-1], _name(found.get("UID", "")), _ODD.sub("?", found.get("SERVICE", ""))
        unit = _ODD.sub("?", units[-1])
        return unit, _name(manager.group(1)) if manager and len(units) > 1 else "", ""
    return "", "", ""


def _session(number: str) -> Dict[str, str]:
    try:
        data = files.read(_SESSIONS + number, 1 << 16) or b""
    except FileError:
        return {}
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").splitlines())
    return {key: value for key, _, value in pairs}


def _name(uid: str) -> str:
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError, OverflowError):
        return uid or "?"


def _above(worker: Process, known: Set[int], table: Table) -> List[Process]:
    """The processes above a worker, the nearest first, without workers, their shells and PID 1."""
    found: List[Process] = []
    one = table.get(worker.parent)
    while one is not None and one.pid > 1 and len(found) < _DEPTH:
        if one.pid not in known and not any("bin/resque" in word for word in one.argv):
            found.append(one)
        one = table.get(one.parent)
    return found


def _supervisord_of(some: List[Process]) -> Optional[Process]:
    """The first that is a supervisord, root's before anybody's who calls his process so."""
    others = (one for one in some if one.uid != 0 and _is_called_so(one))
    return next(filter(is_supervisord, some), None) or next(others, None)


def _is_called_so(one: Process) -> bool:
    return any(os.path.basename(word) in PROGRAMS for word in one.argv[:4])


def _described(one: Process) -> str:
    """Its PID; of root's also the main file, which root is to run `supervisorctl` with."""
    path = conf_of(one) if one.uid == 0 else ""
    return "PID %d, with %s" % (one.pid, path) if _PLAIN.match(path) else "PID %d" % one.pid
