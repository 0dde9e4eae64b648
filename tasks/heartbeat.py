"""Keeps this run's lease on each host alive while other hosts keep pyinfra busy.

pyinfra takes all hosts through an operation before the next one, so a host may wait for another
one's drain for an hour. Without a sign of life it would count as abandoned (see host/lock.py).
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import gevent
from pyinfra.api.host import Host

from tasks import remote
from tasks.host import lock

SECONDS = lock.LEASE / 4


@dataclass
class _Beat:
    host: Host
    words: str
    arguments: dict[str, Any]
    last: float


_beats: dict[str, _Beat] = {}
_greenlets: list[gevent.Greenlet] = []


def note(host: Host, python: str, arguments: dict[str, Any]) -> None:
    """A step of this run was on the host just now; from here on it has the lease."""
    call = remote.Call(lock.renew, {"run": remote.RUN_ID}, lock="none")
    sends = {**arguments, "_stdin": call.stdin()}
    _beats[host.name] = _Beat(host, call.words(python), sends, time.monotonic())
    if not _greenlets:
        _greenlets.append(gevent.spawn(_run))


def has_begun(host: Host) -> bool:
    """Whether this run has begun a step on the host, and so has had its lease."""
    return host.name in _beats


def _run() -> None:
    while True:
        gevent.sleep(SECONDS / 2)
        for beat in list(_beats.values()):
            if time.monotonic() - beat.last >= SECONDS:
                gevent.spawn(_renew, beat)


def _renew(beat: _Beat) -> None:
    beat.last = time.monotonic()
    # A host that is gone fails in its own next step, not here.
    with contextlib.suppress(Exception):
        beat.host.run_shell_command(beat.words, **beat.arguments)
