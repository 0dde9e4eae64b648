"""Files of root's: which paths root may touch, and what is read and written there."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.host import files, programs
from tasks.host.files import FileError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="these files are root's")
OTHER = 65534


def own(path: Path, uid: int, gid: int = 0) -> None:
    os.chown(path, uid, gid, follow_symlinks=False)


# --- real_path -----------------------------------------------------------------------------------


def test_a_path_without_links_is_itself(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("", "a", "a/absent", "absent", "absent/below"):
        assert files.real_path(str(tmp_path / name)) == str(tmp_path / name)
    assert files.real_path(f"{tmp_path}//a/./../a/") == str(tmp_path / "a")
    assert files.real_path("/") == "/"
    assert files.real_path("/../..") == "/"


def test_links_of_roots_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "relative").symlink_to("absolute/deep")
    (tmp_path / "real/deep/file").symlink_to("../../target")
    assert files.real_path(str(tmp_path / "absolute/x")) == str(tmp_path / "real/x")
    assert files.real_path(str(tmp_path / "relative/x")) == str(tmp_path / "real/deep/x")
    assert files.real_path(str(tmp_path / "relative/file")) == str(tmp_path / "target")
    # As the kernel goes: out of the folder that the link leads to.
    assert files.real_path(str(tmp_path / "relative/../x")) == str(tmp_path / "real/x")


def link_of_others(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent)
    own(folder / "link", OTHER)


def link_to_a_folder_of_others(folder: Path) -> None:
    (folder / "theirs").mkdir()
    own(folder / "theirs", OTHER)
    (folder / "link").symlink_to("theirs")


def link_without_end(folder: Path) -> None:
    (folder / "link").symlink_to("link")


def folder_of_others(folder: Path) -> None:
    (folder / "link").mkdir()
    own(folder / "link", OTHER)


def folder_of_others_with_the_sticky_bit(folder: Path) -> None:
    folder_of_others(folder)
    (folder / "link").chmod(0o1777)


def writable_by_all(folder: Path) -> None:
    (folder / "link").mkdir()
    (folder / "link").chmod(0o757)


def writable_by_a_group(folder: Path) -> None:
    (folder / "link").mkdir()
    (folder / "link").chmod(0o775)
    own(folder / "link", 0, OTHER)


def file_in_the_way(folder: Path) -> None:
    (folder / "link").touch()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (link_of_others, "a link that is not root's"),
        (link_to_a_folder_of_others, "can be changed by others"),
        (link_without_end, "a link that is not root's"),
        (folder_of_others, "can be changed by others"),
        (folder_of_others_with_the_sticky_bit, "can be changed by others"),
        (writable_by_all, "can be changed by others"),
        (writable_by_a_group, "can be changed by others"),
        (file_in_the_way, "is no folder"),
    ],
)
def test_what_others_could_exchange_is_left_alone(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(tmp_path)
    path = tmp_path / "link/file"
    actions: tuple[Callable[[], object], ...] = (
        lambda: files.real_path(str(path)),
        lambda: files.write(str(path), b"x"),
        lambda: files.make_folder(str(path)),
    )
    for action in actions:
        with pytest.raises(FileError, match=words):
            action()
    assert not (tmp_path / "theirs/file").exists()


def test_a_folder_on_the_way_counts_as_well(tmp_path: Path) -> None:
    (tmp_path / "theirs/roots").mkdir(parents=True)
    own(tmp_path / "theirs", OTHER)
    with pytest.raises(FileError, match="theirs can be changed by others"):
        files.real_path(str(tmp_path / "theirs/roots/file"))


def test_roots_own_group_and_the_sticky_bit_are_let_pass(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group").chmod(0o775)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o1777)
    own(tmp_path / "spool", 0, OTHER)
    for name in ("group", "spool"):
        files.write(str(tmp_path / name / "file"), b"x")
        assert (tmp_path / name / "file").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("members", "primary", "is_safe"), [([], 1, True), (["ann"], 1, False), ([], 50, False)]
)
def test_debians_group_of_usr_local_is_let_pass_while_nobody_is_in_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    members: list[str],
    primary: int,
    is_safe: bool,
) -> None:
    staff = grp.struct_group(("staff", "x", 50, members))
    ann = pwd.struct_passwd(("ann", "x", 1000, primary, "", "/", "/bin/sh"))
    monkeypatch.setattr(grp, "getgrgid", lambda _: staff)
    monkeypatch.setattr(pwd, "getpwall", lambda: [ann])
    (tmp_path / "local").mkdir()
    own(tmp_path / "local", 0, 50)
    (tmp_path / "local").chmod(0o2775)
    with contextlib.nullcontext() if is_safe else pytest.raises(FileError, match="by others"):
        files.real_path(f"{tmp_path}/local/x")


# --- program -------------------------------------------------------------------------------------


def script(path: Path, *lines: str) -> str:
    """A script of root's."""
    path.write_text("\n".join([*lines, "print(1)\n"]))
    path.chmod(0o755)
    return str(path)


PIPS = "'''exec' {} \"$0\" \"$@\""  # below #!/bin/sh, where the path is long or has a space


@pytest.mark.parametrize(
    "lines",
    [
        ["#!{theirs}"],
        ["#! \t{theirs} -E"],
        ["#!/usr/bin/env {theirs}"],
        ["#!/usr/bin/env -S {theirs} -E"],
        ["#!/bin/sh", PIPS.format("{theirs}")],
        ["#!/bin/sh", PIPS.format('"{theirs}"')],
        ["#!{folder}/script of theirs"],
        ["#!{folder}/theirs/env sh"],
    ],
)
def test_a_script_is_run_by_what_root_alone_can_change(folder: Path, lines: list[str]) -> None:
    theirs = folder / "theirs/python"
    theirs.parent.mkdir()
    own(theirs.parent, OTHER)
    theirs.touch(0o755)
    (folder / "theirs/env").touch(0o755)
    script(folder / "script", f"#!{theirs}")
    places = {"folder": folder, "theirs": theirs}
    one = script(folder / "one", *(line.format(**places) for line in lines))
    with pytest.raises(FileError, match="can be changed by others than root"):
        files.program(one)
    own(theirs.parent, 0)
    assert files.program(one) == one


def test_an_interpreter_by_name_is_that_of_roots_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = folder / "snake"
    interpreter.touch(0o755)
    monkeypatch.setattr(programs, "find", lambda name: str(interpreter) if name == "snake" else "")
    one = script(folder / "one", "#!/usr/bin/env snake")
    assert files.program(one) == one
    own(interpreter, OTHER)
    with pytest.raises(FileError, match="snake can be changed by others than root"):
        files.program(one)


@pytest.mark.parametrize(
    "line",
    ["#!", "#!bin/python", "#!/usr/bin/env", "#!/usr/bin/env -u A /bin/sh", "#!/usr/bin/env no"],
)
def test_a_script_that_does_not_tell_its_interpreter_is_not_run(folder: Path, line: str) -> None:
    with pytest.raises(FileError, match="does not say what interprets it"):
        files.program(script(folder / "one", line))


def test_scripts_that_interpret_each_other_are_not_run(folder: Path) -> None:
    script(folder / "b", f"#!{folder}/a")
    with pytest.raises(FileError, match="a script of scripts"):
        files.program(script(folder / "a", f"#!{folder}/b"))


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#", b"\xff\n#!x"])
def test_what_is_no_script_needs_no_interpreter(folder: Path, content: bytes) -> None:
    (folder / "one").write_bytes(content)
    assert files.program(f"{folder}/one") == f"{folder}/one"


# --- read ----------------------------------------------------------------------------------------


def test_a_file_is_read_and_an_absent_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert files.read(str(path)) is None
    assert files.read(str(path / "below")) is None
    path.write_bytes(b"\0\xff" * 5)
    assert files.read(str(path)) == b"\0\xff" * 5
    assert files.read(str(path / "below")) is None
    assert files.read(str(path), 10) == b"\0\xff" * 5
    with pytest.raises(FileError, match="bigger than 0 KiB"):
        files.read(str(path), 9)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def socket_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def zero(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (fifo, "no regular file"),
        (folder, "no regular file"),
        (zero, "no regular file"),
        (socket_file, "no regular file"),
        (huge, "bigger than 1024 KiB"),
        (link, "no regular file"),
    ],
)
def test_nothing_in_a_files_place_blocks_or_fills_the_memory(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "file"
    try:
        make(path)
    except PermissionError:
        pytest.skip("no device can be made here")
    began = time.monotonic()
    with pytest.raises(FileError, match=words):
        files.read(str(path))
    assert time.monotonic() - began < 5


def test_what_is_no_file_is_not_opened_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a device may already do something: a tape is rewound, a watchdog starts."""
    os.mkfifo(tmp_path / "fifo")
    real, flags = os.open, list[int]()

    def spied(path: str, how: int) -> int:
        flags.append(how)
        return real(path, how)

    monkeypatch.setattr(os, "open", spied)
    with pytest.raises(FileError):
        files.read(str(tmp_path / "fifo"))
    assert [how & os.O_PATH for how in flags] == [os.O_PATH]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    huge(tmp_path / "huge")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("fifo", "huge", "absent"):
        with contextlib.suppress(FileError):
            files.read(str(tmp_path / name))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_small_things(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert (files.first_line(str(path)), files.digest(str(path)), files.mode_of(str(path))) == (
        "",
        "",
        "",
    )
    path.write_bytes(b" first \xff \nsecond")
    path.chmod(0o640)
    own(path, 12, 34)
    assert files.first_line(str(path)) == "first \ufffd"
    assert files.digest(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert files.mode_of(str(path)) == "12:34 640"
    files.remove(str(path))
    files.remove(str(path))
    assert not path.exists()


# --- write ---------------------------------------------------------------------------------------


def state_of(path: Path) -> tuple[bytes, int, int, int]:
    found = path.stat()
    return path.read_bytes(), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def test_a_new_file_is_roots_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    files.write(str(tmp_path / "file"), b"x")
    os.umask(before)
    assert state_of(tmp_path / "file") == (b"x", 0o600, 0, 0)


def test_mode_and_owner_are_what_is_asked_for_and_not_what_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o666)
    own(path, OTHER, OTHER)
    files.write(str(path), b"x" * 3_000_000, 0o640, 12, 34)
    assert state_of(path) == (b"x" * 3_000_000, 0o640, 12, 34)


def test_a_file_of_others_is_exchanged_and_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    os.link(path, tmp_path / "other name")
    files.write(str(path), b"after")
    assert (tmp_path / "other name").read_text() == "before"


def test_a_link_of_roots_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    files.write(str(tmp_path / "link"), b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"x"


def test_leftovers_of_a_loss_of_power_are_dropped(tmp_path: Path) -> None:
    (tmp_path / f"{files.PREFIX}1").write_text("half")
    (tmp_path / f"{files.PREFIX}{os.getpid()}").symlink_to("elsewhere")
    (tmp_path / "other").touch()
    files.write(str(tmp_path / "file"), b"x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "other"]


def test_a_folder_in_the_files_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(FileError, match="could not be written"):
        files.write(str(tmp_path / "file"), b"x")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="could not be written: No such file"):
        files.write(str(tmp_path / "absent/file"), b"x")
    with pytest.raises(FileError, match="could not be made: No such file"):
        files.make_folder(str(tmp_path / "absent/folder"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for little."""
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=5,mode=0755", "none", str(path)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_leaves_the_file_as_it_was(disk: Path) -> None:
    files.write(str(disk / "file"), b"before")
    with pytest.raises(FileError, match="No space left"):
        files.write(str(disk / "file"), b"x" * 200_000)
    assert state_of(disk / "file") == (b"before", 0o600, 0, 0)
    assert [one.name for one in disk.iterdir()] == ["file"]


def test_a_disk_without_inodes_leaves_the_file_as_it_was(disk: Path) -> None:
    files.write(str(disk / "file"), b"before")
    for name in "abc":
        (disk / name).touch()
    with pytest.raises(FileError, match="No space left"):
        files.write(str(disk / "file"), b"after")
    with pytest.raises(FileError, match="No space left"):
        files.make_folder(str(disk / "folder"))
    assert (disk / "file").read_bytes() == b"before"


def test_a_disk_that_is_read_only_is_an_error_of_ours(disk: Path) -> None:
    files.write(str(disk / "file"), b"before")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(FileError, match="Read-only file system"):
        files.write(str(disk / "file"), b"after")
    with pytest.raises(FileError, match="Read-only file system"):
        files.make_folder(str(disk / "folder"))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def test_a_limit_of_the_size_of_files_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(FileError, match="File too large"):
            files.write(str(path), b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tasks.host import files, programs
setattr(os, sys.argv[3], lambda *_: os.kill(os.getpid(), 9))
files.write(sys.argv[2], b"after")
"""


@pytest.mark.parametrize("call", ["write", "fchown", "fchmod", "fsync", "rename"])
def test_a_write_that_is_killed_leaves_the_file_as_it_was(tmp_path: Path, call: str) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    root = str(Path(files.__file__).parents[2])
    words = [sys.executable, "-c", KILLED, root, str(path), call]
    assert subprocess.run(words, check=False).returncode == -9
    assert path.read_text() == "before"
    files.write(str(path), b"after")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("content", [b"first", None])
def test_an_exchange_is_taken_back_to_what_was_first(tmp_path: Path, content: bytes | None) -> None:
    path, before = tmp_path / "file", tmp_path / "before"
    if content is not None:
        path.write_bytes(content)
    files.exchange(str(path), b"half", str(before), 0o644)
    if content is not None:
        files.exchange(str(path), b"second", str(before), 0o644)  # after a run that was cut off
        assert files.mode_of(str(path)) == "0:0 644"
        assert files.mode_of(str(before)) == "0:0 600"
    files.take_back(str(path), str(before), 0o644)
    assert files.read(str(path)) == content
    assert not before.exists()


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_is_made_or_corrected(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for _ in range(2):
        files.make_folder(str(path))
        assert files.mode_of(str(path)) == "0:0 700"
        own(path, 0, 34)
        path.chmod(0o777)
    files.make_folder(str(path), 0o750, 34)
    assert files.mode_of(str(path)) == "0:34 750"


def test_a_file_or_a_link_of_others_in_a_folders_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="is no folder"):
        files.make_folder(str(tmp_path / "file"))
    (tmp_path / "dangling").symlink_to(tmp_path / "target")
    own(tmp_path / "dangling", OTHER)
    with pytest.raises(FileError, match="not root's"):
        files.make_folder(str(tmp_path / "dangling"))
    assert not (tmp_path / "target").exists()
