"""Files that root reads and writes. Never below a folder in which another user may make changes.

`real_path` proves that for a path: each folder on the way belongs to root, and nobody else may
write there. A folder with the sticky bit, as cron's spool, is let pass: others may add files
there, but not exchange those of root or of a third user.
"""

import contextlib
import grp
import hashlib
import os
import pwd
import re
import stat
from typing import Iterator, List, Optional

from tasks.host.errors import HostError

LIMIT = 1 << 20  # bytes; configuration files are smaller
PREFIX = ".misp-workers."  # no suffix that an include pattern takes for a file of its own
_LINKS = 40  # as the kernel counts
_SCRIPTS = 5  # one interprets the other, as the kernel counts
_START = 4096  # bytes; a kernel takes 256 of the first line, but pip's second one has a whole path
# How pip names an interpreter whose path is too long for a first line, or has a space.
_LONG = re.compile(r"#!/bin/sh\n'''exec' (\"[^\"\n]*\"|\S+) ")


class FileError(HostError):
    """A file is not what root may touch, or could not be read or written."""


def real_path(path: str) -> str:
    """The path without links; the file itself need not be there.

    Raises:
        FileError: somebody else than root could exchange a part of it.
    """
    todo = [part for part in path.split("/") if part]
    done = ""
    links = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        if part == ".":
            continue
        _check_folder(done or "/", path)
        done_next = done + "/" + part
        try:
            found = os.lstat(done_next)
        except FileNotFoundError:
            return "/".join([done_next, *todo])
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS or found.st_uid != 0:
                raise FileError("%s goes by a link that is not root's: %s" % (path, done_next))
            target = os.readlink(done_next)
            todo = [one for one in target.split("/") if one] + todo
            done = "" if target.startswith("/") else done
        else:
            done = done_next
    return done or "/"


def program(path: str) -> str:
    """A program's path without links, for root to run: nobody else can change or exchange it.

    The same goes for the interpreters that a script names, as that of a folder of pip's.

    Raises:
        FileError: somebody else can, or it is no file, or it cannot be told what interprets it.
    """
    found = _program(path)
    for _ in interpreters(found):
        pass
    return found


def interpreters(script: str) -> Iterator[str]:
    """What interprets a script, by its own words, and what interprets that if it is one, too.

    Raises:
        FileError: as of `program`.
    """
    one = script
    for _ in range(_SCRIPTS):
        path = _interpreter(one)
        if not path:
            return
        yield path
        one = _program(path)
    raise FileError("%s is a script of scripts, so root does not run it" % script)


def _program(path: str) -> str:
    real = real_path(path)
    try:
        found = os.lstat(real)
    except OSError as error:
        raise FileError("%s cannot be run: %s" % (path, error.strerror)) from None
    if not stat.S_ISREG(found.st_mode):
        raise FileError("%s is no regular file" % path)
    if found.st_uid != 0 or others_write(real, found):
        raise FileError("%s can be changed by others than root, so root does not run it" % path)
    return real


def _interpreter(script: str) -> str:
    """Return the interpreter that a script's first line names; empty: it is no script."""
    from tasks.host import programs

    try:
        with open(script, "rb") as file:
            start = os.fsdecode(file.read(_START))
    except OSError as error:
        raise FileError("%s cannot be run: %s" % (script, error.strerror)) from None
    if not start.startswith("#!"):
        return ""
    long = _LONG.match(start)  # a shell that hands on to it
    words = [long.group(1).strip('"')] if long else start[2:].partition("\n")[0].split()
    if os.path.basename("".join(words[:1])) == "env":
        _program(words[0])
        words = words[2:] if words[1:2] == ["-S"] else words[1:]
        name = "".join(words[:1])
        words = [name if name.startswith("/") else programs.find(name)]
    if not words or not words[0].startswith("/"):
        raise FileError("%s does not say what interprets it, so root does not run it" % script)
    return words[0]


def _check_folder(folder: str, path: str) -> None:
    found = os.lstat(folder)
    others = others_write(folder, found)
    if not stat.S_ISDIR(found.st_mode):
        raise FileError("%s is no folder, so %s cannot be used" % (folder, path))
    if found.st_uid != 0 or (others and not found.st_mode & stat.S_ISVTX):
        raise FileError(
            "%s can be changed by others than root, so root leaves %s alone" % (folder, path)
        )


def others_write(path: str, found: os.stat_result) -> int:
    """The mode's bits by which others than root may write."""
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others & stat.S_IWGRP and _is_systems(found.st_gid) and not _has_acl(path):
        others &= ~stat.S_IWGRP
    return others


def _is_systems(gid: int) -> bool:
    """Whether a group has no people in it.

    So is root's, that of Ubuntu's rsyslog, for /var/log, and Debian's for /usr/local, unless
    somebody was added to it.
    """
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return gid == 0
    if group.gr_name == "staff":
        return not group.gr_mem and not any(one.pw_gid == gid for one in pwd.getpwall())
    return gid == 0 or group.gr_name == "syslog"


def _has_acl(path: str) -> bool:
    """With an ACL the group's bits are its mask: anybody may be meant."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def read(path: str, limit: int = LIMIT) -> Optional[bytes]:
    """The content of a regular file; `None` where there is no file.

    A FIFO or a device does not block, and a huge file is not read.

    Raises:
        FileError: it is no regular file, bigger than `limit` bytes, or not readable.
    """
    try:
        # The name alone: to open a device for reading may already do something.
        named = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileError("%s cannot be read: %s" % (path, error.strerror)) from None
    try:
        if not stat.S_ISREG(os.fstat(named).st_mode):
            raise FileError("%s is no regular file" % path)
        return _read_all(named, path, limit)
    except OSError as error:
        raise FileError("%s cannot be read: %s" % (path, error.strerror)) from None
    finally:
        os.close(named)


def _read_all(named: int, path: str, limit: int) -> bytes:
    chunks: List[bytes] = []
    size = 0
    with open("/proc/self/fd/%d" % named, "rb", buffering=0) as file:
        while size <= limit:
            chunk = file.read(min(limit + 1 - size, 1 << 20)) or b""
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
    raise FileError("%s is bigger than %d KiB" % (path, limit >> 10))


def first_line(path: str) -> str:
    """The first line of one of root's own small files, empty where there is none."""
    data = read(path, 65536) or b""
    return data.decode("utf-8", "replace").partition("\n")[0].strip()


def digest(path: str) -> str:
    """The SHA-256 of one of root's files, empty where there is none."""
    data = read(path, 1 << 26)
    return "" if data is None else hashlib.sha256(data).hexdigest()


def mode_of(path: str) -> str:
    """Owner and mode as in "0:0 644", empty where there is no file."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""
    return "%d:%d %o" % (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))


def write(path: str, data: bytes, mode: int = 0o600, uid: int = 0, gid: int = 0) -> None:
    """Make the file have this content, whole or not at all, also over a loss of power.

    Raises:
        FileError: somebody else could exchange its folder, or the disk is full.
    """
    path = real_path(path)
    folder = os.path.dirname(path)
    new = "%s/%s%d" % (folder, PREFIX, os.getpid())
    try:
        drop_unfinished(folder)
        number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(number, view) :]
            os.fchown(number, uid, gid)
            os.fchmod(number, mode)
            os.fsync(number)
        finally:
            os.close(number)
        os.rename(new, path)
        sync_folder(folder)
    except OSError as error:
        try:
            remove(new)
        except OSError:
            pass  # as on a disk that is read-only
        raise FileError("%s could not be written: %s" % (path, error.strerror)) from None
    label(path)


def exchange(path: str, data: bytes, before: str, mode: int = 0o600) -> None:
    """Write a file of root's, and keep in the file `before` what was there until now.

    Whoever sees the change through removes `before`. A run that was cut off has left it, and then
    it counts, not what that run wrote.
    """
    old = read(real_path(path))
    if old is not None and read(before) is None:
        write(before, old)
    write(path, data, mode)


def take_back(path: str, before: str, mode: int = 0o600) -> None:
    """Undo `exchange`."""
    old = read(before)
    if old is None:
        remove(real_path(path))
    else:
        write(path, old, mode)
        remove(before)


def drop_unfinished(folder: str) -> None:
    """Remove what a loss of power left of `write`; only who has the lock writes."""
    for name in os.listdir(folder):
        if name.startswith(PREFIX):
            with contextlib.suppress(OSError):  # somebody's folder of that name is no file of ours
                os.unlink(folder + "/" + name)


def remove(path: str) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_folder(folder: str) -> None:
    """Have the folder's names on disk."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def label(path: str) -> None:
    """Give a file of root's the label that SELinux's policy has for its place."""
    if os.path.exists("/sys/fs/selinux/enforce"):
        from tasks.host import programs

        if programs.find("restorecon"):
            programs.run("restorecon", path)


def make_folder(path: str, mode: int = 0o700, gid: int = 0) -> None:
    """Have a folder of root's with this mode; folders above it are there already.

    Raises:
        FileError: somebody else could exchange it, or it cannot be made.
    """
    path = real_path(path)
    try:
        _make_folder(path, mode, gid)
    except OSError as error:
        raise FileError("%s could not be made: %s" % (path, error.strerror)) from None


def _make_folder(path: str, mode: int, gid: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise FileError("%s is no folder" % path)
    if (found.st_uid, found.st_gid) != (0, gid):
        os.chown(path, 0, gid)
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(path, mode)
