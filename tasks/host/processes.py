"""The host's processes: one reading of /proc, as typed values.

A process is its PID together with its start time: a PID alone may be another process a moment
later. Processes count for a MISP by their user and by MISP's folder in their working directory or
arguments, never by a variable that any process may set or inherit. Anything in here may have been
written by any local user, so sizes are bounded and no byte is an error.
"""

import os
import re
import time
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set

from tasks.host.gate import signal_as
from tasks.host.remedies import quoted
from tasks.host.web_user import WebUser

PROC = "/proc"
_ODD = re.compile(r"[^\w.:@\\-]", re.ASCII)  # what no unit of systemd's has in its name
_LIMIT = 1 << 18  # bytes of arguments, of environment
_MAPS = 1 << 22  # bytes of a web server's memory map
_CLOCK_BOOTTIME = 7  # time.CLOCK_BOOTTIME since Python 3.7
_DELETED = " (deleted)"
_TCP_TABLES = ("tcp", "tcp6")


def now_ticks() -> int:
    """The time in the unit of a process's start, in hundredths of a second as a rule.

    Both come from the kernel's clock since boot. /proc/uptime does not: containers fake it.
    """
    return int(time.clock_gettime(_CLOCK_BOOTTIME) * ticks_per_second())


def ticks_per_second() -> int:
    """How many of a process's ticks make a second."""
    return os.sysconf("SC_CLK_TCK")


class Process:
    """One process. Whatever takes a system call more is read when it is asked for, once."""

    def __init__(self, proc: str, pid: int, uid: int, stat: bytes) -> None:
        """Take a process from the text of its /proc/PID/stat.

        Raises:
            ValueError: the text is no such thing.
        """
        head, _, tail = stat.rpartition(b")")
        fields = tail.split()
        self.proc = proc
        self.pid = pid
        self.uid = uid  # effective: of /proc/PID itself, not of the files in it
        self.name = quoted(_text(head.partition(b"(")[2]))  # at most 15 bytes, its own choice
        self.state = _text(fields[0]) if fields else ""
        if len(fields) < 20:
            raise ValueError("stat of %d" % pid)
        self.parent = int(fields[1])
        self.started = int(fields[19])  # ticks after the boot
        self._known: Dict[str, bytes] = {}

    def __repr__(self) -> str:
        return "Process(%d, %s)" % (self.pid, self.name)

    @property
    def is_alive(self) -> bool:
        """Whether the PID still is this process, and not its remains."""
        again = process(self.proc, self.pid)
        return again is not None and again.started == self.started and again.state != "Z"

    @property
    def seconds(self) -> int:
        """How long it has lived."""
        return max(0, now_ticks() - self.started) // ticks_per_second()

    @property
    def argv(self) -> List[str]:
        """Its arguments; empty for the kernel's own, and for who has ended."""
        data = self._read("cmdline", _LIMIT)
        return [_text(word) for word in data.rstrip(b"\0").split(b"\0")] if data else []

    @property
    def is_wholly_roots(self) -> bool:
        """Whether all its user IDs are root's: somebody else may have started a setuid program."""
        for line in self._read("status", _LIMIT).splitlines():
            if line.startswith(b"Uid:"):
                return line.split()[1:] == [b"0"] * 4
        return False

    @property
    def environ(self) -> Dict[str, str]:
        """The environment it was started with, as far as that is not huge."""
        pairs = (one.partition(b"=") for one in self._read("environ", _LIMIT).split(b"\0"))
        return {_text(name): _text(value) for name, equals, value in pairs if equals}

    @property
    def cwd(self) -> str:
        """Its working directory, empty where root may not look; see `is_hidden`."""
        path = _text(self._once("cwd", lambda path: os.readlink(path.encode())))
        return path[: -len(_DELETED)] if path.endswith(_DELETED) else path

    @property
    def is_hidden(self) -> bool:
        """Whether root may not look at it, as in a container without SYS_PTRACE."""
        return not self.cwd and self.is_alive

    @property
    def unit(self) -> str:
        """The innermost system unit that it belongs to, empty for a user's own units."""
        for names in self.groups:
            units = [name for name in names if name.endswith(".service")]
            if units:
                return "" if "user.slice" in names else _ODD.sub("?", units[-1])
        return ""

    @property
    def groups(self) -> List[List[str]]:
        """Its control groups, each from the outermost to the innermost, systemd's own first."""
        lines = _text(self._read("cgroup", _LIMIT)).splitlines()
        paths = [line.split(":", 2)[-1] for line in sorted(lines, key=_is_systemds, reverse=True)]
        return [path.split("/") for path in paths]

    @property
    def is_in_a_container(self) -> bool:
        """Whether it has another PID namespace: a container may have a MISP at the same path.

        Where root may not look at the namespace it counts as this system's.
        """
        theirs = self._once("ns/pid", _identity)
        return bool(theirs) and theirs != _identity(self.proc + "/self/ns/pid")

    def is_below(self, roots: Sequence[str]) -> bool:
        """Whether its working directory or an argument is in one of these folders."""
        return any(
            (path + "/").startswith(root + "/")
            for root in roots
            for path in [self.cwd, *self.argv]
            if path
        )

    def maps(self, name: bytes) -> bool:
        """Whether it has a library in its memory whose path holds this text."""
        return name in self._read("maps", _MAPS)

    def sockets(self) -> Set[int]:
        """Inodes of its sockets, now."""
        folder = "%s/%d/fd" % (self.proc, self.pid)
        found = set()
        for number in _names(folder):
            try:
                target = os.readlink(folder + "/" + number)
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1].isdigit():
                found.add(int(target[8:-1]))
        return found

    def _read(self, name: str, limit: int) -> bytes:
        return self._once(name, lambda path: start_of(path, limit))

    def _once(self, name: str, read: Callable[[str], bytes]) -> bytes:
        if name not in self._known:
            try:
                data = read("%s/%d/%s" % (self.proc, self.pid, name))
            except OSError:
                data = b""
            # Read between two looks at its start time, so it is this process's.
            again = process(self.proc, self.pid)
            self._known[name] = data if again and again.started == self.started else b""
        return self._known[name]


class Table:
    """All processes at one moment, by PID."""

    def __init__(self, proc: str = PROC) -> None:
        self.proc = proc
        pids = sorted(int(name) for name in _names(proc) if name.isdigit())
        found = [process(proc, pid) for pid in pids]
        self.by_pid = {one.pid: one for one in found if one is not None}
        self._children: Dict[int, List[Process]] = {}
        for one in self.by_pid.values():
            self._children.setdefault(one.parent, []).append(one)

    def __iter__(self) -> Iterator[Process]:
        return iter(self.by_pid.values())

    def get(self, pid: int) -> Optional[Process]:
        """The process with a PID, `None` if there is none."""
        return self.by_pid.get(pid)

    def children(self, pid: int) -> List[Process]:
        """Who was started by it and still is, or waits to be taken note of."""
        return self._children.get(pid, [])

    def of_users(self, *uids: int) -> List[Process]:
        """The processes of these users on this system, not those in containers."""
        return [one for one in self if one.uid in uids and not one.is_in_a_container]

    def web_tier(self) -> List[Process]:
        """PHP-FPM's processes, and the web server's if PHP is a module in it."""
        return [one for one in self if _runs_php(one) and not one.is_in_a_container]


class Workers:
    """MISP's workers while they are paused and ended: what `idle` asks and has done.

    Only processes that it was given are signalled, while they are the same ones, and with the web
    user's rights: nobody else's process can be hit.
    """

    def __init__(self, user: WebUser, processes: Iterable[Process], proc: str = PROC) -> None:
        self.user = user
        self.proc = proc
        self._mine = {one.pid: one for one in processes}

    def exists(self, pid: int) -> bool:
        """Whether it still lives."""
        one = self._mine.get(pid)
        return one is not None and one.is_alive

    def send(self, pids: Iterable[int], number: int) -> List[int]:
        """Send a signal; return the PIDs that took it."""
        own = [pid for pid in pids if self.exists(pid)]
        return signal_as(self.user, own, number) if own else []

    def is_stopped(self, pid: int) -> bool:
        """Whether it is frozen by now."""
        now = process(self.proc, pid)
        return self.exists(pid) and now is not None and now.state == "T"

    def with_child(self, pids: Iterable[int]) -> Set[int]:
        """Those that run a job: each is a child (BackgroundJob.php)."""
        return {one.parent for one in Table(self.proc)} & set(pids)

    def takes_jobs(self, pid: int) -> bool:
        """Whether it asks Redis for jobs; MISP's own scheduler is in the group and does not."""
        one = self._mine.get(pid)
        return one is not None and "start_worker" in one.argv

    def local_ports(self, pid: int) -> Set[int]:
        """Local ports of its TCP connections, now."""
        one = self._mine.get(pid)
        sockets = one.sockets() if one is not None and one.is_alive else set()
        return {row.port for row in tcp_rows(self.proc) if row.inode in sockets}


def process(proc: str, pid: int) -> Optional[Process]:
    """The process that has a PID now."""
    folder = "%s/%d" % (proc, pid)
    try:
        return Process(proc, pid, os.stat(folder).st_uid, start_of(folder + "/stat", 4096))
    except (OSError, ValueError):
        return None


def start_of(path: str, limit: int) -> bytes:
    """The beginning of a file of the kernel's."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while limit > 0:
            chunk = os.read(number, min(limit, 1 << 16))
            if not chunk:
                break
            chunks.append(chunk)
            limit -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(number)


class TcpRow:
    """One line of /proc/net/tcp or tcp6."""

    def __init__(self, fields: List[bytes]) -> None:
        address, _, port = fields[1].partition(b":")
        self.address = address.decode("ascii")  # hex, each 4 bytes in the machine's order
        self.port = int(port, 16)
        self.peer_port = int(fields[2].rpartition(b":")[2], 16)
        self.is_listening = fields[3] == b"0A"
        self.inode = int(fields[9])


def tcp_rows(proc: str = PROC) -> Iterator[TcpRow]:
    """The TCP sockets of this system's network namespace."""
    for table in _TCP_TABLES:
        try:
            data = start_of("%s/net/%s" % (proc, table), 1 << 26)
        except OSError:
            continue
        for line in data.splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9:
                yield TcpRow(fields)


def _identity(path: str) -> bytes:
    try:
        found = os.stat(path)
    except OSError:
        return b""
    return b"%d:%d" % (found.st_dev, found.st_ino)


def _runs_php(one: Process) -> bool:
    is_server = one.name in ("apache2", "httpd")
    return one.name.startswith("php-fpm") or (is_server and one.maps(b"libphp"))


def _is_systemds(line: str) -> bool:
    return line.startswith("0::") or ":name=systemd:" in line


def _names(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
