"""Steps 9 and 10: the old workers finish their work, then stop for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from tasks import facts, parse
from tasks.commands import fail, failed, run, telling
from tasks.summary import DRAIN_LIMIT
from tasks.target import Target

# From one look to the next: more than a second, or what writes once a second would slip through.
LOOK_SECONDS = 1.25
# How many looks have to find it quiet: a job may enqueue another one as its last act. By how often
# jobs arrived from elsewhere: the first of these may be a job that a worker had taken, but not yet
# noted, at the look before.
QUIET_LOOKS = (2, 6, 30)
REPORT_SECONDS = 10
# And how many have to find that nobody is there for a job: a unit with RestartSec=10, or somebody
# at the keyboard, may be about to bring the worker back.
STUCK_LOOKS = 30
LONGEST_WAIT = 86_400  # seconds of on_leftover_jobs: wait, as no wait is without end
CONVERSIONS = 100  # each takes all that waits; a running old job may enqueue more meanwhile


@operation()
def drained(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have nothing waiting, running or delayed on the old backend while its workers live.

    New jobs go to the new lists since `enabled` is true, so the old ones only shrink, but for jobs
    that old workers enqueue themselves: they keep the settings they started with.
    """
    answer = facts.ask(target, "legacy")
    legacy = answer.record("legacy")
    if legacy.get("held"):
        yield telling(run("finish_conversion", target))
    if not parse.old_workers_live(answer) and not parse.waiting(legacy):
        host.noop("no old worker is left to wait for")
    elif target.settings.on_leftover_jobs == "convert":
        yield from _worked_off_or_converted(target)
    elif not answer.all("process") and (backlog := parse.backlog(legacy)):
        yield fail(f"the old backend has {backlog}, and {_NO_WORKER}")
    elif problem := parse.never_drained(legacy, _limit(target)):
        yield fail(f"{problem}. {_BOTH_RUN}", DRAIN_LIMIT)
    else:
        yield FunctionCommand(_wait_for_quiet, [target], {})


_OR_CONVERT = "or set on_leftover_jobs to convert, and run again"
_BOTH_RUN = "Both backends run, the old service is untouched and nothing is lost"
_NO_WORKER = (
    "no old worker lives to do them: start the old workers (their unit, or "
    f"app/Console/worker/start.sh as the web user), {_OR_CONVERT}"
)
_AT_THE_LIMIT = (
    "Run again later, raise drain_timeout, or (for what waits) set on_leftover_jobs to convert"
)


# MISP decides where a job goes each time, by the settings that its process has (AppModel.php).
_STALE = (
    "something still uses the old backend, by settings from before: a PHP of the web tier with a "
    "cached config.php that this run does not know of, another host's MISP on the same Redis, or a "
    "cake command that ran all along"
)
_ARRIVED = f"jobs that no old job can have enqueued: {_STALE}"
_KEPT_COMING = f"jobs kept coming: if its own jobs do not enqueue them, {_STALE}"


def _limit(target: Target) -> int:
    is_patient = target.settings.on_leftover_jobs == "wait"
    return LONGEST_WAIT if is_patient else target.settings.drain_timeout


def _worked_off_or_converted(target: Target) -> Generator[PyinfraCommand, None, None]:
    """The old workers get until the drain limit; what still waits then becomes new jobs."""
    if facts.ask(target, "legacy").all("process"):
        yield FunctionCommand(_wait_while_it_helps, [target], {})
    for _ in range(CONVERSIONS):
        legacy = facts.ask(target, "legacy", fresh=True).record("legacy")
        if "error" in legacy:
            yield fail(f"the old backend cannot be asked: {legacy['error']}. {_BOTH_RUN}")
        elif parse.convertible(legacy):
            yield telling(run("convert", target))
        elif legacy.get("running"):
            yield FunctionCommand(_wait_for_running_jobs, [target], {})
        else:
            return
    yield fail(f"{_KEPT_COMING}. They come as fast as they are converted. {_BOTH_RUN}")


def _wait_for_quiet(state: State, host: Host, target: Target) -> bool:
    def is_done(look: _Look) -> bool:
        return not parse.backlog(look.legacy)

    left = _waited(host, target, _limit(target), is_done, _Standstill())
    return not left or failed(state, host, f"{left}. {_BOTH_RUN}", DRAIN_LIMIT)


def _wait_while_it_helps(state: State, host: Host, target: Target) -> bool:
    end = time.monotonic() + target.settings.drain_timeout

    def is_done(look: _Look) -> bool:
        return not parse.worth_waiting(*look, end - time.monotonic())

    left = _waited(host, target, target.settings.drain_timeout, is_done)
    if left and _ARRIVED in left:  # no conversion would be the last
        return failed(state, host, f"{left}. {_BOTH_RUN}", DRAIN_LIMIT)
    return True


def _wait_for_running_jobs(state: State, host: Host, target: Target) -> bool:
    def is_done(look: _Look) -> bool:
        return not look.legacy.get("running") or parse.convertible(look.legacy) > 0

    left = _waited(host, target, target.settings.drain_timeout, is_done)
    reason = f"what waited on the old backend is converted, but then: {left}. {_BOTH_RUN}"
    return not left or failed(state, host, reason, DRAIN_LIMIT)


class _Look(NamedTuple):
    """What the old backend has at one moment: its workers, see parse.unserved, and its jobs."""

    workers: list[str]
    legacy: Mapping[str, Any]


class _Standstill:
    """Whether the same jobs have waited for half a minute for somebody who is not there."""

    def __init__(self) -> None:
        self._seen: str | None = None
        self._looks = 0

    def reason(self, look: _Look) -> str | None:
        stuck = parse.stuck(*look)
        seen = f"{parse.waiting(look.legacy)} {stuck}" if stuck else None
        self._looks = self._looks + 1 if seen == self._seen else 1
        self._seen = seen
        return stuck if self._looks >= STUCK_LOOKS else None


def _looks(target: Target) -> Iterator[_Look]:
    """One by one; the first is the last that was taken, which may be the proof's."""
    is_first = True
    while True:
        answer = facts.ask(target, "legacy", fresh=not is_first)
        yield _Look(answer.all("process"), answer.record("legacy"))
        is_first = False
        time.sleep(max(0.0, LOOK_SECONDS - facts.age("legacy")))


def _waited(
    host: Host,
    target: Target,
    limit: int,
    is_done: Callable[[_Look], bool],
    standstill: _Standstill | None = None,
) -> str | None:
    """Look until `is_done` was seen for long enough; else why that was given up and what to do."""
    end, next_report = time.monotonic() + limit, 0.0
    seen = arrivals = came = 0
    before: Mapping[str, Any] = {"error": "not looked yet"}
    for look in _looks(target):
        if parse.arrived(before, look.legacy) and arrivals < len(QUIET_LOOKS) - 1:
            arrivals += 1
            if arrivals > 1:
                logger.warning(f"{host.print_prefix}old backend: {_ARRIVED}")
        came += parse.came(before, look.legacy)
        before = look.legacy
        backlog = parse.backlog(look.legacy)
        seen = seen + 1 if "error" not in look.legacy and is_done(look) else 0
        now = time.monotonic()
        if seen >= QUIET_LOOKS[arrivals]:
            return None
        if standstill and (stuck := standstill.reason(look)):
            return f"the old backend has {backlog}, and {stuck}, {_OR_CONVERT}"
        if now >= end and (arrivals > 1 or not seen):
            source = _ARRIVED if arrivals > 1 else _KEPT_COMING if came else None
            left = ", and ".join(filter(None, [backlog, source]))
            return f"drain limit of {limit} s reached with {left or 'work'}. {_AT_THE_LIMIT}"
        if backlog and now >= next_report:
            logger.info(f"{host.print_prefix}old backend: {backlog}")
            next_report = now + REPORT_SECONDS
    raise AssertionError("a look is never the last")


@operation()
def retired(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the old workers stopped by QUIT, never in a job, and nothing that starts them again.

    And nothing left of them in Redis: MISP's page lists dead workers, and its "Kill all workers"
    signals whatever has their PIDs by now.
    """
    answer = facts.ask(target, "legacy")
    if parse.old_workers_live(answer):
        yield telling(run("retire", target))
    elif answer.record("legacy").get("stale"):
        yield run("forget_old_workers", target)
    else:
        host.noop("the old workers are retired")
