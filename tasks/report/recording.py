"""Writes a run's reports (see record.py) as pyinfra goes from operation to operation.

What pyinfra cannot know, the steps say by `note`; the rest comes from pyinfra's own callbacks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from tasks.report import events, record
from tasks.report.record import DONE, FAILED, INTERRUPTED, PLANNED, RETURN_FAILED, Report


class _Run:
    """The run of this process: its reports by host, and where they are written."""

    def __init__(self, deploy: str) -> None:
        self.deploy = deploy
        self.is_dry = _is_dry()
        self.reports: dict[str, Report] = {}
        self.hidden: dict[str, list[str]] = {}
        self.is_written = not self.is_dry
        self.is_ended = False
        self._directory: Path | None = None

    def save(self, report: Report) -> None:
        """Write one report. A full disk on the operator's machine must stop no migration."""
        if not self.is_written:
            return
        try:
            self._directory = self._directory or record.new_directory(self.deploy)
            record.write(self._directory, report)
        except OSError as error:
            self.is_written = False
            logger.warning(f"no more reports are written, this run's are not complete: {error}")

    @property
    def place(self) -> str:
        """The directory of the reports, if there is one."""
        return str(self._directory or "")


_runs: dict[int, _Run] = {}  # by the inventory's identity, since `context.state` is a proxy; one


def _is_dry() -> bool:
    """Whether pyinfra will only look. It tells a deploy nothing of this, so its own words count."""
    said = set(sys.argv)
    is_confirmed = said & {"-y", "--yes"} or os.environ.get("PYINFRA_YES")
    only_looks = said & {"--dry", "--debug-operations", "--debug-facts"}
    return bool(only_looks) or ("--json" in said and not is_confirmed)


def begin(deploy: str, state: State, host: Host) -> None:
    """Report on this host from now on; hosts that could not be reached are reported at once."""
    run = _runs.get(id(state.inventory))
    if run is None:
        run = _runs[id(state.inventory)] = _Run(deploy)
        state.add_callback_handler(_Callbacks())
        for lost in state.failed_hosts - state.activated_hosts:
            report = Report(lost.name, deploy, FAILED, cause=record.NO_CONNECTION)
            report.started = report.ended = record.now()
            run.reports[lost.name] = report
            run.save(report)
        names = sorted(one.name for one in state.activated_hosts)
        events.emit("run", hosts=names, deploy=deploy, directory=run.place)
        for report in run.reports.values():
            _tell_end(report)
    run.reports.setdefault(host.name, Report(host.name, deploy, started=record.now()))


def note(state: State, host: Host, outcome: str = "", cause: str = "") -> None:
    """Keep the reason why a host will end, or its outcome where that is more than `failed`."""
    if report := _report(state, host):
        report.outcome = outcome or report.outcome
        report.add_cause(_masked(state, host, cause))


def changes(state: State, host: Host) -> None:
    """Say that the step at work may leave something changed if it fails from now on."""
    if report := _report(state, host):
        report.is_unfinished = True


def is_back(state: State, host: Host) -> None:
    """Say that what the step at work had changed is as it was before the migration."""
    if report := _report(state, host):
        report.is_unfinished = False


def refused(state: State, host: Host, problems: list[str]) -> None:
    """This host ends before its first operation."""
    if report := _report(state, host):
        report.outcome = record.REFUSED
        report.add_cause(_masked(state, host, "; ".join(problems)))
        report.ended = record.now()
        _runs[id(state.inventory)].save(report)


def out_of_the_run(state: State, host: Host, heading: str, problems: list[str]) -> None:
    """Print the problems, and end this host's run: pyinfra ends with status 1, for a dry run too.

    It is pyinfra's own way for a host whose fact cannot be loaded.
    """
    events.emit("refused", host.name, heading=heading, problems=[*problems])
    logger.error(f"{host.print_prefix}{heading}:")
    for number, problem in enumerate(problems, 1):
        logger.error(f"{host.print_prefix}  {number}. {problem}")
    state.fail_hosts({state.inventory.get_host(host.name)})


def hide(state: State, host: Host, secrets: list[str]) -> None:
    """Values that no report may have, whoever printed them. They stay in this process."""
    if run := _runs.get(id(state.inventory)):
        run.hidden[host.name] = [secret for secret in secrets if secret]


def says(state: State, host: Host, text: str) -> None:
    """Print a line for the operator."""
    logger.info(f"{host.print_prefix}{text}")
    events.emit("says", host.name, text=_masked(state, host, text))


def waits(host: Host, text: str, elapsed: float, limit: float) -> None:
    """Tell what the step at work waits for, and how many seconds of its limit are gone."""
    events.emit("waits", host.name, text=text, elapsed=round(elapsed, 1), limit=limit)


def _tell_end(report: Report) -> None:
    events.emit(
        "end",
        report.host,
        outcome=report.outcome,
        cause=report.cause,
        changed=report.changed,
        step=report.step,
    )


def _masked(state: State, host: Host, text: str) -> str:
    for secret in _runs[id(state.inventory)].hidden.get(host.name, ()):
        text = text.replace(secret, "***")
    return text


def versions(state: State, host: Host, **found: str) -> None:
    """What runs on the host, as far as it is known."""
    if report := _report(state, host):
        report.versions = {name: version for name, version in found.items() if version}


def proven(state: State, host: Host, workers: int) -> None:
    """The host's worker set is proven."""
    if report := _report(state, host):
        report.workers = workers


def _report(state: State, host: Host) -> Report | None:
    run = _runs.get(id(state.inventory))
    return run.reports.get(host.name) if run else None


class _Callbacks(BaseStateCallback):
    """pyinfra's own words on where a host is."""

    @staticmethod
    def operation_host_start(state: State, host: Host, op_hash: str) -> None:
        """The file is there before the first command."""
        if report := _report(state, host):
            report.step = ", ".join(sorted(state.get_op_meta(op_hash).names))
            report.is_unfinished = False
            _save(state, host, report)
            events.emit("step", host.name, step=report.step, limit=0)

    @staticmethod
    def operation_host_success(
        state: State, host: Host, op_hash: str, retry_count: int = 0
    ) -> None:
        """What the operation changed is told as its change."""
        if report := _report(state, host):
            report.is_unfinished = False
            waits(host, "the other hosts", 0, 0)  # pyinfra takes all through one step at a time

    @staticmethod
    def operation_host_error(
        state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """The host is out of the run."""
        if report := _report(state, host):
            _end(report, _failure(report))
            _save(state, host, report)
            _tell_end(report)

    @staticmethod
    def host_disconnect(state: State, host: Host) -> None:
        """Comes once all hosts are through, however the run ended: pyinfra has no better sign."""
        run = _runs.get(id(state.inventory))
        if run and not run.is_ended:
            run.is_ended = True
            _end_all(state, run)


def _save(state: State, host: Host, report: Report) -> None:
    report.changed = _changed(state, host)
    _runs[id(state.inventory)].save(report)


def _failure(report: Report) -> str:
    return RETURN_FAILED if report.deploy == "rollback" else FAILED


def _end(report: Report, outcome: str) -> None:
    if report.outcome == INTERRUPTED:
        report.outcome = outcome
    report.ended = report.ended or record.now()


def _changed(state: State, host: Host) -> list[str]:
    """Names of operations that changed something. pyinfra has this a little after the callback."""
    return [
        ", ".join(sorted(state.get_op_meta(op_hash).names))
        for op_hash, data in state.ops[host].items()
        if data.operation_meta.is_complete() and data.operation_meta.did_change()
    ]


def _end_all(state: State, run: _Run) -> None:
    if run.is_dry:
        _end_looks(state, run)
        return
    if not run.is_written or not (state.is_executing or any(r.ended for r in run.reports.values())):
        return
    for host in state.inventory:
        if report := run.reports.get(host.name):
            if not report.ended:
                _end_one(state, host, report)
            if state.is_executing or report.ended:
                _save(state, host, report)
                logger.info(f"{host.name}: {report.sentence()}")
                _tell_end(report)
    if run.place:
        logger.info(f"Reports: {run.place}")


def _end_looks(state: State, run: _Run) -> None:
    """Tell what became of each host in a run that changes nothing."""
    for host in state.inventory:
        if not (report := run.reports.get(host.name)):
            continue
        if not report.ended:
            report.outcome = FAILED if host in state.failed_hosts else PLANNED
            if report.outcome == PLANNED:
                events.emit("plan", host.name, plan=_plan(state, host))
        _tell_end(report)


def _plan(state: State, host: Host) -> dict[str, Any]:
    """The operations that would change something, in order."""
    titles = [
        ", ".join(sorted(state.get_op_meta(op_hash).names))
        for op_hash in state.get_op_order()
        if op_hash in state.ops[host] and state.ops[host][op_hash].operation_meta.will_change
    ]
    return {"host": host.name, "steps": [{"step": title, "limit": 0} for title in titles]}


def _end_one(state: State, host: Host, report: Report) -> None:
    if host in state.failed_hosts:
        _end(report, _failure(report))
    elif state.is_executing and _is_through(state, host):
        _end(report, DONE)


def _is_through(state: State, host: Host) -> bool:
    return all(data.operation_meta.is_complete() for data in state.ops[host].values())
