"""What a step waits for, said while the one call that it makes to the host is under way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import gevent
from pyinfra import logger
from pyinfra.api.host import Host

from tasks.host.waiting import span
from tasks.report import recording

FIRST_SECONDS = 5.0  # a shorter wait needs no word
NEXT_SECONDS = 30.0


@contextlib.contextmanager
def shown(host: Host, text: str, limit: float) -> Iterator[None]:
    """Say what is waited for: at once to a reader of events, and to others now and then.

    Args:
        text: what happens on the host; empty: nothing that takes long.
        limit: seconds after which the host gives up; 0: not known.
    """
    if not text:
        yield
        return
    recording.waits(host, text, 0, limit)
    line = gevent.spawn(_repeat, host, text, limit)
    try:
        yield
    finally:
        line.kill()


def _repeat(host: Host, text: str, limit: float) -> None:
    began = time.monotonic()
    gevent.sleep(FIRST_SECONDS)
    while True:
        most = f" of at most {span(limit)}" if limit else ""
        logger.info(f"{host.print_prefix}{text}: {span(time.monotonic() - began)}{most}")
        gevent.sleep(NEXT_SECONDS)
