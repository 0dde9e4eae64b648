"""PHP-FPM, asked by a request of its own: what it may do is not what the command line may do.

The request goes to the socket on which PHP-FPM's master listens, as the web server's do. Its script
is bridge.php, which the web user puts into app/tmp for that moment, and may exchange for another
one. So only a pool that runs as he does is asked: another one would run his code as its own user.
A pool's child has no other pool's listening socket, which tells whose a socket is.

The folder of such a socket is the web user's on Debian, and he could turn its path to a socket that
only root may use. So nothing is sent before the kernel has said that PHP-FPM's master listens.
"""

import contextlib
import json
import os
import re
import socket
import stat
import struct
import time
from typing import Any, Dict, Iterator, List, Set, Tuple

from tasks.host import bridge, gate
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.parts import Pool
from tasks.host.processes import PROC, Process, Table, tcp_rows
from tasks.host.sockets import ambiguous, unix_rows
from tasks.host.versions import version_of

_SECONDS = 10.0  # for one pool
_ALL_SECONDS = 30.0
_ANSWER = 1 << 16  # bytes; as JSON it takes six times as many at most
_BEGIN, _END, _PARAMETERS, _INPUT, _OUTPUT = 1, 3, 4, 5, 6  # types of FastCGI's records
_NEW = ".misp-workers-asked-"
_HIDDEN = "somebody has given another socket a name that hides it in /proc/net/unix"
_CHILDLESS = "it has no process now that would say as whom it runs"
_QUESTIONS = ("php", "config")  # of bridge.php
_MOST = 20  # sockets that are asked

_PLAIN = re.compile(r"/[A-Za-z0-9._/+-]+\Z")

Address = Tuple[str, int]  # a socket file and 0, or a host and its port


class StrangerError(HostError):
    """Somebody else than PHP-FPM's master listens. Nothing was sent."""


def look(one: Misp, table: Table, proc: str = PROC) -> List[Pool]:
    """Every pool of PHP-FPM that runs as the web user, or may do so.

    None where Apache itself runs PHP as the web user.
    """
    his = [process.name for process in table.web_tier() if process.uid == one.user.uid]
    if not all(map(_is_fpm, his)):
        return []
    until = time.monotonic() + _ALL_SECONDS
    masters = [process for process in table.web_tier() if _is_master(process, table)]
    pids = {master.pid for master in masters}
    pools = []
    for at, inode in _addresses(masters, proc)[:_MOST]:
        uids = _uids(inode, masters, table)
        if not uids:
            pools.append(_silent(_shown(at), _CHILDLESS, may_be_fit=True))
        elif uids == {one.user.uid}:
            pools.append(_asked(one, at, pids, until))
    if ambiguous(proc) & {inode for master in masters for inode in master.sockets()}:
        pools.append(_silent("a socket of its", _HIDDEN, may_be_fit=True))
    return pools


def _uids(inode: int, masters: List[Process], table: Table) -> Set[int]:
    """As whom the children run that take connections from a listening socket."""
    children = [child for master in masters for child in table.children(master.pid)]
    return {child.uid for child in children if inode in child.sockets()}


def _is_fpm(name: str) -> bool:
    return name.startswith("php-fpm")


def _addresses(masters: List[Process], proc: str) -> List[Tuple[Address, int]]:
    """Where these listen, each with its socket's inode."""
    inodes = {inode for one in masters for inode in one.sockets()}
    if not inodes:
        return []
    named = [row for row in unix_rows(proc) if row.is_listening and row.name]
    found: List[Tuple[Address, int]] = [
        ((row.name, 0), row.inode) for row in named if row.inode in inodes
    ]
    rows = [row for row in tcp_rows(proc) if row.is_listening and row.inode in inodes]
    return found + sorted({((_host(row.address), row.port), row.inode) for row in rows})


def _host(address: str) -> str:
    """Where somebody is reached who listens at this address of /proc/net/tcp or tcp6."""
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    if not any(words):
        return "127.0.0.1"
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack("=%dI" % len(words), *words))


def _is_master(one: Process, table: Table) -> bool:
    """PHP-FPM's master is root's; whatever else has its name is a look-alike."""
    parent = table.get(one.parent)
    is_child = parent is not None and parent.name == one.name
    return _is_fpm(one.name) and one.is_wholly_roots and not is_child


def _asked(one: Misp, at: Address, masters: Set[int], until: float) -> Pool:
    where = _shown(at)
    seconds = min(_SECONDS, until - time.monotonic())
    if seconds <= 0:
        return _silent(where, "the others took all the time", may_be_fit=True)
    try:
        with contextlib.closing(_connected(at, masters, seconds)) as connection:
            found = gate.speak(
                one.user, ask, connection.fileno(), one.site.app, bridge.CODE, timeout=seconds
            )
    # A full queue of connections is told at once by a socket that has a time limit.
    except (gate.LateError, socket.timeout, BlockingIOError):
        return _silent(where, "no answer within %.0f s" % seconds, may_be_fit=True)
    except StrangerError as error:
        return _silent(where, str(error), may_be_fit=True)
    except OSError as error:
        return _silent(where, error.strerror or str(error))
    except (HostError, ValueError) as error:  # a path beyond Python 3.6's C locale is a ValueError
        return _silent(where, str(error))
    return _read(where, found) if isinstance(found, str) else _silent(where, "an odd answer")


def _shown(at: Address) -> str:
    if at[1]:
        return ("[%s]:%d" if ":" in at[0] else "%s:%d") % at
    return at[0] if _PLAIN.match(at[0]) else "a socket with an odd name"


def _connected(at: Address, masters: Set[int], seconds: float) -> socket.socket:
    is_file, host = not at[1], at[0]
    family = socket.AF_UNIX if is_file else socket.AF_INET6 if ":" in host else socket.AF_INET
    if is_file and not stat.S_ISSOCK(os.lstat(host).st_mode):
        raise StrangerError("it is no socket now")
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(host if is_file else at)
        if is_file:
            _prove(connection, masters)
        connection.settimeout(None)  # the child's standard input is this very file
    except (OSError, HostError, ValueError):
        connection.close()
        raise
    return connection


def _prove(connection: socket.socket, masters: Set[int]) -> None:
    """Have the kernel say who has called listen().

    Not systemd (PID 1) either, for whom others' sockets listen as well: docker's makes root of
    whoever gets a connection to it.
    """
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", data)
    if uid != 0 or pid not in masters:
        raise StrangerError("PID %d of user %d listens there, not PHP-FPM's master" % (pid, uid))


def _silent(where: str, error: str, may_be_fit: bool = False) -> Pool:
    return Pool(where, error, (0, 0, 0), [], [], "", False, "", may_be_fit)


def _read(where: str, text: str) -> Pool:
    """Read PHP-FPM's answer. It is the web user's word: each part may be missing or odd."""
    head, _, rest = text.partition("\r\n\r\n")
    found = [one for one in map(_line, rest.splitlines()) if "value" in one or "error" in one]
    if len(found) == len(_QUESTIONS):
        php, config = found[0].get("value"), found[1].get("error", "")
        return _pool(where, php, config) if isinstance(php, dict) else _silent(where, "no answer")
    said = " ".join((head + " " + rest).split())[:300]
    return _silent(where, said or "it closes the connection")


def _line(text: str) -> Dict[str, Any]:
    try:
        found = bridge.strict(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _pool(where: str, php: Dict[str, Any], config: Any) -> Pool:
    extensions = php.get("extensions")
    return Pool(
        where,
        "",
        version_of(_text(php.get("version"))),
        [_text(name)[:60] for name in extensions][:300] if isinstance(extensions, list) else [],
        bridge.listed(php.get("disabled")),
        _text(php.get("basedir"))[:500],
        php.get("proc") is True,
        _text(config)[:300],
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def ask(app: str, code: str) -> str:
    """Ask the PHP-FPM on standard input; return its answer, headers first. Runs as the web user."""
    with _script(app + "/tmp", code) as path, socket.socket(fileno=os.dup(0)) as connection:
        root = os.path.dirname(app)
        body = "".join(json.dumps({"do": one, "root": root}) + "\n" for one in _QUESTIONS)
        connection.sendall(request(path, body.encode()))
        return answer(connection)


@contextlib.contextmanager
def _script(folder: str, code: str) -> Iterator[str]:
    """A file of PHP for one moment; those of a run that was cut off are removed."""
    for name in os.listdir(folder):
        if name.startswith(_NEW):
            with contextlib.suppress(OSError):
                os.unlink(folder + "/" + name)
    path = "%s/%s%s.php" % (folder, _NEW, os.urandom(16).hex())
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(("<?php\n" + code).encode("utf-8"))
        yield path
    finally:
        os.unlink(path)


def request(path: str, body: bytes) -> bytes:
    """A FastCGI request that runs a script, as bytes."""
    parameters = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "POST",
        "SCRIPT_FILENAME": path,
        "SCRIPT_NAME": "/" + os.path.basename(path),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/octet-stream",
        "CONTENT_LENGTH": str(len(body)),
    }
    pairs = b"".join(_pair(name, value) for name, value in parameters.items())
    return b"".join(
        (
            _record(_BEGIN, struct.pack(">HB5x", 1, 0)),  # a responder that closes the connection
            _record(_PARAMETERS, pairs),
            _record(_PARAMETERS, b""),
            _record(_INPUT, body),
            _record(_INPUT, b""),
        )
    )


def _pair(name: str, value: str) -> bytes:
    texts = name.encode(), value.encode("utf-8", "surrogateescape")
    return b"".join(struct.pack(">I", len(one) | 1 << 31) for one in texts) + b"".join(texts)


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content


def answer(connection: socket.socket) -> str:
    """Return the script's output, its headers first, without the lines for the log."""
    said = b""
    with connection.makefile("rb") as stream:
        while True:
            header = stream.read(8)
            if len(header) < 8:
                break
            _, kind, _, length, padding = struct.unpack(">BBHHBx", header)
            content = stream.read(length + padding)[:length]
            said += content if kind == _OUTPUT else b""
            if kind == _END or len(said) > _ANSWER:
                break
    return said[:_ANSWER].decode("utf-8", "replace")
