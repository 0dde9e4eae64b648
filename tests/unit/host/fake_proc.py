"""A /proc made of files, for what reads one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path


class FakeProc:
    """A folder that looks like /proc; hand `path` to the code under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder)
        (folder / "self" / "ns").mkdir(parents=True)
        (folder / "self" / "ns" / "pid").touch()
        (folder / "net").mkdir()
        for name in ("tcp", "tcp6", "unix"):
            (folder / "net" / name).write_text("  heading\n")

    def add(
        self,
        pid: int,
        *argv: str | bytes,
        parent: int = 1,
        uid: int = 0,
        real_uid: int = -1,
        name: str = "",
        started: int = 100,
        state: str = "S",
        cwd: str = "/",
        environ: Mapping[str, str | bytes] | None = None,
        cgroup: str = "",
        is_in_a_container: bool = False,
        maps: str = "",
        sockets: Sequence[int] = (),
    ) -> int:
        """A process; the same PID again is a new process in its place."""
        at = self.folder / str(pid)
        (at / "ns").mkdir(parents=True, exist_ok=True)
        (at / "fd").mkdir(exist_ok=True)
        words = [os.fsencode(word) for word in argv]
        name = name or (os.fsdecode(words[0]).rpartition("/")[2][:15] if words else "kthread")
        self.set_stat(pid, name=name, parent=parent, started=started, state=state)
        (at / "cmdline").write_bytes(b"".join(word + b"\0" for word in words))
        pairs = [
            os.fsencode(key) + b"=" + os.fsencode(value) for key, value in (environ or {}).items()
        ]
        (at / "environ").write_bytes(b"".join(pair + b"\0" for pair in pairs))
        uids = [uid if real_uid < 0 else real_uid, uid, uid, uid]
        (at / "status").write_text("Name:\tx\nUid:\t" + "\t".join(map(str, uids)) + "\n")
        (at / "cgroup").write_text(cgroup)
        (at / "maps").write_text(maps)
        _link(at / "cwd", cwd)
        if is_in_a_container:
            (at / "ns" / "pid").touch()
        elif not (at / "ns" / "pid").exists():
            os.link(self.folder / "self" / "ns" / "pid", at / "ns" / "pid")
        for number, inode in enumerate(sockets, 3):
            _link(at / "fd" / str(number), f"socket:[{inode}]")
        os.chown(at, uid, uid)
        return pid

    def set_stat(
        self, pid: int, *, name: str, parent: int = 1, started: int = 100, state: str = "S"
    ) -> None:
        fields = [state, str(parent), *["0"] * 17, str(started), "0", "0"]
        text = f"{pid} ({name}) {' '.join(fields)}\n"
        (self.folder / str(pid) / "stat").write_bytes(os.fsencode(text))

    def end(self, pid: int) -> None:
        """The process is gone, as its stat is what is looked at first."""
        (self.folder / str(pid) / "stat").unlink()

    def listen(self, port: int, inode: int, address: str = "0100007F", table: str = "tcp") -> None:
        """A TCP socket that listens."""
        self._tcp(table, f"{address}:{port:04X}", "00000000:0000", "0A", inode)

    def connect(self, port: int, inode: int, table: str = "tcp") -> None:
        """This end of a TCP connection."""
        self._tcp(table, f"0100007F:{port:04X}", "0100007F:18EB", "01", inode)

    def _tcp(self, table: str, local: str, remote: str, state: str, inode: int) -> None:
        with (self.folder / "net" / table).open("a") as file:
            file.write(
                f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 "
                f"    0        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
            )

    def forget_sockets(self) -> None:
        """No TCP socket any more."""
        for name in ("tcp", "tcp6"):
            (self.folder / "net" / name).write_text("  heading\n")


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)
