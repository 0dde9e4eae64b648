"""Are MISP's background workers well? One line for Nagios, and metrics for Prometheus if asked.

    misp-workers-check [--textfile FOLDER]

Ends with 0 (all is well), 1 (warning), 2 (critical) or 3 (unknown), after ten seconds at most.
FOLDER is one that node_exporter reads; the metrics are in misp_workers.prom there.

It runs as root, since supervisord's socket is root's. So it runs nothing of MISP's and reads no
file that MISP may write; how many jobs wait in Redis is not looked at for that reason. It asks
supervisord and systemd, and looks at processes.

Left on the host by the MISP workers migration, at the operator's wish; the rollback removes it.
"""

import configparser
import contextlib
import fcntl
import http.client
import os
import pwd
import re
import signal
import socket
import stat
import struct
import subprocess
import time
import xmlrpc.client
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
SECONDS = 10  # for everything
GROUP = "misp-workers"
FILE = "misp_workers.prom"
PROC = "/proc"
_LIMIT = 1 << 20  # bytes of a file or an answer
_SHOWN = 5  # workers that are named
_WAYS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Host(NamedTuple):
    """What the check looks at on its host."""

    unit: str  # supervisord's
    socket: str  # path of supervisord's own
    group_file: str  # supervisor's include file with the worker group
    web_user: str
    misp_root: str


class CheckError(Exception):
    """Something that has to be known cannot be found out; the text says why."""


class Found:
    """What was found, as far as the check came."""

    def __init__(self) -> None:
        self.faults: List[Tuple[int, str]] = []  # each with its exit code
        self.wanted: Dict[str, int] = {}  # workers by queue
        self.running: Dict[str, int] = {}
        self.busy = self.old_workers = 0  # workers with a job, processes of the old backend
        self.youngest = -1  # seconds since a worker last started; -1: unknown
        self.is_active = self.is_enabled = False  # supervisord

    def add(self, code: int, words: str) -> None:
        """Add a fault."""
        self.faults.append((code, words))

    @property
    def code(self) -> int:
        """The exit code. What is critical counts more than what is unknown."""
        codes = {code for code, _ in self.faults}
        return CRITICAL if CRITICAL in codes else max(codes or {OK})


def main(host: Host, words: List[str]) -> int:
    """Check, print one line, give the exit code. A child does it, which the kernel ends in time."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])  # the caller may block it
        signal.alarm(SECONDS)
        os._exit(_main(host, words))
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    late = Found()
    late.add(UNKNOWN, "it did not end within %d s" % SECONDS)
    return _tell(late)


def _main(host: Host, words: List[str]) -> int:
    found = Found()
    if words and (len(words) != 2 or words[0] != "--textfile" or words[1][:1] != "/"):
        found.add(UNKNOWN, "usage: misp-workers-check [--textfile FOLDER], an absolute path")
        return _tell(found)
    _try(found, lambda: look(host, found))
    if words:
        _try(found, lambda: write_textfile(words[1], metrics(found)))
    return _tell(found)


def _try(found: Found, step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # there has to be a line, whatever happens
        found.add(UNKNOWN, str(error) if isinstance(error, CheckError) else repr(error))


def _tell(found: Found) -> int:
    os.write(1, (line(found) + "\n").encode())
    return found.code


def look(host: Host, found: Found) -> None:
    """Look at the workers. Raises CheckError where something cannot be found out."""
    if os.geteuid() != 0:
        raise CheckError("only root may ask supervisord: run it by sudo")
    main_pid = _look_at_unit(host.unit, found)
    parents = _look_at_processes(host, found)
    wanted = wanted_workers(host.group_file)
    found.wanted = _by_queue(wanted)
    if not found.is_active:
        return
    workers = _workers(host.socket, main_pid)
    alive = [one for one in workers if one["statename"] == "RUNNING"]
    found.running = _by_queue(one["name"] for one in alive if one["name"] in wanted)
    found.busy = sum(one["pid"] in parents for one in alive)
    found.youngest = min([max(0, one["now"] - one["start"]) for one in alive] or [-1])
    _judge(found, wanted, {one["name"]: one["statename"] for one in workers})


def _judge(found: Found, wanted: List[str], states: Dict[str, str]) -> None:
    bad = {name: states.get(name, "missing") for name in wanted}
    bad = {name: state for name, state in bad.items() if state != "RUNNING"}
    starting = [name for name in bad if bad[name] == "STARTING"]  # as once a day, on purpose
    ended = ["%s %s" % (name, bad[name]) for name in bad if name not in starting]
    extra = sorted(set(states) - set(wanted))
    for code, names, words in (
        (CRITICAL, ended, "do not run"),
        (WARNING, starting, "start just now"),
        (WARNING, extra, "are not wanted"),
    ):
        if names:
            shown = names[:_SHOWN] + ["..."] * (len(names) > _SHOWN)
            found.add(code, "%d worker(s) %s (%s)" % (len(names), words, ", ".join(shown)))


def _by_queue(names: Iterable[str]) -> Dict[str, int]:
    queues = [name.rpartition("_")[0] for name in names]
    return {queue: queues.count(queue) for queue in queues}


def wanted_workers(path: str) -> List[str]:
    """Names of the workers in the group's file, as "default_00". Raises CheckError without one."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | _WAYS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid or status.st_mode & 0o022:
                raise CheckError("%s is no file that root alone may change" % path)
            parser.read_string(file.read(_LIMIT).decode("utf-8", "replace"))
        programs = parser["group:" + GROUP]["programs"].replace(" ", "").split(",")
        counts = {one: parser.getint("program:" + one, "numprocs", fallback=1) for one in programs}
    except (OSError, configparser.Error, KeyError, ValueError) as error:
        raise CheckError("%s has no worker group: %s" % (path, error)) from None
    return ["%s_%02d" % (one, number) for one in counts for number in range(min(counts[one], 999))]


def _look_at_unit(name: str, found: Found) -> int:
    """Look at supervisord's unit; return its main PID."""
    try:
        text = subprocess.check_output(
            ["systemctl", "show", "--property=ActiveState,UnitFileState,MainPID", name],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS / 2,
        ).decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError) as error:
        raise CheckError("systemd does not tell of %s: %s" % (name, error)) from None
    said = dict(re.findall("(?m)^([A-Za-z]+)=(.*)$", text))
    found.is_active = said.get("ActiveState") == "active"
    found.is_enabled = said.get("UnitFileState") in ("enabled", "enabled-runtime", "linked")
    if not found.is_active:
        found.add(CRITICAL, "supervisord does not run, so no worker is kept running")
    if not found.is_enabled:
        found.add(WARNING, "supervisord does not start at boot")
    return int(said.get("MainPID") or 0)


def _workers(path: str, main_pid: int) -> List[Dict[str, Any]]:
    """MISP's workers, as supervisord has them."""
    methods = ("supervisor.getPID", "supervisor.getAllProcessInfo")
    calls = [{"methodName": method, "params": []} for method in methods]
    try:
        body = _post(path, xmlrpc.client.dumps((calls,), "system.multicall").encode())
        answer: Any = xmlrpc.client.loads(body)[0][0]
        if answer[0] == main_pid:
            return [one for one in answer[1] if one["group"] == GROUP]
        words = "the supervisord that answers has the PID %s, not %d" % (answer[0], main_pid)
    except Exception as error:  # whatever an answer may be
        words = str(error) if isinstance(error, CheckError) else repr(error)
    raise CheckError("supervisord cannot be asked at %s: %s" % (path, words))


def _post(path: str, body: bytes) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("localhost")) as client:
        client.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.sock.settimeout(SECONDS / 2)
        client.sock.connect(path)
        data = client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", data)[1] != 0:
            raise CheckError("somebody else than root listens there")
        headers = {"Content-Type": "text/xml", "Connection": "close"}
        with contextlib.suppress(BrokenPipeError):  # it may refuse before it has read all
            client.request("POST", "/RPC2", body, headers)
        reply = client.getresponse()
        if reply.status != 200:
            raise CheckError("it answers with HTTP status %d" % reply.status)
        return reply.read(_LIMIT)


def _look_at_processes(host: Host, found: Found) -> List[int]:
    """Count the old workers: `php ./bin/resque` in MISP's folder. Return all parents' PIDs."""
    try:
        users = {0, pwd.getpwnam(host.web_user).pw_uid}
    except KeyError:
        raise CheckError("there is no user %s" % host.web_user) from None
    below = tuple(root + "/" for root in (host.misp_root, os.path.realpath(host.misp_root)))
    own = PROC + "/self/ns/pid"
    parents = []
    for pid in filter(str.isdigit, os.listdir(PROC)):
        at = "%s/%s" % (PROC, pid)
        try:
            parents.append(int(_start(at + "/stat").rpartition(b")")[2].split()[1]))
            argv = _start(at + "/cmdline").split(b"\0")
            if b"php" in argv[0] and any(b"bin/resque" in word for word in argv):
                is_misps = (os.readlink(at + "/cwd") + "/").startswith(below)
                is_in_a_container = not os.path.samefile(at + "/ns/pid", own)
                is_its_users = os.stat(at).st_uid in users
                found.old_workers += is_misps and is_its_users and not is_in_a_container
        except (OSError, IndexError):
            continue  # it has ended
    if found.old_workers:
        found.add(WARNING, "%d process(es) of the old backend run" % found.old_workers)
    return parents


def _start(path: str) -> bytes:
    with open(path, "rb", 0) as file:
        return file.read(65536) or b""


def line(found: Found) -> str:
    """The line for Nagios: what is wrong, or that nothing is, and the numbers."""
    running, wanted = sum(found.running.values()), sum(found.wanted.values())
    faults = sorted(found.faults, key=lambda fault: (CRITICAL, UNKNOWN, WARNING).index(fault[0]))
    said = "; ".join(words for _, words in faults) or "%d of %d workers run" % (running, wanted)
    clean = re.sub("[^ -{}~]+", " ", said)[:1000]  # no second line, and no |: there numbers begin
    numbers = ["running=%d;;;0;%d busy=%d;;;0;%d" % (running, wanted, found.busy, wanted)]
    numbers += ["old_workers=%d" % found.old_workers]
    numbers += ["youngest=%ds" % found.youngest] * (found.youngest >= 0)
    return "MISP WORKERS %s: %s | %s" % (WORDS[found.code], clean, " ".join(numbers))


def metrics(found: Found) -> str:
    """The same for Prometheus. Counts of workers have the queue as a label."""
    queues = [(name, 'queue="%s"' % name) for name in sorted(found.wanted)]
    rows = [("wanted", label, found.wanted[name]) for name, label in queues]
    rows += [("running", label, found.running.get(name, 0)) for name, label in queues]
    rows += [
        ("busy", "", found.busy),
        ("old_processes", "", found.old_workers),
        ("youngest_seconds", "", found.youngest),
        ("supervisord_active", "", int(found.is_active)),
        ("supervisord_enabled", "", int(found.is_enabled)),
        ("check_status", "", found.code),
        ("check_time_seconds", "", int(time.time())),
    ]
    names = dict.fromkeys("misp_workers_" + name for name, _, _ in rows)
    lines = {name: "# TYPE %s gauge\n" % name for name in names}
    for name, label, value in rows:
        full = "misp_workers_" + name
        lines[full] += "%s%s %d\n" % (full, "{%s}" % label if label else "", value)
    return "".join(lines.values())


def write_textfile(folder: str, text: str) -> None:
    """Write the metrics, whole or not at all. Raises CheckError where that cannot be done.

    Whoever owns the folder, or one above it, could make a link of each name in it. So root writes
    there with that user's rights: by effective IDs, since by real ones he could stop the process.
    """
    try:
        _write(_opened(folder), text.encode())
    except (OSError, CheckError):
        raise CheckError(
            "%s/%s could not be written: no part of the path may be a link, and a folder that "
            "several may write to will not do" % (folder, FILE)
        ) from None
    finally:
        os.seteuid(os.getuid())
        os.setegid(os.getgid())


def _opened(path: str) -> int:
    """The folder. From the first one on that is another user's, it goes on as that user."""
    number = os.open("/", os.O_DIRECTORY | _WAYS)
    for part in [*path.split("/"), "."]:
        owner = os.fstat(number)
        if os.geteuid() == 0 and owner.st_uid:
            group = 65534  # nogroup, for a number without an account
            with contextlib.suppress(KeyError):
                group = pwd.getpwuid(owner.st_uid).pw_gid
            os.setgroups([])
            os.setegid(group)
            os.seteuid(owner.st_uid)
        elif os.geteuid() == 0 and owner.st_mode & 0o022 and not owner.st_mode & stat.S_ISVTX:
            raise CheckError("several may write to it")
        number = os.open(part or ".", os.O_DIRECTORY | _WAYS, dir_fd=number)
    return number


def _write(folder: int, data: bytes) -> None:
    new = "." + FILE
    fcntl.flock(folder, fcntl.LOCK_EX)  # two runs would write the same file
    for name in os.listdir(folder):
        if name.startswith(new):  # one that was cut off has left it
            os.unlink(name, dir_fd=folder)
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _WAYS, 0o600, dir_fd=folder)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
        os.rename(new, FILE, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:  # as on a full disk
        os.unlink(new, dir_fd=folder)
        raise
    finally:
        os.close(folder)
