"""The host's own programs, run as root: a list of words, a time limit, an output limit.

Nothing that belongs to MISP is run here; that is gate.py's.
"""

import os
import re
import selectors
import signal
import subprocess
import time
from typing import Any, Dict, List, NamedTuple, Optional

from tasks.host.errors import HostError
from tasks.host.remedies import quoted

# sudo's secure_path may lack the sbin folders, and "not found" must not read as "off".
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIMIT = 1 << 20  # bytes of output
_ERROR = re.compile(r"^(E: |Errors during |Error: ?\S|error: ?\S|Error:\s+Problem)", re.MULTILINE)
_SAID = 200  # lines
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C", "HOME": "/root"}


class ProgramError(HostError):
    """A program is missing, could not be started, ran for too long or printed too much."""


class LateError(ProgramError):
    """A program did not end in its time."""


class Finished(NamedTuple):
    """How a program ended; `status` is negative for a signal."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode("utf-8", "replace")

    @property
    def lines(self) -> List[str]:
        """Standard output by lines."""
        return self.text.splitlines()

    @property
    def complaint(self) -> str:
        """Its errors as apt and dnf mark them, else the end of what it printed; for a sentence."""
        said = (self.err.strip() or self.out.strip()).decode("utf-8", "replace")
        named = _ERROR.search(said)
        return quoted(" ".join((said[named.start() :] if named else said[-400:]).split()))

    @property
    def said(self) -> List[str]:
        """The end of all that it printed, by lines, for the run's log."""
        return (self.out + self.err).decode("utf-8", "replace").splitlines()[-_SAID:]


def find(name: str, places: str = PATH) -> str:
    """The program's path, empty when it is in none of these places."""
    for folder in places.split(":"):
        path = folder + "/" + name
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def run(
    *words: str,
    timeout: float = 60.0,
    limit: int = LIMIT,
    environment: Optional[Dict[str, str]] = None,
    data: bytes = b"",
) -> Finished:
    """Run a program as root.

    Args:
        data: its standard input; empty: it has none.

    Raises:
        ProgramError: it is missing, cannot be started, took longer than `timeout` or printed more
            than `limit`.
    """
    path = words[0] if words[0].startswith("/") else find(words[0])
    if not path:
        raise ProgramError("%s is missing on this host" % words[0])
    try:
        process = subprocess.Popen(
            [path, *list(words[1:])],
            cwd="/",
            env=dict(ENVIRONMENT, **(environment or {})),
            stdin=subprocess.PIPE if data else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:  # as where the interpreter in its first line is missing
        raise ProgramError("%s cannot be started: %s" % (path, error.strerror)) from None
    return finish(process, data, timeout, limit, os.path.basename(path))


def finish(process: Any, data: bytes, timeout: float, limit: int, name: str) -> Finished:
    """Feed a started process, collect what it prints, and end it at a limit.

    Its descendants may keep the pipes open: what counts is the process's own end.
    """
    outputs = {stream: bytearray() for stream in (process.stdout, process.stderr) if stream}
    deadline = time.monotonic() + timeout
    try:
        _exchange(process, data, outputs, deadline, limit, name)
        status = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise LateError("%s did not end within %g s" % (name, timeout)) from None
    finally:
        end(process)
    out, err = (bytes(outputs.get(stream, b"")) for stream in (process.stdout, process.stderr))
    return Finished(status, out, err)


def _exchange(
    process: Any,
    data: bytes,
    outputs: Dict[Any, bytearray],
    deadline: float,
    limit: int,
    name: str,
) -> None:
    left = memoryview(data)
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            if time.monotonic() > deadline:
                raise LateError("%s did not end in time" % name)
            ready = selector.select(0.1)
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    left = _write(selector, key.fileobj, left)
                else:
                    _read(selector, key.fileobj, outputs[key.fileobj])
            if sum(map(len, outputs.values())) > limit:
                raise ProgramError("%s printed more than %d KiB" % (name, limit >> 10))
            if not ready and process.poll() is not None:
                return


def _write(selector: Any, stream: Any, left: memoryview) -> memoryview:
    try:
        left = left[os.write(stream.fileno(), left[:65536]) :]
    except BrokenPipeError:
        left = left[:0]
    if not left:
        selector.unregister(stream)
        stream.close()
    return left


def _read(selector: Any, stream: Any, output: bytearray) -> None:
    chunk = os.read(stream.fileno(), 65536)
    if chunk:
        output += chunk
    else:
        selector.unregister(stream)


def end(process: Any) -> None:
    """Leave nothing behind: the whole group goes, unless it has ended by itself."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
