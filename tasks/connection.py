"""The SSH connection that pyinfra has to a host: made quick, and made again when it was cut."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from paramiko.ssh_exception import SSHException
from pyinfra import logger
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from tasks.errors import MigrationError
from tasks.report import recording
from tasks.untrusted import printable

Found = TypeVar("Found")

PATIENCE = 120.0  # seconds: for a network that is silent, and again for a connection to come back
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between two attempts; the last one stays
_MOMENT = 0.1
_CUTS = 5  # of one look, after which it is given up
_ERRORS = (EOFError, OSError, SSHException)  # what paramiko raises of a connection that has ended

# By these the kernel gives up a connection whose other side does not answer for PATIENCE. Without
# them a run waits for ever for a host that is gone while a step is at work on it.
_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 9}
_PROBES["TCP_USER_TIMEOUT"] = int(PATIENCE * 1000)  # for what was sent; Linux alone has it


class CutError(MigrationError):
    """The connection to the host has ended before the answer came."""


class GoneError(CutError):
    """The connection does not come back."""


def prepare(host: Host) -> None:
    """Have no command wait for the network, and a silent network noticed.

    paramiko leaves Nagle's algorithm on, and the kernel of the other side acknowledges after up to
    40 ms what it has no answer to yet: the end of each call's input would come that much later.
    OpenSSH turns it off, too. A connection through another host or a command has no socket of its
    own.
    """
    client: Any = _client(host)
    with contextlib.suppress(AttributeError, OSError):
        sock = client.get_transport().sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_cut(host: Host) -> bool:
    """Whether a connection that was made has ended."""
    client = _client(host)
    transport = client.get_transport() if client else None
    return client is not None and not (transport and transport.is_active())


def _client(host: Host) -> Any:
    return getattr(host.connector, "client", None)  # pyinfra's other connectors have none


def once(host: Host, ask: Callable[[], Found], is_answer: Callable[[Found], bool] = bool) -> Found:
    """What a host answers to a call that must not be sent twice.

    A connection that was cut before, as while the host waited for others, is made again first.

    Args:
        is_answer: whether what was found is an answer; without one the connection may be cut.

    Raises:
        CutError: the connection ended first; what was at work on the host goes on there.
    """
    if is_cut(host):
        _make_again(host)
    try:
        found = ask()
    except _ERRORS as error:
        raise CutError(_cut(host, error)) from None
    if not is_answer(found) and (is_cut(host) or _is_cut_soon(host)):
        raise CutError(_cut(host, EOFError()))
    return found


def _is_cut_soon(host: Host) -> bool:
    """paramiko ends a connection's channels a moment before it calls the connection ended."""
    time.sleep(_MOMENT)
    return is_cut(host)


def _cut(host: Host, error: Exception) -> str:
    has = "was cut" if is_cut(host) else "has failed"
    return (
        f"the connection to the host {has} ({_words(error)}). What was at work there goes on to "
        "its end. Run again: the next run waits for that end and goes on from there"
    )


def surviving(host: Host, ask: Callable[[], Found]) -> Found:
    """What a host answers to a call that changes nothing; after a cut it is asked anew.

    Raises:
        CutError: the connection does not come back in time, or is cut again and again.
    """
    for _ in range(_CUTS - 1):
        try:
            return once(host, ask)
        except GoneError:
            raise
        except CutError:
            if not is_cut(host):
                raise
    return once(host, ask)


def _make_again(host: Host) -> None:
    logger.warning(f"{host.print_prefix}the connection to the host was cut; it is made again")
    if not logger.isEnabledFor(logging.DEBUG):
        # It prints a trace of an sshd that is not up yet, and raises the same error.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    began = time.monotonic()
    for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
        elapsed = time.monotonic() - began
        recording.waits(host, "the connection is made again", elapsed, PATIENCE)
        try:
            _client(host).close()
            host.connected = False
            host.connect(reason="again", show_errors=False, raise_exceptions=True)
        except ConnectError as error:
            if time.monotonic() + pause > began + PATIENCE:
                raise GoneError(
                    f"the connection to the host was cut and does not come back within "
                    f"{PATIENCE:.0f} s ({_words(error)}). See whether the host and the network "
                    "are up, then run again: that goes on from here"
                ) from None
            time.sleep(pause)
        else:
            prepare(host)
            return


def _words(error: Exception) -> str:
    return printable(str(error))[:200] or "no word from the other side"
