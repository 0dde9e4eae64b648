"""The only way to act as the web user, who is taken for hostile.

Whatever belongs to MISP is read, run and changed by a child that has the web user's identity from
its first instruction on: groups, gid and uid are set before the working directory, descriptors
above 2 are closed, no_new_privs is set, and time, output and memory are limited. The child is told
nothing that the web user may not know.
"""

import os
import pwd
import signal
import stat
import subprocess
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tasks.host import programs
from tasks.host.errors import WebUserError
from tasks.host.programs import Finished, ProgramError

# Members of these are root on most systems, or read what only root may.
PRIVILEGED = frozenset(
    (
        "root",
        "sudo",
        "wheel",
        "admin",
        "docker",
        "lxd",
        "libvirt",
        "adm",
        "shadow",
        "disk",
        "kmem",
        "staff",
    )
)
NO_LOGIN = ("nologin", "false", "sync", "")
_PATH = "/usr/local/bin:/usr/bin:/bin"  # bash's own default: a job of MISP's has no PATH
_MEMORY = 4 << 30  # bytes of address space; Composer takes 1.5 GB of it
_NO_NEW_PRIVS = 38  # PR_SET_NO_NEW_PRIVS, linux/prctl.h


class WebUser(NamedTuple):
    """The account that MISP runs as."""

    name: str
    uid: int
    gid: int
    groups: Tuple[int, ...]
    home: str
    group: str


def identify(misp_root: str, wanted: str, login: str) -> WebUser:
    """Who the web user is, before anything of MISP's is read or run.

    Args:
        wanted: the operator's misp_web_user; empty: the owner of config.php.
        login: the user who called sudo, who is not the web user.

    Raises:
        WebUserError: nobody is, or it is somebody whose rights MISP must not get.
    """
    path = misp_root + "/app/Config/config.php"
    parts = _components(os.path.realpath(misp_root), "app/Config/config.php")
    owner = parts[-1][1].st_uid
    try:
        entry = pwd.getpwnam(wanted) if wanted else pwd.getpwuid(owner)
    except KeyError:
        who = wanted or "with the number %d, who owns %s," % (owner, path)
        raise WebUserError(
            "the web user %s does not exist on this host: set misp_web_user" % who
        ) from None
    user = _web_user(entry)
    _check_rights(user, entry.pw_shell, bool(wanted), login, path)
    for name, found in parts:
        if found.st_uid not in (0, user.uid) and (name != path or not wanted):
            raise WebUserError(
                "%s belongs to neither root nor %s, so whose code is there cannot be told: "
                "correct its owner, or misp_web_user" % (name, user.name)
            )
    return user


def _components(root: str, below: str) -> List[Tuple[str, os.stat_result]]:
    """Each folder on the way to config.php, and that file itself; a link ends the look."""
    names = [name for name in root.split("/") if name] + below.split("/")
    path, found = "", []  # type: str, List[Tuple[str, os.stat_result]]
    for name in names:
        path += "/" + name
        try:
            status = os.lstat(path)
        except OSError as error:
            raise WebUserError(
                "%s: %s. Check misp_root, or finish MISP's own installation"
                % (path, error.strerror)
            ) from None
        is_last = len(found) == len(names) - 1
        if not (stat.S_ISREG if is_last else stat.S_ISDIR)(status.st_mode):
            raise WebUserError(
                "%s is a link or no plain %s: its owner cannot be trusted to be MISP's. Put the "
                "real one in its place" % (path, "file" if is_last else "folder")
            )
        if is_last and status.st_nlink > 1:
            raise WebUserError(
                "%s has a second name (hard link), so it may be another user's file: copy it and put the copy in its place"
                % path
            )
        if not is_last and status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise WebUserError(
                "every user may write in %s: take that right away (chmod o-w)" % path
            )
        found.append((path, status))
    return found


def _web_user(entry: Any) -> WebUser:
    import grp

    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    try:
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        group = str(entry.pw_gid)
    return WebUser(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, group)


def _check_rights(user: WebUser, shell: str, is_named: bool, login: str, path: str) -> None:
    import grp

    if user.uid == 0:
        raise WebUserError(
            "%s belongs to root, as after a cake command that root ran, or misp_web_user is root. "
            "MISP runs as its web user alone: give app/Config and app/tmp back to that user (chown)"
            % path
        )
    for gid in user.groups:
        try:
            name = grp.getgrgid(gid).gr_name
        except KeyError:
            continue
        if name in PRIVILEGED:
            raise WebUserError(
                "the web user %s is in the group %s, whose members have root's rights or nearly: "
                "MISP's code would have them too. Take it out of that group" % (user.name, name)
            )
    if user.name == login:
        raise WebUserError(
            "the web user %s is the user you log in as, who may become root: MISP needs a user of its own"
            % user.name
        )
    if os.path.basename(shell) not in NO_LOGIN and not is_named:
        raise WebUserError(
            "%s belongs to %s, an account for people (its shell is %s): if MISP really runs as this "
            "user set misp_web_user, else give the file back to the web user (chown)"
            % (path, user.name, shell)
        )


def run(
    user: WebUser,
    words: List[str],
    cwd: str = "/",
    data: bytes = b"",
    timeout: float = 60.0,
    limit: int = 1 << 20,
    environment: Optional[Dict[str, str]] = None,
) -> Finished:
    """Run a program as the web user, with `data` on its standard input.

    Raises:
        ProgramError: it cannot be started, or exceeded a limit.
    """
    return programs.finish(start(user, words, cwd, environment), data, timeout, limit, words[0])


def start(
    user: WebUser, words: List[str], cwd: str = "/", environment: Optional[Dict[str, str]] = None
) -> Any:
    """Start a program as the web user; its three streams are pipes (a `subprocess.Popen`)."""
    libc = _libc()
    base = {
        "PATH": _PATH,
        "LC_ALL": "C",
        "HOME": user.home,
        "USER": user.name,
        "LOGNAME": user.name,
    }
    try:
        return subprocess.Popen(
            words,
            env=dict(base, **(environment or {})),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: _become(user, cwd, libc),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ProgramError("%s cannot be run as %s: %s" % (words[0], user.name, error)) from None


def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _become(user: WebUser, cwd: str, libc: Any) -> None:
    import resource

    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError("no_new_privs is refused by the kernel")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.umask(0o022)
    os.chdir(cwd)


def ask(
    user: WebUser,
    function: Callable[..., Any],
    *arguments: Any,
    timeout: float = 30.0,
    limit: int = 1 << 20,
) -> Any:
    """What one of our own functions gives when it runs as the web user, as JSON has it.

    The function's answer is the web user's word: the caller checks it.

    Raises:
        WebUserError: the function failed, or took too long or too much.
    """
    import json

    answer = _forked(user, function, arguments, None, timeout, limit)
    try:
        value = json.loads(answer.decode("utf-8"))
        if "error" in value:
            raise WebUserError(str(value["error"])[:400])
        return value["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WebUserError(
            "what %s does as %s came to no end" % (function.__name__, user.name)
        ) from None


def feed(
    user: WebUser, function: Callable[..., Any], path: str, *arguments: Any, timeout: float = 600.0
) -> Any:
    """As `ask`; the function's standard input is a file of root's, which it can only read."""
    import json

    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        value = json.loads(
            _forked(user, function, arguments, number, timeout, 1 << 20).decode("utf-8")
        )
    except ValueError:
        value = {"error": "what %s does as %s came to no end" % (function.__name__, user.name)}
    finally:
        os.close(number)
    if not isinstance(value, dict) or "error" in value:
        raise WebUserError(
            str(value.get("error") if isinstance(value, dict) else "an odd answer")[:400]
        )
    return value.get("value")


def _forked(
    user: WebUser,
    function: Callable[..., Any],
    arguments: Tuple[Any, ...],
    stdin: Optional[int],
    timeout: float,
    limit: int,
) -> bytes:
    libc = _libc()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _in_the_child(user, function, arguments, stdin, writing, libc)
    os.close(writing)
    try:
        return _answer_of(reading, time.monotonic() + timeout, limit, function.__name__)
    finally:
        os.close(reading)
        _kill(pid)


def _in_the_child(
    user: WebUser,
    function: Callable[..., Any],
    arguments: Tuple[Any, ...],
    stdin: Optional[int],
    writing: int,
    libc: Any,
) -> None:
    import json

    try:
        os.setsid()
        empty = os.open("/dev/null", os.O_RDWR)
        for number, target in (
            (stdin if stdin is not None else empty, 0),
            (writing, 1),
            (empty, 2),
        ):
            os.dup2(number, target)
        os.closerange(3, 4096)
        _become(user, "/", libc)
        try:
            answer = {"value": function(*arguments)}
        except Exception as error:
            answer = {"error": str(error) or type(error).__name__}
        view = memoryview(json.dumps(answer).encode("ascii"))
        while view:
            view = view[os.write(1, view) :]
    finally:
        os._exit(0)


def _answer_of(reading: int, deadline: float, limit: int, name: str) -> bytes:
    import select

    answer = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            raise WebUserError("%s did not end in time as the web user" % name)
        chunk = os.read(reading, 65536)
        if not chunk:
            return bytes(answer)
        answer += chunk
        if len(answer) > limit:
            raise WebUserError("%s answers more than %d KiB as the web user" % (name, limit >> 10))


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    os.waitpid(pid, 0)


def signal_as(user: WebUser, pids: List[int], number: int) -> List[int]:
    """Send a signal with the web user's rights, so that it can hit no one else's process.

    Returns the PIDs that took it.
    """
    taken = ask(user, _send, list(pids), int(number)) if pids else []
    return [pid for pid in pids if pid in taken]


def _send(pids: List[int], number: int) -> List[int]:
    taken = []
    for pid in pids:
        try:
            os.kill(pid, number)
            taken.append(pid)
        except OSError:
            pass
    return taken
