"""Supervisord, asked and told over its RPC.

The RPC is spoken directly: supervisorctl is a Python to be started, and it takes socket and
password from a section of its own, which may say something else than supervisord's.
"""

import base64
import os
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from tasks.host import peer
from tasks.host.errors import HostError, RefusedError
from tasks.host.parts import Worker
from tasks.host.processes import PROC, process
from tasks.host.site import GROUP
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser, name_of

ASK = 10.0  # seconds for an answer
ACT = 150.0  # seconds for one that comes when programs have stopped
_REPLY = 1 << 24  # bytes
_FAULTY_FILES = 92  # CANT_REREAD, supervisor/xmlrpc.py


class NoAnswerError(HostError):
    """Supervisord does not answer, or not in a way that can be understood."""


class PasswordError(HostError):
    """Supervisord refuses user and password."""


class FaultError(HostError):
    """Supervisord refuses a call; the text is its own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class FaultyFilesError(RefusedError):
    """Supervisord cannot read its files; it goes on with what it had."""


class Door(NamedTuple):
    """A way to supervisord: a socket file, or else a port on the loopback."""

    path: str
    port: int
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return self.path or "127.0.0.1:%d" % self.port  # never the password


class Changes(NamedTuple):
    """Groups in which supervisord's files and what it has loaded differ."""

    added: List[str]
    changed: List[str]
    removed: List[str]


class Supervisord:
    """One supervisord, which is proven to be the one of `main_pid` at each call."""

    def __init__(self, door: Door, main_pid: int) -> None:
        self.door = door
        self.main_pid = main_pid

    def call(self, method: str, *arguments: Any, timeout: float = ASK) -> Any:
        """Call a method of its RPC.

        Raises:
            NobodyError, StrangerError: nothing was sent.
            PasswordError, FaultError: it refuses.
            NoAnswerError: no answer in time, or an odd one.
        """
        import xmlrpc.client

        status, body = self._post(xmlrpc.client.dumps(arguments, method), timeout)
        if status == 401:
            raise PasswordError("supervisord refuses user and password at %r" % (self.door,))
        if status != 200:
            raise NoAnswerError("supervisord answers %s with HTTP status %d" % (method, status))
        try:
            return xmlrpc.client.loads(body.decode("utf-8", "replace"))[0][0]
        except xmlrpc.client.Fault as fault:
            raise FaultError(fault.faultCode, fault.faultString) from None
        except Exception as error:
            raise NoAnswerError("supervisord's answer cannot be read: %s" % error) from None

    def _post(self, text: str, timeout: float) -> Tuple[int, bytes]:
        import http.client

        door = self.door
        if door.path:
            connection = peer.connect_unix(door.path, self.main_pid, timeout)
        else:
            connection = peer.connect_tcp(door.port, self.main_pid, timeout)
        client = http.client.HTTPConnection("localhost")
        client.sock = connection
        headers = {"Content-Type": "text/xml", "Connection": "close"}
        if door.user or door.password:
            pair = ("%s:%s" % (door.user, door.password)).encode("utf-8")
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        try:
            client.request("POST", "/RPC2", text.encode("utf-8"), headers)
            reply = client.getresponse()
            body = reply.read(_REPLY + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(
                "supervisord gives no answer at %r: %s" % (door, error or type(error).__name__)
            ) from None
        finally:
            client.close()
        if len(body) > _REPLY:
            raise NoAnswerError("supervisord's answer is bigger than %d MiB" % (_REPLY >> 20))
        return reply.status, body

    def pid(self) -> int:
        """Its PID, as it says itself."""
        return _number(self.call("supervisor.getPID"))

    def status(self) -> List[Worker]:
        """All its programs' processes."""
        answer = self.call("supervisor.getAllProcessInfo")
        if not isinstance(answer, list):
            raise NoAnswerError("supervisord's list of programs is none")
        return [self._worker(one) for one in answer]

    def group(self) -> List[Worker]:
        """The processes of MISP's group."""
        return [one for one in self.status() if one.group == GROUP]

    def _worker(self, one: Any) -> Worker:
        try:
            name = one["name"] if one["name"] == one["group"] else "%(group)s:%(name)s" % one
            is_running = one["statename"] == "RUNNING"
            uptime = max(0, one["now"] - one["start"]) if is_running else 0
            pid = _number(one["pid"])
            return Worker(
                name, one["statename"], pid, uptime, str(one["description"]), self._user(pid)
            )
        except (KeyError, TypeError):
            raise NoAnswerError("supervisord's list of programs cannot be read") from None

    def _user(self, pid: int) -> str:
        found = process(PROC, pid) if pid else None
        return name_of(found.uid) if found else ""

    def reread(self) -> Changes:
        """Have it read its files and say what they change; nothing is started or stopped.

        Raises:
            FaultyFilesError: they are faulty; the text is its own.
        """
        try:
            answer = self.call("supervisor.reloadConfig", timeout=ACT)
        except FaultError as fault:
            if fault.code != _FAULTY_FILES:
                raise
            raise FaultyFilesError(" ".join(str(fault).split())) from None
        try:
            added, changed, removed = answer[0]
            return Changes(list(added), list(changed), list(removed))
        except (TypeError, ValueError, IndexError):
            raise NoAnswerError("supervisord's answer to reread cannot be read") from None

    def update(self, group: str = GROUP) -> bool:
        """Have it run one group as its files say; whether there was something to change."""
        changes = self.reread()
        if group in changes.removed or group in changes.changed:
            results = self.call("supervisor.stopProcessGroup", group, timeout=ACT)
            failed = [one for one in results if one.get("status") == 30]  # FAILED
            if failed:
                raise NoAnswerError(
                    "supervisord could not stop %s: %s" % (group, failed[0].get("description"))
                )
            self.call("supervisor.removeProcessGroup", group)
        if group in changes.added or group in changes.changed:
            self.call("supervisor.addProcessGroup", group)
        return any(group in names for names in changes)

    def start_group(self, group: str = GROUP) -> None:
        """Start those processes of a group that do not run; whether they stay shows later."""
        self.call("supervisor.startProcessGroup", group, False, timeout=ACT)

    def send_stop(self, names: Sequence[str]) -> List[str]:
        """Send processes their stop signal, without waiting; return those that got it.

        The signal is on its way when this returns: a frozen process takes it when it is thawed.
        """
        calls = [
            {"methodName": "supervisor.stopProcess", "params": [name, False]} for name in names
        ]
        results = self.call("system.multicall", calls, timeout=ACT) if calls else []
        return [name for name, result in zip(names, results) if result is True]

    def wait_for_stop(self, names: Sequence[str], seconds: float) -> bool:
        """Wait until none of these has a process; whether that came."""
        return wait_until(
            lambda: not any(one.pid for one in self.status() if one.name in names), seconds
        )


def answers_as_misp(door: Door, main_pid: int, web: Optional[WebUser] = None) -> str:
    """What MISP hears at its door: "ok", "401", or a reason.

    Args:
        web: who MISP is, for the right to use a socket file.
    """
    if not main_pid:
        return "supervisord does not run"
    if door.path and web is not None and not may_connect(door.path, web):
        return "the web user %s may not write to %s" % (web.name, door.path)
    try:
        pid = Supervisord(door, main_pid).pid()
    except PasswordError:
        return "401"
    except HostError as error:
        return str(error)
    return "ok" if pid == main_pid else "supervisord says that its PID is %d" % pid


def may_connect(path: str, web: WebUser) -> bool:
    """Whether the web user may use a socket file, by its mode and those of the folders above."""
    path = os.path.realpath(path)
    folders = [path[:end] or "/" for end, letter in enumerate(path) if letter == "/"]
    return all(_has_right(folder, 1, web) for folder in folders) and _has_right(path, 2, web)


def _has_right(path: str, right: int, web: WebUser) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    if found.st_uid == web.uid:
        return bool(found.st_mode >> 6 & right)
    if found.st_gid in (web.gid, *web.groups):
        return bool(found.st_mode >> 3 & right)
    return bool(found.st_mode & right)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise NoAnswerError("supervisord's answer is no number")
    return value
