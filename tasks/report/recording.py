"""Writes a run's reports (see record.py) as pyinfra goes from operation to operation.

What pyinfra cannot know, the steps say; the rest comes from pyinfra's own callbacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gevent.lock import RLock
from pyinfra import logger
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from tasks.host.done import Done
from tasks.host.queues import OldBackend
from tasks.report import events, record
from tasks.report.record import DONE, FAILED, PLANNED, CutOver, Proof, Report, Sample, Worker
from tasks.report.run import Run

PREFLIGHT = "Preflight"  # the step before the first operation
_MOST_SAMPLES = 2000
_OF_A_PLAN = ("host", "deploy", "kind")  # what its reader knows it by
# By the inventory's identity, since `context.state` is a proxy. A process has one run.
_runs: dict[int, Run] = {}
_beginning = RLock()  # each host has a greenlet, and a begin asks git and the disk

# --- a host's begin and end ----------------------------------------------------------------------


def begin(deploy: str, state: State, host: Host) -> None:
    """Report on this host from now on; hosts that could not be reached are reported at once."""
    with _beginning:
        if id(state.inventory) not in _runs:
            _runs[id(state.inventory)] = _begin_run(deploy, state)
    run = _runs[id(state.inventory)]
    run.begin_step(run.report(host.name), PREFLIGHT)


def _begin_run(deploy: str, state: State) -> Run:
    run = Run(deploy)
    state.add_callback_handler(_Callbacks())
    lost = [run.report(one.name) for one in state.failed_hosts - state.activated_hosts]
    for report in lost:
        report.cause = record.NO_CONNECTION
        run.end(report, record.FAILED)
        run.save(report)
    names = sorted(one.name for one in state.activated_hosts)
    events.emit("run", hosts=names, deploy=deploy, directory=run.place)
    for report in lost:
        _tell_end(report)
    return run


def forget() -> None:
    """Have no run any more, as when the process began."""
    for run in _runs.values():
        run.close()
    _runs.clear()


def data(state: State, host: Host, given: Mapping[str, Any], in_effect: dict[str, Any]) -> None:
    """Keep the data in effect.

    Args:
        given: the inventory's, of which no password may be in what the run leaves.
        in_effect: what counts, with references in the place of secrets.
    """
    hide(state, host, [_text(value) for key, value in given.items() if "password" in key])
    if run := _runs.get(id(state.inventory)):
        run.report(host.name).data = run.masked_all(host.name, in_effect)


def _text(value: object) -> str:
    value = value.unmask() if isinstance(value, HiddenValue) else value
    return value if isinstance(value, str) else ""


def hide(state: State, host: Host, secrets: list[str]) -> None:
    """Values that no report may have, whoever printed them. They stay in this process."""
    if run := _runs.get(id(state.inventory)):
        run.hide(host.name, secrets)


def examined(state: State, host: Host) -> None:
    """The preflight has found nothing against this host."""
    if report := _report(state, host):
        _runs[id(state.inventory)].end_step(report)


def refused(state: State, host: Host, problems: list[str]) -> None:
    """This host ends before its first operation."""
    if report := _report(state, host):
        run = _runs[id(state.inventory)]
        reasons = [run.masked(host.name, problem) for problem in problems]
        report.steps[-1].says += reasons
        report.add_cause("; ".join(reasons))
        run.end_step(report, has_failed=True)
        run.end(report, record.REFUSED)
        run.save(report)


def out_of_the_run(state: State, host: Host, heading: str, problems: list[str]) -> None:
    """Print the problems, and end this host's run: pyinfra ends with status 1, for a dry run too.

    It is pyinfra's own way for a host whose fact cannot be loaded.
    """
    reasons = [masked(state, host, problem) for problem in problems]
    events.emit("refused", host.name, heading=heading, problems=reasons)
    logger.error(f"{host.print_prefix}{heading}:")
    for number, reason in enumerate(reasons, 1):
        logger.error(f"{host.print_prefix}  {number}. {reason}")
    state.fail_hosts({state.inventory.get_host(host.name)})


# --- what a step says ----------------------------------------------------------------------------


def says(state: State, host: Host, text: str) -> None:
    """Print a line for the operator."""
    logger.info(f"{host.print_prefix}{text}")
    events.emit("says", host.name, text=masked(state, host, text))


def keep(state: State, host: Host, lines: Iterable[str]) -> None:
    """Have lines in the run's whole output that are too long for the screen."""
    if run := _runs.get(id(state.inventory)):
        for line in lines:
            run.output.keep(f"[{host.name}] {run.masked(host.name, line)}")


def waits(host: Host, text: str, elapsed: float, limit: float) -> None:
    """Tell what the step at work waits for, and how many seconds of its limit are gone."""
    events.emit("waits", host.name, text=text, elapsed=round(elapsed, 1), limit=limit)


def note(state: State, host: Host, outcome: str = "", cause: str = "") -> None:
    """Keep the reason why a host will end, or its outcome where that is more than `failed`."""
    if report := _report(state, host):
        report.outcome = outcome or report.outcome
        report.add_cause(masked(state, host, cause))


def changes(state: State, host: Host, what: str = "") -> None:
    """Say that the step at work may leave something changed if it fails or is killed from now on.

    Args:
        what: the call that may change something; empty: the step as a whole.
    """
    if report := _report(state, host):
        report.may_have_changed.append(what or report.step or host.name)
        report.steps[-1].calls.append(report.may_have_changed[-1])
        _runs[id(state.inventory)].save(report)


def changed_nothing(state: State, host: Host) -> None:
    """Say that the call of which `changes` told last was refused before its first change."""
    if report := _report(state, host):
        del report.may_have_changed[-1:], report.steps[-1].calls[-1:]


def is_back(state: State, host: Host) -> None:
    """Say that what the step at work had changed is as it was before the migration."""
    if report := _report(state, host):
        report.may_have_changed = []


def done(state: State, host: Host, what: Done) -> None:
    """Keep what a call has done."""
    if report := _report(state, host):
        report.jobs.converted += what.converted
        report.jobs.moved += what.moved
        report.scheduled_tasks += [masked(state, host, line) for line in what.tasks]


# --- facts of the migration ----------------------------------------------------------------------


def versions(state: State, host: Host, when: str, found: Mapping[str, str]) -> None:
    """What runs on the host "before" or "after", as far as it is known."""
    if report := _report(state, host):
        known = {name: version for name, version in found.items() if version}
        report.versions[when] = {**report.versions.get("before", {}), **known}


def plan(state: State, host: Host, document: dict[str, Any]) -> dict[str, Any]:
    """Keep, and tell, what will be done to the host (tasks/plan). Returns it without secrets."""
    run = _runs.get(id(state.inventory))
    document = run.masked_all(host.name, document, _OF_A_PLAN) if run else document
    events.emit("plan", host.name, plan=document)
    if report := _report(state, host):
        report.plan = document
    return document


def cut_over(state: State, host: Host, *, enabled: str) -> None:
    """The web tier has just read settings by which MISP uses the new backend.

    Args:
        enabled: when `enabled` was stored; empty: an earlier run did that.
    """
    if report := _report(state, host):
        report.cut_over = CutOver(enabled, record.now())


def proven(state: State, host: Host, workers: Sequence[Worker], proof: Proof) -> None:
    """The host's worker set is proven."""
    if report := _report(state, host):
        report.workers, report.proof = [*workers], proof


def drain(state: State, host: Host, old: OldBackend) -> None:
    """Keep what one look at the old backend found: in the drain, and before it.

    What stays the same is kept twice: first and last.
    """
    run, report = _runs.get(id(state.inventory)), _report(state, host)
    if run is None or report is None or old.error:
        return
    first = run.processed.setdefault(host.name, old.processed)
    report.jobs.drained = max(0, old.processed - first)
    sample = Sample(record.now(), old.waits, old.running, old.delayed)
    samples = report.drain
    if [one[1:] for one in samples[-2:]] == [sample[1:]] * 2:
        samples[-1] = sample
    else:
        samples.append(sample)
    if len(samples) > _MOST_SAMPLES:
        del samples[1:-1:2]
    if report.step:  # before, the operator may still say no
        run.save_now_and_then(report)


def _tell_end(report: Report) -> None:
    events.emit(
        "end",
        report.host,
        outcome=report.outcome,
        cause=report.reason,
        changed=report.changed,
        step=report.step,
    )


def masked(state: State, host: Host, text: str) -> str:
    """The text without the host's secrets."""
    run = _runs.get(id(state.inventory))
    return run.masked(host.name, text) if run else text


def _report(state: State, host: Host) -> Report | None:
    run = _runs.get(id(state.inventory))
    return run.reports.get(host.name) if run else None


# --- pyinfra's own words on where a host is ------------------------------------------------------


class _Callbacks(BaseStateCallback):
    @staticmethod
    def operation_host_start(state: State, host: Host, op_hash: str) -> None:
        """The file is there before the first command."""
        report = _report(state, host)
        if report and op_hash in state.ops[host]:
            run = _runs[id(state.inventory)]
            report.step = ", ".join(sorted(state.get_op_meta(op_hash).names))
            run.begin_step(report, report.step)
            run.save(report)
            events.emit("step", host.name, step=report.step, limit=0)

    @staticmethod
    def operation_host_success(
        state: State, host: Host, op_hash: str, retry_count: int = 0
    ) -> None:
        """The step has come to its end."""
        if report := _report(state, host):
            run = _runs[id(state.inventory)]
            run.end_step(report)
            run.save(report)
            if _others_are_at_work(state, host, op_hash):
                waits(host, "it waits for the other hosts", 0, 0)

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """The host is out of the run."""
        if report := _report(state, host):
            run = _runs[id(state.inventory)]
            run.end_step(report, has_failed=True)
            run.end(report, run.failure())
            run.save(report)
            _tell_end(report)

    @staticmethod
    def host_disconnect(state: State, host: Host) -> None:
        """Comes once all hosts are through, however the run ended: pyinfra has no better sign."""
        run = _runs.get(id(state.inventory))
        if run and not run.is_ended:
            run.is_ended = True
            _end_all(state, run)


def _end_all(state: State, run: Run) -> None:
    has_begun = state.is_executing or any(one.ended for one in run.reports.values())
    if run.only_looks:
        _end_looks(state, run)
    elif has_begun:
        for host in state.inventory:
            if report := run.reports.get(host.name):
                _end_one(state, host, run, report)
        if run.place:
            logger.info(f"Reports: {run.place}")
    run.close()


def _end_looks(state: State, run: Run) -> None:
    """Tell what became of each host in a run that changes nothing."""
    for host in state.inventory:
        if not (report := run.reports.get(host.name)):
            continue
        if not report.ended:
            report.outcome = FAILED if host in state.failed_hosts else PLANNED
        _tell_end(report)


def _end_one(state: State, host: Host, run: Run, report: Report) -> None:
    if not report.ended and host in state.failed_hosts:
        run.end(report, run.failure())
    elif not report.ended and state.is_executing and _is_through(state, host):
        if not report.changed:  # so the versions are what they were
            versions(state, host, "after", {})
        run.end(report, DONE)
    if state.is_executing or report.ended:
        run.save(report)
        logger.info(f"{host.name}: {report.sentence()}")
        _tell_end(report)


def _others_are_at_work(state: State, host: Host, op_hash: str) -> bool:
    """Whether another host is still in this operation: pyinfra takes all through one at a time."""
    others = [state.ops[one].get(op_hash) for one in state.active_hosts - {host}]
    return any(one and not one.operation_meta.is_complete() for one in others)


def _is_through(state: State, host: Host) -> bool:
    return all(data.operation_meta.is_complete() for data in state.ops[host].values())
