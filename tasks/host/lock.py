"""One run at a time on a host, and one step at a time of a run.

A step holds the file lock while it works: it may go on after the connection that started it is
gone, and the next step waits for its end. Between its steps a run holds a lease: as long as its
login session lives, and as the controller's heartbeat renews it. A run whose controller is dead
loses it with the session or, where the network has just gone silent, within `LEASE` seconds. A run
that comes back after that goes on only where no other run has had the host meanwhile. Both are in
a folder that only root may enter.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from tasks.host import files
from tasks.host.errors import HostError
from tasks.host.parts import RunState

FOLDER = "/run/misp-workers-migration"
LEASE = 90.0  # seconds
IF_DEAD = (
    "wait until that run has ended. If it is dead, it loses the host after %d s; "
    "--data take_over=true takes the host at once" % LEASE
)
_PATIENCE = 900.0  # seconds to wait for a step that is at work

_BETWEEN = ("sudo", "su", "doas", "env", "python", "platform-python")

_held: List[Any] = []  # the open lock file; closed by the process's end


class LockError(HostError):
    """Another run, or an earlier step, is at work on this host."""


def none(run: str, owner: str, takes_over: bool, has_held: bool = False) -> None:
    """Neither wait nor hold: for looks that say whether a run is at work."""


def wait(run: str, owner: str, takes_over: bool, has_held: bool = False) -> None:
    """Wait for a step that is at work; then renew the run's lease, if it has it.

    Raises:
        LockError: this run had the host and has lost it, or a step is at work for too long.
    """
    if not os.path.isdir(FOLDER):
        _check_kept(None, run, has_held)
        return
    with open(_file("step"), "a") as lock:
        _flock(lock, fcntl.LOCK_SH, _PATIENCE)
        with _lease_to_change() as lease:
            _check_kept(lease, run, has_held)
            if lease and lease["run"] == run:
                _take(run, owner, lease["since"])


def hold(run: str, owner: str, takes_over: bool, has_held: bool = False) -> None:
    """Begin a step of a run.

    Args:
        has_held: the run has begun a step here before, so the lease has to be still its own.

    Raises:
        LockError: another run has the host or has had it since the last step, or an earlier step is
            still at work.
    """
    files.make_folder(FOLDER, 0o700)
    lock = open(_file("step"), "a")  # noqa: SIM115 - held to the end of the process
    _held.append(lock)
    _flock(lock, fcntl.LOCK_EX, _PATIENCE)
    with _lease_to_change() as lease:
        _check_kept(lease, run, has_held)
        words = holder(run)
        if words and not takes_over:
            raise LockError("%s: %s" % (words, IF_DEAD))
        is_ours = lease and lease["run"] == run
        _take(run, owner, lease["since"] if lease and is_ours else time.strftime("%FT%T"))


def _check_kept(lease: Optional[Dict[str, Any]], run: str, has_held: bool) -> None:
    """What a run knows of a host that another one may have changed since is worth nothing."""
    if not has_held or (lease and lease["run"] == run):
        return
    who = "the host was started anew"
    if lease:
        who = "%s has been at work on it since %s" % (lease["owner"], lease["since"])
    raise LockError(
        "this run has lost this host (%s), so it does no more here. See how the host is now "
        "(its status), then run again" % who
    )


def renew(run: str) -> bool:
    """Renew a run's lease between its steps; whether it still has it."""
    if not os.path.isdir(FOLDER):
        return False
    with _lease_to_change() as lease:
        if not lease or lease["run"] != run:
            return False
        _take(run, lease["owner"], lease["since"])
    return True


def holder(run: str) -> str:
    """Who else has the host now, in words; empty: nobody."""
    lease = _lease()
    if not lease or lease["run"] == run or _now() >= lease["until"] or not _lives(lease):
        return ""
    return "%s has been at work on this host since %s" % (lease["owner"], lease["since"])


def state(state_dir: str) -> RunState:
    """Whether a step is at work, and who had the host last."""
    lease = _lease()
    last = "%s since %s" % (lease["owner"], lease["since"]) if lease else ""
    return RunState(os.path.isdir(state_dir), _is_at_work(), last)


def _is_at_work() -> bool:
    try:
        with open(_file("step")) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


def _flock(lock: Any, kind: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        if time.monotonic() >= end:
            lease = _lease() or {"owner": "somebody", "since": "an unknown time"}
            raise LockError(
                "a step of the run that %s began at %s is still at work on this host after %d "
                "minutes: see what holds %s"
                % (lease["owner"], lease["since"], patience / 60, _file("step"))
            )
        time.sleep(0.05)


@contextlib.contextmanager
def _lease_to_change() -> Iterator[Optional[Dict[str, Any]]]:
    """The lease; nobody else changes it meanwhile, as a heartbeat does while a run begins."""
    with open(_file("lease.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for a moment by each
        yield _lease()


def _file(name: str) -> str:
    return FOLDER + "/" + name


def _now() -> float:
    return time.clock_gettime(7)  # CLOCK_BOOTTIME: no clock is set back in it; /run goes at a boot


def _take(run: str, owner: str, since: str) -> None:
    lease = {"run": run, "owner": owner, "since": since, "until": _now() + LEASE}
    lease["session"] = _session()
    files.write(_file("lease"), json.dumps(lease).encode())


def _session() -> List[int]:
    """PID and start of what has started this: sshd's process for the connection."""
    pid = os.getpid()
    while pid > 1:
        name, parent, started = _process(pid)
        if not started:
            break
        if not name.endswith("sh") and not name.startswith(_BETWEEN):
            return [pid, started]
        pid = parent
    return [0, 0]  # the connection was gone before this began


def _lives(lease: Dict[str, Any]) -> bool:
    pid, started = lease["session"]
    return bool(pid > 1 and started and _process(pid)[2] == started)


def _process(pid: int) -> Tuple[str, int, int]:
    """Name, parent and start time; nothing of these where it has ended."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            head, _, tail = file.read(4096).rpartition(b")")
    except OSError:
        return "", 0, 0
    fields = tail.split()
    return head.partition(b"(")[2].decode("ascii", "replace"), int(fields[1]), int(fields[19])


def _lease() -> Optional[Dict[str, Any]]:
    data = files.read(_file("lease"), 4096)
    try:
        lease = json.loads(data.decode()) if data else None
    except (ValueError, RecursionError):
        return None
    return lease if _is_lease(lease) else None


def _is_lease(lease: Any) -> bool:
    """What is no lease of ours, as after a full disk, must keep nobody out."""
    if not isinstance(lease, dict) or not isinstance(lease.get("session"), list):
        return False
    texts = [lease.get(key) for key in ("run", "owner", "since")]
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(lease.get("until"), (int, float))
        and [type(number) for number in lease["session"]] == [int, int]
    )
