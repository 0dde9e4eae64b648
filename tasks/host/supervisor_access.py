"""How root reaches supervisord: which files it runs with, and which of its servers lets root in."""

import hashlib
import os
from typing import List, Sequence

from tasks.host.daemon import Daemon
from tasks.host.errors import HostError
from tasks.host.processes import PROC, Process, process
from tasks.host.site import Site
from tasks.host.supervisor import Door, NoAnswerError, Supervisord
from tasks.host.supervisor_files import HASHED, Server, SupervisorFiles

PROGRAMS = ("supervisord", "supervisord.py")  # the latter with `python -m`
# The files that supervisord takes without -c, as far as packages and installers use them.
USUAL_FILES = ("/etc/supervisord.conf", "/etc/supervisor/supervisord.conf")


def control(found: SupervisorFiles, main_pid: int, password: str = "") -> Supervisord:
    """A `Supervisord` that answers root, by whichever of its servers.

    Args:
        password: one that may be the right one where the files have a hash.

    Raises:
        NoAnswerError: none does.
    """
    reasons = []
    doors = _doors(found, password)
    for door in doors:
        daemon = Supervisord(door, main_pid)
        try:
            pid = daemon.pid()
        except HostError as error:
            reasons.append(str(error))
            continue
        if pid == main_pid:
            return daemon
        reasons.append("%r is the supervisord of PID %d" % (door, pid))
    raise NoAnswerError(
        "supervisord (PID %d) cannot be asked for its programs: %s. %s has to have a "
        "[unix_http_server] whose password, if it has one, is not hashed or is in [supervisorctl] "
        "too; if the file was changed since supervisord started, restart supervisord"
        % (main_pid, "; ".join(reasons) or "no server with a known password", found.path)
    )


def _doors(found: SupervisorFiles, password: str) -> List[Door]:
    candidates = [found.get("supervisorctl", "password"), password]
    doors = []
    for server in [*found.servers("unix_http_server"), *found.servers("inet_http_server")]:
        right = known_password(server, candidates)
        if (server.password and not right) or not (server.path or server.port):
            continue
        doors.append(Door(server.path, server.port, server.user, right))
    return doors


def known_password(server: Server, candidates: Sequence[str]) -> str:
    """A server's password: it stands there in clear, or is the one of these that has its hash."""
    if server.clear_password:
        return server.clear_password
    for one in candidates:
        if server.password == HASHED + hashlib.sha1(one.encode("utf-8")).hexdigest():  # noqa: S324
            return one
    return ""


def read_files(site: Site, main_pid: int, proc: str = PROC) -> SupervisorFiles:
    """The files that supervisord runs with; with the PID 0 those it would start with."""
    main = process(proc, main_pid)
    path = conf_of(main) if main else ""
    packaged = "%s/*%s" % (site.include_dir, site.include_suffix)
    return SupervisorFiles(path or site.supervisor_conf, main.environ if main else None, packaged)


def connected_to(daemon: Daemon, site: Site, password: str = "", proc: str = PROC) -> Supervisord:
    """The service's supervisord, for root.

    Raises:
        NoAnswerError: it does not run, or does not let root in.
    """
    pid = daemon.main_pid()
    if not pid:
        raise NoAnswerError("%s does not run: see systemctl status %s" % (site.unit, site.unit))
    return control(read_files(site, pid, proc), pid, password)


def conf_of(one: Process) -> str:
    """The main file of a supervisord, by its command line; empty if it cannot be told."""
    return conf_in(one.argv, one.cwd or "/")


def conf_in(words: Sequence[str], folder: str) -> str:
    """The main file of a supervisord with this command line that was started in this folder."""
    for number, word in enumerate(words):
        path = ""
        if word in ("-c", "--configuration"):
            path = "".join(words[number + 1 : number + 2])
        elif word.startswith("--configuration="):
            path = word.partition("=")[2]
        elif word.startswith("-c") and number:
            path = word[2:]
        if path:
            return os.path.join(folder, path)
    # As supervisor/options.py looks for it: beside the program, in the folder, in /etc.
    home = os.path.dirname(os.path.dirname(program_in(words) or "/usr/bin/supervisord"))
    places = (home + "/etc", home, folder, folder + "/etc")
    candidates = [os.path.normpath(place + "/supervisord.conf") for place in places]
    return next((path for path in (*candidates, *USUAL_FILES) if os.path.exists(path)), "")


def program_in(words: Sequence[str]) -> str:
    """The supervisord that this command line runs; empty: it runs none, or by a relative path."""
    found = [word for word in words[:4] if os.path.basename(word) in PROGRAMS]
    return found[0] if found and found[0].startswith("/") else ""
