"""The only way to act as the web user, who is taken for hostile.

Whatever belongs to MISP is read, run and changed by a child that has the web user's identity from
its first instruction on: groups, gid and uid are set before the working directory, descriptors
above 2 are closed, no_new_privs is set, and time, output and memory are limited. The child is told
nothing that the web user may not know.
"""

import contextlib
import os
import signal
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from tasks.host import programs
from tasks.host.errors import WebUserError
from tasks.host.programs import Finished, ProgramError
from tasks.host.remedies import quoted
from tasks.host.web_user import WebUser

PATH = "/usr/local/bin:/usr/bin:/bin"  # bash's own default: a job of MISP's has no PATH
_MEMORY = 4 << 30  # bytes of address space; Composer takes 1.5 GB of it
_NO_NEW_PRIVS = 38  # PR_SET_NO_NEW_PRIVS, linux/prctl.h


class TooMuchError(WebUserError):
    """A child gave more than it may."""


class LateError(WebUserError):
    """A child did not end in its time."""


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
        "PATH": PATH,
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
            preexec_fn=lambda: _become(user, cwd, libc),  # noqa: PLW1509 - there are no threads
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "strerror", "") or error
        raise ProgramError("%s cannot be run as %s: %s" % (words[0], user.name, why)) from None


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
    return _value(_forked(user, function, arguments, None, timeout, limit), user, function)


def feed(
    user: WebUser, function: Callable[..., Any], path: str, *arguments: Any, timeout: float = 900.0
) -> Any:
    """As `ask`; the function's standard input is a file of root's, which it can only read."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _value(_forked(user, function, arguments, number, timeout, 1 << 20), user, function)
    finally:
        os.close(number)


def speak(
    user: WebUser, function: Callable[..., Any], number: int, *arguments: Any, timeout: float = 30.0
) -> Any:
    """As `ask`; the function's standard input is a connection that only root could make."""
    return _value(_forked(user, function, arguments, number, timeout, 1 << 20), user, function)


def feed_bytes(
    user: WebUser, function: Callable[..., Any], data: bytes, *arguments: Any, timeout: float = 60.0
) -> Any:
    """As `feed`, with these bytes: a file without a name, so that no size blocks a pipe."""
    import tempfile

    with tempfile.TemporaryFile(dir="/run") as file:
        file.write(data)
        file.flush()
        file.seek(0)
        # Opened anew, for reading only.
        number = os.open("/proc/self/fd/%d" % file.fileno(), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _value(
                _forked(user, function, arguments, number, timeout, 1 << 20), user, function
            )
        finally:
            os.close(number)


def save(
    user: WebUser, function: Callable[..., Any], path: str, *arguments: Any, timeout: float = 900.0
) -> None:
    """Keep in a file of root's what the function writes to standard output, whole or not at all.

    Raises:
        WebUserError: the function failed, took too long, or the disk would be full.
    """
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(number, "wb") as file:
        try:
            _forked(user, function, arguments, None, timeout, _free(path), file)
        except OSError as error:
            raise WebUserError("%s cannot be written: %s" % (path, error.strerror)) from None
        except TooMuchError:
            raise WebUserError(
                "no room in %s to keep what the next step changes: make room, and run again"
                % os.path.dirname(path)
            ) from None
        file.flush()
        os.fsync(file.fileno())


def _free(path: str) -> int:
    """Bytes that may be written: the host keeps 64 MiB."""
    found = os.statvfs(os.path.dirname(path))
    return max(0, found.f_bavail * found.f_frsize - (64 << 20))


def _value(answer: bytes, user: WebUser, function: Callable[..., Any]) -> Any:
    import json

    try:
        value = json.loads(answer.decode("utf-8"))
        error = value.get("error")
    except (ValueError, AttributeError, RecursionError):
        value, error = {}, "what %s does as %s came to no end" % (function.__name__, user.name)
    if error is not None or "value" not in value:
        raise WebUserError(quoted(str(error)))
    return value["value"]


def _forked(
    user: WebUser,
    function: Callable[..., Any],
    arguments: Tuple[Any, ...],
    stdin: Optional[int],
    timeout: float,
    limit: int,
    file: Any = None,
) -> bytes:
    libc = _libc()
    reading, writing = os.pipe()
    telling, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        _in_the_child(user, function, arguments, (stdin, writing, said), libc, file is not None)
    os.close(writing)
    os.close(said)
    deadline = time.monotonic() + timeout
    try:
        answer = _copy(reading, deadline, limit, function.__name__, file)
        complaint = _copy(telling, deadline, 4096, function.__name__, None)
    finally:
        os.close(reading)
        os.close(telling)
        _kill(pid)
    if complaint:
        raise WebUserError(quoted(complaint.decode("utf-8", "replace")))
    return answer


def _in_the_child(
    user: WebUser,
    function: Callable[..., Any],
    arguments: Tuple[Any, ...],
    streams: Tuple[Optional[int], int, int],
    libc: Any,
    is_stream: bool,
) -> None:
    import json

    try:
        os.setsid()
        empty = os.open("/dev/null", os.O_RDWR)
        for target, number in enumerate(streams):
            os.dup2(empty if number is None else number, target)
        os.closerange(3, 4096)
        _become(user, "/", libc)
        value = function(*arguments)
        if not is_stream:
            _write_all(1, json.dumps({"value": value}).encode("ascii"))
    except BaseException as error:
        _write_all(2, (str(error) or type(error).__name__).encode("utf-8", "replace")[:400])
    finally:
        os._exit(0)


def _write_all(number: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]


def _copy(reading: int, deadline: float, limit: int, name: str, file: Any) -> bytes:
    """What comes out of a pipe, or nothing where it goes into a file."""
    import select

    answer = bytearray()
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            raise LateError("%s did not end in time as the web user" % name)
        chunk = os.read(reading, 65536)
        if not chunk:
            return bytes(answer)
        size += len(chunk)
        if size > limit:
            raise TooMuchError("%s gives more than %d KiB as the web user" % (name, limit >> 10))
        if file is None:
            answer += chunk
        else:
            file.write(chunk)


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
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
