"""Steps 9 and 10: the old workers finish their work, then stop for good."""

from __future__ import annotations

import time
from collections.abc import Generator

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from tasks import facts, parse
from tasks.commands import fail, failed, run
from tasks.parse import Answer
from tasks.summary import DRAIN_LIMIT
from tasks.target import Target

QUIET_LOOKS = 2  # a job may enqueue another one as its last act
REPORT_SECONDS = 10


@operation()
def drained(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have nothing waiting, running or delayed on the old backend while its workers live.

    New jobs go to the new lists since `enabled` is true, so the old ones only shrink, but for jobs
    that old workers enqueue themselves: they keep the settings they started with.
    """
    answer = facts.ask(target, "legacy")
    legacy = answer.record("legacy")
    if not _is_alive(answer):
        if stranded := sum((legacy.get("waiting") or {}).values()):
            yield fail(f"{stranded} job(s) are stranded: {parse.backlog(legacy)}, and {_NO_WORKER}")
        host.noop("no old worker is left to wait for")
        return
    if not answer.all("process") and parse.backlog(legacy):
        yield fail(f"the old backend has {parse.backlog(legacy)}, and {_NO_WORKER}")
    elif problem := parse.never_drained(legacy, target.settings.drain_timeout):
        yield fail(f"{problem}. {_BOTH_RUN}", DRAIN_LIMIT)
    else:
        yield FunctionCommand(_wait_for_quiet, [target], {})


_BOTH_RUN = "Both backends run, the old service is untouched and nothing is lost"
_NO_WORKER = (
    "no old worker lives to do them: start the old workers (their unit, or "
    "app/Console/worker/start.sh as the web user) and run again"
)


def _wait_for_quiet(state: State, host: Host, target: Target) -> bool:
    limit = time.monotonic() + target.settings.drain_timeout
    quiet = 0
    next_report = 0.0
    while True:
        backlog = parse.backlog(facts.ask(target, "legacy", fresh=True).record("legacy"))
        quiet = 0 if backlog else quiet + 1
        if quiet >= QUIET_LOOKS:
            return True
        now = time.monotonic()
        if now >= limit and backlog and target.settings.on_leftover_jobs == "stop":
            reason = (
                f"drain limit of {target.settings.drain_timeout} s reached with {backlog}. "
                f"{_BOTH_RUN}: run again later, or raise drain_timeout"
            )
            return failed(state, host, reason, DRAIN_LIMIT)
        if backlog and now >= next_report:
            logger.info(f"{host.print_prefix}old backend: {backlog}")
            next_report = now + REPORT_SECONDS
        time.sleep(1)


@operation()
def retired(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the old workers stopped by QUIT, never in a job, and nothing that starts them again."""
    answer = facts.ask(target, "legacy")
    if not _is_alive(answer):
        host.noop("the old workers are retired")
        return
    yield run("retire", target)


def _is_alive(answer: Answer) -> bool:
    """Old workers run, or something would start them: now, on demand or at the next boot."""
    if answer.all("process") or answer.all("hidden_process") or answer.all("stopping"):
        return True
    if answer.all("launcher"):
        return True
    for line in answer.all("unit"):
        words = line.split()
        if words[1] not in ("inactive", "failed", "unknown"):
            return True
        if len(words) > 2 and words[2] in ("enabled", "enabled-runtime", "linked"):
            return True
    return False
