"""/proc/net/unix, where any user may write rows by the names of his sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.host import peer
from tasks.host.processes import PROC, process
from tasks.host.sockets import UnixRow, ambiguous, unix_rows
from tests.unit.host.fake_proc import FakeProc

ROW = "0000: 00000002 00000000 00010000 0001 01 {inode} {name}\n"


@contextmanager
def listening(name: str) -> Iterator[int]:
    """A socket of this process with that name; gives its inode."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(name)
        one.listen()
        yield os.fstat(one.fileno()).st_ino


def fake(folder: Path, *rows: str) -> str:
    proc = FakeProc(folder / "proc")
    (proc.folder / "net/unix").write_text("heading\n" + "".join(rows))
    return proc.path


def test_what_is_no_row_is_left_out(tmp_path: Path) -> None:
    path = fake(
        tmp_path,
        ROW.format(inode=1, name="/a b"),
        "\n",
        "a b c d e f g h\n",
        "0: 2 0 00010000 1 1\n",
        "0: 2 0 zz 1 1 5 /x\n",
        "0: 3 0 00000000 1 3 2\n",
        ROW.format(inode=3, name="/c")[:-1],  # where the table was cut
    )
    assert unix_rows(path) == [UnixRow(1, True, "/a b"), UnixRow(2, False, "")]


def test_an_inode_with_two_rows_is_nobodys(tmp_path: Path) -> None:
    path = fake(
        tmp_path,
        ROW.format(inode=1, name="/a"),
        ROW.format(inode=2, name="/x"),
        ROW.format(inode=1, name="/evil"),
        "0: 3 0 00000000 1 3 4\n",
        ROW.format(inode=4, name="/evil"),
    )
    assert unix_rows(path) == [UnixRow(2, True, "/x")]
    assert ambiguous(path) == {1, 4}


def test_without_a_table_there_is_no_row(tmp_path: Path) -> None:
    assert unix_rows(str(tmp_path)) == []
    assert ambiguous(str(tmp_path)) == set()


@pytest.mark.parametrize("junk", ["\na b c d e f g h", "\n\n", "\n\xff: z z z z z z z z"])
def test_a_name_with_a_newline_ends_no_look(folder: Path, junk: str) -> None:
    own = process(PROC, os.getpid())
    assert own is not None
    path = str(folder / "s.sock")
    with listening(f"{folder}/x{junk}"), listening("\0x" + junk), listening(path + ".7") as inode:
        assert UnixRow(inode, True, path + ".7") in unix_rows()
        assert peer._listens_on(own, path)
        assert not peer._listens_on(own, path + "x")


def test_a_name_that_is_another_sockets_row_makes_nobody_its_owner(folder: Path) -> None:
    own = process(PROC, os.getpid())
    assert own is not None
    path = str(folder / "s.sock")
    with listening(path) as inode:
        assert peer._listens_on(own, path)
        assert inode not in ambiguous()
        with listening("\0\n" + ROW.format(inode=inode, name="/evil")[:-1]):
            assert inode not in [row.inode for row in unix_rows()]
            assert inode in ambiguous()
            assert not peer._listens_on(own, path)
