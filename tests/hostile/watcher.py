"""What root does below a folder of a host during a login, seen from outside the host.

`strace -f` is attached, on this machine, to the sshd of the host's container: a container's
processes are this kernel's, and root here may trace them over the boundary of namespaces (asked
for: the container's engine runs on this machine, and root with CAP_SYS_PTRACE here; a tracer with
that capability does not keep sudo from being setuid). So everything that a login starts is seen
(sshd's session, sudo, the shell or Python behind it, and what these start), and nothing else is:
supervisord, the workers and the web tier are started by systemd. (`strace --seccomp-bpf` would be
quicker, but sets no_new_privs, under which sudo does not work, and cannot be attached.)

strace says which process asked for what. Who that process acts as, and where it works, is kept here
from what it did before: set*id calls, programs that are setuid, forks, chdir. An attempt counts
like a success. Names are resolved with the directory that a call names or works in, `..` included;
of links in the middle of a name only that of a file that was opened is known, since the kernel
tells it. So a write through a link *into* the folder that is no `open` would not be seen; the tests
in test_tree.py are for links.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError
from lab.hosts import LabHost
from lab.waiting import wait_for

_IDENTITIES = ("setuid", "setreuid", "setresuid", "setfsuid")
_FORKS = ("clone", "clone3", "fork", "vfork")
_OPENS = ("open", "openat", "openat2", "creat")
_MOVES = ("chdir", "fchdir")
# Of these any use counts; of an `open` one to write.
_CHANGES = (
    *("mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "link", "linkat"),
    *("unlink", "unlinkat", "rmdir", "symlink", "symlinkat", "truncate", "ftruncate"),
    *("chown", "lchown", "fchown", "fchownat", "chmod", "fchmod", "fchmodat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    *("mount", "umount2", "move_mount", "pivot_root", "chroot", "utimensat"),
)
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE|O_APPEND")
_TRACED = ",".join((*_IDENTITIES, *_FORKS, *_OPENS, *_MOVES, *_CHANGES, "execve", "execveat"))
_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\w+)(?P<more>.*)", re.S)
_TOKEN = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<at>(?:\\.|[^>\\])*)>)|"(?P<text>(?:\\.|[^"\\])*)"')
_NUMBER = re.compile(r"-?\d+")
_IN_OURS = re.compile(r"/\* (\d+) in strace's PID NS \*/")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)", re.S)


@dataclass
class _Process:
    """What is known of a process: as whom it acts on files, where it works, what it runs."""

    uid: int = 0
    cwd: str = "/"
    program: str = "sshd"

    def fork(self) -> _Process:
        return _Process(self.uid, self.cwd, self.program)


@dataclass
class Watch:
    """What was seen: `deeds` has a line for each thing that root did below the folder."""

    folder: str
    container_root: Path
    deeds: list[str] = field(default_factory=list)
    calls: int = 0
    programs: set[str] = field(default_factory=set)

    def read(self, lines: list[str]) -> None:
        """Take in what strace wrote down."""
        processes: dict[str, _Process] = {}
        parents = _parents(lines)
        for pid, call in _whole_calls(lines):
            if pid not in processes:
                parent = processes.get(parents.get(pid, ""))
                processes[pid] = parent.fork() if parent else _Process()
            self._see(processes, pid, call)

    def _see(self, processes: dict[str, _Process], pid: str, text: str) -> None:
        call = _CALL.match(text)
        if not call:
            return
        self.calls += 1
        me, name, arguments = processes[pid], call["name"], call["arguments"]
        has_worked = not call["result"].startswith("-") and call["result"] != "?"
        if name in _IDENTITIES:
            self._become(me, name, arguments, has_worked)
        elif name in _FORKS:
            child = _IN_OURS.search(call["more"])
            if child and child[1] not in processes:
                processes[child[1]] = me.fork()
        elif name.startswith("execve"):
            if has_worked:
                self._execute(me, arguments)
        else:
            self._act(me, name, call, has_worked)

    def _become(self, me: _Process, name: str, arguments: str, has_worked: bool) -> None:
        numbers = [int(one) for one in _NUMBER.findall(arguments)]
        wanted = numbers[min(len(numbers) - 1, 1 if "re" in name else 0)]
        if (has_worked or name == "setfsuid") and wanted not in (-1, 2**32 - 1):
            me.uid = wanted

    def _execute(self, me: _Process, arguments: str) -> None:
        paths = _paths("execve", arguments, me.cwd)
        me.program = paths[0] if paths else "?"
        self.programs.add(me.program)
        with contextlib.suppress(OSError):
            found = (self.container_root / me.program.lstrip("/")).stat()
            if found.st_mode & stat.S_ISUID:
                me.uid = found.st_uid

    def _act(self, me: _Process, name: str, call: re.Match[str], has_worked: bool) -> None:
        arguments = call["arguments"]
        at = re.search(r"AT_FDCWD<((?:\\.|[^>\\])*)>", arguments)
        if at:
            me.cwd = _plain(at[1])
        paths = _paths(name, arguments, me.cwd)
        counts = name in _CHANGES or name in _MOVES
        if name in _OPENS:
            counts = name == "creat" or bool(_WRITES.search(arguments))
            real = re.match(r"<((?:\\.|[^>\\])*)>", call["more"])
            paths += [_plain(real[1])] if real else []
        if counts and me.uid == 0 and any(self._is_inside(path) for path in paths):
            self.deeds.append(f"{posixpath.basename(me.program)}: {name}({arguments[:300]})")
        if name in _MOVES and has_worked and paths:
            me.cwd = paths[0]

    def _is_inside(self, path: str) -> bool:
        return path == self.folder or path.startswith(self.folder + "/")


def _parents(lines: list[str]) -> dict[str, str]:
    """Who forked whom: a child may be heard of before its parent's call has ended."""
    found = {}
    for line in lines:
        row = _LINE.match(line)
        child = _IN_OURS.search(line) if row else None
        if row and child and re.search(rf"\b({'|'.join(_FORKS)})\b", line):
            found[child[1]] = row["pid"]
    return found


def _whole_calls(lines: list[str]) -> Iterator[tuple[str, str]]:
    begun: dict[str, str] = {}
    for line in lines:
        row = _LINE.match(line)
        if not row:
            continue
        pid, rest = row["pid"], row["rest"].rstrip("\n")
        if rest.endswith(_UNFINISHED):
            begun[pid] = rest.removesuffix(_UNFINISHED)
            continue
        if resumed := _RESUMED.match(rest):
            rest = begun.pop(pid, "") + resumed[1]
        yield pid, rest


def _paths(name: str, arguments: str, cwd: str) -> list[str]:
    """The names in a call's arguments, absolute; of a link that is made only its own."""
    found, base = [], None
    for token in _TOKEN.finditer(arguments):
        if token["at"] is not None:
            if base is not None:
                found.append(base)
            base = _plain(token["at"])
        else:
            found.append(_absolute(_plain(token["text"]), base or cwd))
            base = None
    # A descriptor alone is what a call such as fchmod is about.
    if base is not None and name.startswith("f"):
        found.append(base)
    return found[1:] if name in ("symlink", "symlinkat") else found


def _absolute(path: str, base: str) -> str:
    return posixpath.normpath(posixpath.join(base, path))


def _plain(text: str) -> str:
    """A text of strace's without its escapes."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), text).replace('\\"', '"')


@contextlib.contextmanager
def watching(host: LabHost, folder: str) -> Iterator[Watch]:
    """Watch what logins do as root below a folder during a block; read it after the block.

    Raises:
        LabError: when this machine does not let itself be used to watch the host.
    """
    sshd = _sshd(host)
    watch = Watch(folder, Path(f"/proc/{sshd}/root"))
    with tempfile.TemporaryDirectory(prefix="watch-") as directory:
        out = Path(directory) / "calls"
        command = [
            # Every system call waits for it, on a busy machine for as long as a turn takes.
            *("nice", "-n", "-15"),
            *("strace", "-f", "-q", "-p", str(sshd), "-o", str(out), "-s", "4096"),
            *("--decode-fds=path", "--pidns-translation", "-e", "signal=none"),
            *("-e", f"trace={_TRACED}"),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            try:
                wait_for(lambda: _is_traced(sshd) or strace.poll() is not None, 10, "strace")
                if strace.poll() is not None:
                    said = strace.stderr.read() if strace.stderr else ""
                    raise LabError(f"strace cannot be attached to the sshd of {host.name}: {said}")
                yield watch
            finally:
                strace.send_signal(signal.SIGINT)
                strace.wait(30)
        watch.read(out.read_text(encoding="utf-8", errors="replace").splitlines())


def _sshd(host: LabHost) -> int:
    """The PID, on this machine, of the sshd that waits for logins in a host's container."""
    first = int(host._container.get_wrapped_container().attrs["State"]["Pid"])
    try:
        inside = Path(f"/proc/{first}/ns/pid").readlink()
    except OSError as error:
        raise LabError(f"{host.name}'s processes are not this machine's: {error}") from error
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                (process / "ns/pid").readlink() == inside
                and (process / "comm").read_text(encoding="utf-8").strip() == "sshd"
                and f"PPid:\t{first}\n" in (process / "status").read_text(encoding="utf-8")
            ):
                return int(process.name)
    raise LabError(f"no sshd of {host.name} is among this machine's processes")


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
