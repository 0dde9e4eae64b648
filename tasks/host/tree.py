"""MISP's own files. Everything here runs as the web user, in a child that `gate.py` starts.

So nothing is gained by exchanging a folder for a link or a file for a FIFO: the web user can reach
no more by it than he can anyway, and a child that takes too long is ended. What a function answers
is the web user's word.
"""

import contextlib
import errno
import hashlib
import os
import stat
import subprocess
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple

from tasks.host import access
from tasks.host.mounts import free, is_mount

_LIMIT = 16 << 20  # bytes of one file that is read whole
_TREE_LIMIT = 4 << 30  # bytes of a folder that is copied
COMPOSERS = ["composer.json", "composer.lock", "Vendor"]  # what Composer changes, in app/
_NEW = ".misp-workers-new-"  # how the name of a folder begins that is put together


def prepare() -> None:
    """Import what copies take, as root: the web user may be unable to read Python's library."""
    import ctypes
    import shutil
    import tarfile
    import tempfile

    _ = (ctypes, shutil, tarfile, tempfile)


def read(path: str, limit: int = _LIMIT) -> Optional[bytes]:
    """A regular file's content, `None` where there is none."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError("%s is no regular file" % path)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError("%s is bigger than %d KiB" % (path, limit >> 10))
    return data


def look(root: str) -> Dict[str, Any]:
    """What of MISP is there, in plain values."""
    app = root + "/app"
    config = _status(app + "/Config/config.php")
    return {
        "version": _text(root + "/VERSION.json"),
        "config": [config.st_uid, stat.S_IMODE(config.st_mode)] if config else None,
        "savable": _is_savable(app + "/Config"),
        "cake": access.look(root, "app/Console/cake"),
        "cake_php": os.path.isfile(app + "/Console/cake.php"),
        "phar": os.path.isfile(app + "/composer.phar"),
        "free": free(app + "/tmp"),
        "tmp": _is_tmp_writable(app + "/tmp"),
        "links": [name for name in COMPOSERS if os.path.islink(app + "/" + name)],
        "mounts": [name for name in COMPOSERS if is_mount(app + "/" + name)],
    }


def _is_savable(folder: str) -> bool:
    """Whether MISP can save its settings: it writes a file beside config.php and exchanges them."""
    config = folder + "/config.php"
    return os.access(config, os.W_OK) and os.access(folder, os.W_OK) and not is_mount(config)


def _is_tmp_writable(folder: str) -> bool:
    folders = [folder, folder + "/cache"] if os.path.isdir(folder + "/cache") else [folder]
    return all(os.access(one, os.W_OK | os.X_OK) for one in folders)


def _status(path: str) -> Optional[os.stat_result]:
    """What is there, `None`: nothing. That it cannot be told is an error, and no "nothing"."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_absent(path: str) -> bool:
    """Whether there is no such file.

    Raises:
        OSError: a folder on the way cannot be entered, say, so nobody can tell.
    """
    return _status(path) is None


def _text(path: str) -> str:
    try:
        data = read(path, 65536)
    except OSError:
        return "?"
    return "" if data is None else data.decode("utf-8", "replace")


def digest(path: str) -> str:
    """SHA-256 of a file, or of a folder with all that is below it; empty: not there."""
    found = _status(path)
    if found is None:
        return ""
    total = hashlib.sha256()
    if not stat.S_ISDIR(found.st_mode):
        _add(total, path, "", found)
    else:
        for name, status in _walk(path):
            _add(total, path + "/" + name, name, status)
    return total.hexdigest()


def _walk(top: str, opens: bool = False) -> Iterator[Tuple[str, os.stat_result]]:
    """Everything below a folder by its name in it, in one order.

    With `opens` folders are made accessible on the way, as whoever owns them may.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        names = sorted(os.listdir(top + "/" + folder)) if folder else sorted(os.listdir(top))
        for name in names:
            below = folder + "/" + name if folder else name
            status = os.lstat(top + "/" + below)
            yield below, status
            if stat.S_ISDIR(status.st_mode):
                pending.append(below)
                if opens and status.st_uid == os.geteuid():
                    os.chmod(top + "/" + below, 0o700)


def _add(total: Any, path: str, name: str, status: os.stat_result) -> None:
    total.update(("%s\0%o\0" % (name, status.st_mode)).encode("utf-8", "surrogateescape"))
    if stat.S_ISLNK(status.st_mode):
        total.update(os.readlink(path).encode("utf-8", "surrogateescape"))
    elif stat.S_ISREG(status.st_mode):
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(number, "rb") as file:
            for chunk in iter(lambda: file.read(1 << 18), b""):
                total.update(chunk)


def status_and_digest(path: str) -> List[Any]:
    """`[[mode, uid, gid] or None, digest]` of a file or folder."""
    found = _status(path)
    what = [stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid] if found else None
    return [what, digest(path)]


def cat(path: str) -> None:
    """Write a file to standard output."""
    data = read(path)
    if data is None:  # gone meanwhile: an empty copy would be put back one day
        raise OSError("%s is gone" % path)
    with os.fdopen(1, "wb") as out:
        out.write(data)


def pack(paths: List[str]) -> None:
    """Write a tar of these (absolute) paths, as far as they are there, to standard output."""
    import tarfile

    size = 0
    with os.fdopen(1, "wb") as out, tarfile.open(
        fileobj=out, mode="w|", format=tarfile.GNU_FORMAT
    ) as tar:
        for top in paths:
            if _status(top) is None:
                continue
            _add_to(tar, top, os.path.basename(top))
            if tar.getmembers()[-1].issym():  # what it leads to would be lost on the way back
                raise OSError("%s is a link" % top)
            if not os.path.isdir(top) or os.path.islink(top):
                continue
            for name, status in _walk(top):
                size += status.st_size
                if size > _TREE_LIMIT:
                    raise OSError("%s is bigger than %d GiB" % (top, _TREE_LIMIT >> 30))
                if (
                    stat.S_ISREG(status.st_mode)
                    or stat.S_ISDIR(status.st_mode)
                    or stat.S_ISLNK(status.st_mode)
                ):
                    _add_to(tar, top + "/" + name, os.path.basename(top) + "/" + name)


def _add_to(tar: Any, path: str, name: str) -> None:
    tar.inodes.clear()  # a second name of a file is one more file: a stream has no way back to it
    tar.add(path, name, recursive=False)


def unpack(folder: str, names: List[str]) -> None:
    """Make these names in a folder what the tar on standard input has; absent there: remove them.

    Each is exchanged in one step (renameat2), so that neither is ever missing: old workers and the
    web tier run from app/Vendor meanwhile. What was there and the web user may not remove (a
    mount, a file in a folder of root) stays in app/.misp-workers-new-*, in no later unpack()'s way.
    """
    import tarfile
    import tempfile

    for name in names:
        if is_mount(folder + "/" + name):  # before anything of it is gone
            raise OSError(
                "%s/%s is a mount, which cannot be exchanged: unmount it" % (folder, name)
            )
    _remove_new(folder)
    os.umask(0)  # folders get their modes when they are made, see _finish()
    new = tempfile.mkdtemp(prefix=_NEW, dir=folder)
    folders: List[Tuple[str, Any]] = []
    try:
        with os.fdopen(0, "rb") as source, tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                path = _extract(tar, member, new, names)
                if member.isdir():
                    folders.append((path, member))
        # Last, since writing into a folder needs its mode and sets its time.
        for path, member in reversed(folders):
            _finish(path, member)
        for name in names:
            _exchange(new + "/" + name, folder + "/" + name)
    finally:
        _remove_new(folder)


def _remove_new(folder: str) -> None:
    for name in os.listdir(folder):
        if name.startswith(_NEW):
            try:
                _remove(folder + "/" + name)
            except OSError:
                pass


def _extract(tar: Any, member: Any, new: str, names: List[str]) -> str:
    if member.name.split("/")[0] not in names or ".." in member.name.split("/"):
        raise OSError("the copy holds %r" % member.name)
    path = "%s/%s" % (new, member.name)
    if member.isdir():
        os.mkdir(path, member.mode | 0o700)
    elif member.issym():
        os.symlink(member.linkname, path)
    else:
        source = tar.extractfile(member)
        with open(path, "xb") as target:
            for chunk in iter(lambda: source.read(1 << 18), b""):
                target.write(chunk)
        _finish(path, member)
    return path


def _finish(path: str, member: Any) -> None:
    with contextlib.suppress(OSError):  # the web user is not in that group
        os.chown(path, -1, member.gid)
    # A folder may have inherited that group with its setgid bit, which a chmod would take away.
    if stat.S_IMODE(os.stat(path).st_mode) != member.mode:
        os.chmod(path, member.mode)
    os.utime(path, (member.mtime, member.mtime))


def _exchange(new: str, old: str) -> None:
    if _status(new) is None:
        _remove(old)
    elif _status(old) is None:
        os.rename(new, old)
    else:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        paths = (os.fsencode(new), os.fsencode(old))
        if libc.renameat2(-100, paths[0], -100, paths[1], 2) != 0:  # RENAME_EXCHANGE
            if ctypes.get_errno() == errno.EBUSY:  # a mount, which could only be emptied
                raise OSError("%s is a mount, which cannot be exchanged" % old)
            _remove(old)  # not every file system or kernel exchanges; overlayfs not every folder
            os.rename(new, old)


def _remove(path: str) -> None:
    import shutil

    found = _status(path)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        if found.st_uid == os.geteuid():
            os.chmod(path, 0o700)
        for _ in _walk(path, opens=True):
            pass
        shutil.rmtree(path)
    else:
        os.unlink(path)


def remove(paths: List[str]) -> None:
    """Remove files and folders."""
    for path in paths:
        _remove(path)


def write(path: str, text: str, mode: int, gid: int) -> None:
    """Make a file have this content (latin-1, one character a byte), whole or not at all."""
    with _exchanged(path, "%s/.misp-workers-%d" % (os.path.dirname(path), os.getpid())) as file:
        file.write(text.encode("latin-1"))
        with contextlib.suppress(OSError):  # the web user is not in that group
            os.fchown(file.fileno(), -1, gid)
        os.fchmod(file.fileno(), mode)
    _label(path)


@contextlib.contextmanager
def _exchanged(path: str, new: str) -> Iterator[BinaryIO]:
    """A new file to be written, which takes the place of `path` once it is whole and on disk."""
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(number)
        os.rename(new, path)
    except OSError:  # a full quota, or `path` is a mount: none stays that may hold passwords
        _remove(new)
        raise


def _label(path: str) -> None:
    """SELinux gives a new file the label of its folder; MISP's own rule may differ."""
    for program in ("/usr/sbin/restorecon", "/sbin/restorecon"):
        if os.path.exists("/sys/fs/selinux/enforce") and os.path.exists(program):
            subprocess.call([program, path], stderr=subprocess.DEVNULL)
            return


def store(folder: str, name: str) -> str:
    """Write standard input to a file that MISP's old workers will read; its path."""
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o770)
    path = folder + "/" + name
    _remove(path + ".new")
    with _exchanged(path, path + ".new") as file, os.fdopen(0, "rb") as source:
        for chunk in iter(lambda: source.read(1 << 18), b""):
            file.write(chunk)
    return path
