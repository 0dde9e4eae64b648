"""Steps 9 and 10: the old workers finish their work, then stop for good."""

from __future__ import annotations

import time

from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host

from tasks import facts
from tasks.backlog import Look
from tasks.commands import failed, run
from tasks.drain import LOOK_SECONDS, Convert, Done, Drain, Limit, Stuck, Wait
from tasks.errors import MigrationError
from tasks.host import moves, parts, retire
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.report import recording
from tasks.report.record import DRAIN_LIMIT
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.DRAIN)
def drained(target: Target) -> Commands:
    """Have nothing waiting, running or delayed on the old backend while its workers live.

    New jobs go to the new lists since `enabled` is true, so the old ones only shrink, but for jobs
    that old workers enqueue themselves: they keep the settings they started with.
    """
    if not decisions.drain(target, facts.asking(target)):
        host.noop("no old worker is left to wait for")
        return
    yield FunctionCommand(_drain, [target], {})


def _drain(state: State, host: Host, target: Target) -> bool:
    """Look, and do what the drain decides, until it ends."""
    settings = target.settings
    drain = Drain(settings.on_leftover_jobs, settings.drain_timeout)
    try:
        while True:
            look = _look(target)
            recording.drain(state, host, look.old)
            decision = drain.see(look)
            if isinstance(decision, Done):
                _say(state, host, decision.says)
                return True
            if isinstance(decision, Stuck | Limit):
                outcome = DRAIN_LIMIT if isinstance(decision, Limit) else ""
                return failed(state, host, decision.reason, outcome)
            if isinstance(decision, Convert):
                _convert(state, host, target, drain, only_held=decision.only_held)
            else:
                _wait(state, host, decision)
            facts.see(target, parts.OldBackend, parts.OldWorkers)
    except MigrationError as error:
        return failed(state, host, str(error))


def _look(target: Target) -> Look:
    old, workers = facts.ask(target, parts.OldBackend), facts.ask(target, parts.OldWorkers)
    queues = [one.queues for one in workers.processes]
    at, settings = time.monotonic(), target.settings
    converts = settings.on_leftover_jobs == "convert"
    return Look(old, queues, workers.live, at, settings.misp_root, target.web_user, converts)


def _wait(state: State, host: Host, decision: Wait) -> None:
    _say(state, host, decision.says)
    if decision.warns:
        logger.warning(f"{host.print_prefix}{decision.warns}")
    recording.waits(host, decision.waits, decision.elapsed, decision.limit)
    time.sleep(max(0.0, LOOK_SECONDS - facts.age(parts.OldBackend)))


def _say(state: State, host: Host, text: str) -> None:
    if text:
        recording.says(state, host, text)


def _convert(state: State, host: Host, target: Target, drain: Drain, *, only_held: bool) -> None:
    site, desired = target.site(), target.desired()
    if only_held:
        conversion = call(moves.finish_conversion, site=site, desired=desired)
    else:
        conversion = call(moves.convert, site=site, desired=desired)
    recording.changes(state, host, conversion.described)
    facts.forget()
    done = facts.get(target, conversion)
    recording.done(state, host, done)
    for line in done.lines:
        _say(state, host, line)
    drain.converted([line for line in done.lines if line.startswith(moves.LEFT)])


@step(forecast.RETIRE)
def retired(target: Target) -> Commands:
    """Have the old workers stopped by QUIT, never in a job, and nothing that starts them again.

    And nothing left of them in Redis: MISP's page lists dead workers, and its "Kill all workers"
    signals whatever has their PIDs by now.
    """
    if not decisions.retire(target, facts.asking(target)):
        host.noop("the old workers are retired")
        return
    site, desired = target.site(), target.desired()
    if facts.ask(target, parts.OldWorkers).live:
        end = call(retire.retire, site=site, desired=desired)
        limit = target.settings.drain_timeout
        yield run(end, target, waits="the old workers end, each after its job", limit=limit)
    else:
        yield run(call(moves.forget_old_workers, site=site, desired=desired), target)
