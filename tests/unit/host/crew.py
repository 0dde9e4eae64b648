"""A crew with a real supervisord, and a Redis that says that whoever has no child is idle."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.host.drain import Crew
from tasks.host.idle import Frozen
from tasks.host.processes import Workers
from tasks.host.web_user import WebUser
from tests.unit.host.real_supervisord import RealSupervisord, site

WEB = WebUser("nobody", 65534, 65534, (65534,), "/nonexistent", "nogroup")


class Freezer:
    """In the place of `idle.freeze_idle`; `problem` is that jobs stay aside."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.frozen: list[int] = []
        self.problem = ""

    def __call__(self, pids: list[int], workers: Workers) -> Frozen:
        self.calls.append(list(pids))
        busy = workers.with_child(pids)
        free = [pid for pid in pids if pid not in busy and workers.exists(pid)]
        workers.send(free, signal.SIGSTOP)
        for pid in free:
            while workers.exists(pid) and not workers.is_stopped(pid):
                time.sleep(0.01)
        self.frozen += free
        return Frozen(free, self.problem)


@contextmanager
def crew(folder: Path, port: int = 9001, **changes: object) -> Iterator[Crew]:
    """A crew whose supervisord does not run yet, and its end."""
    (folder / "misp").mkdir()
    (folder / "state").mkdir(mode=0o700)
    daemon = RealSupervisord(folder)
    one = site(folder, port, misp_root=str(folder / "misp"), **changes)
    try:
        yield Crew(one, WEB, daemon, Freezer())
    finally:
        daemon.stop()


def real(one: Crew) -> RealSupervisord:
    """The crew's supervisord, as the test handles it."""
    assert isinstance(one.daemon, RealSupervisord)
    return one.daemon


def freezer(one: Crew) -> Freezer:
    """What the crew's workers are frozen by."""
    assert isinstance(one.freeze, Freezer)
    return one.freeze


def wait_for_exec(one: Crew, count: int) -> list[int]:
    """PIDs of the group, once all are what they will be."""
    for _ in range(300):
        pids = [worker.pid for worker in one.control().group() if worker.pid]
        names = [Path(f"/proc/{pid}/comm").read_text() for pid in pids]
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
        if len(pids) == count and not any("supervisord" in line for line in names + lines):
            return pids
        time.sleep(0.02)
    raise AssertionError("the workers do not come")
