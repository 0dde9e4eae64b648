"""The run of this process: its reports by host, and the files that it leaves."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from pyinfra import logger

from tasks import project, remote
from tasks.report import junit, page, record
from tasks.report.output import Output
from tasks.report.record import CHANGED, FAILED, INTERRUPTED, RETURN_FAILED, UNCHANGED, Report, Step

_MOST_LINES = 200  # of a step
_SAVE_SECONDS = 10  # between two writes where nothing but a sample came
# What pyinfra adds to each operation, and what says nothing that the report does not have.
_PYINFRAS_OWN = ("Success", "No changes", "Error: executed ", "noop: ", "Loaded fact ")


class Run:
    """Reports by host, and what is known of them beside."""

    def __init__(self, deploy: str) -> None:
        self.deploy = deploy
        self.reports: dict[str, Report] = {}
        self.is_ended = False
        self.processed: dict[str, int] = {}  # jobs that old workers had ended at the first look
        self.output = Output(self.masked, self._hear)
        self._hidden: dict[str, dict[str, None]] = {}
        self._errors: dict[str, list[tuple[int, str]]] = {}  # of the step at work
        self._saved: dict[str, float] = {}  # when each host's report was
        self._directory: Path | None = None
        self.only_looks = _only_looks()
        self._is_written = not self.only_looks
        self._project = project.version_and_commit()
        logger.addFilter(self.output.mask)
        logger.addHandler(self.output)
        if _says_yes() and not self.only_looks:
            self._try(self._begin)

    @property
    def place(self) -> str:
        """The directory of the reports; empty: there is none."""
        return str(self._directory or "")

    def report(self, host: str) -> Report:
        """The host's report, made if need be."""
        if host not in self.reports:
            self.reports[host] = Report(
                host,
                self.deploy,
                started=record.now(),
                operator=remote.RUN_OWNER,
                project=self._project,
            )
        return self.reports[host]

    # --- secrets ---------------------------------------------------------------------------------

    def hide(self, host: str, secrets: list[str]) -> None:
        """Values that nothing may have that this run leaves. They stay in this process."""
        self._hidden.setdefault(host, {}).update(dict.fromkeys(filter(None, secrets)))

    def masked(self, host: str, text: str) -> str:
        """The text without the host's secrets; for a name that has none, without any host's."""
        some = [self._hidden[host]] if host in self._hidden else self._hidden.values()
        secrets = {secret for one in some for secret in one}
        for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
            text = text.replace(secret, "***")
        return text

    def masked_all(self, host: str, value: Any, but: Collection[str] = ()) -> Any:
        """The same with all texts of a value as JSON has it.

        Args:
            but: keys whose values stay as they are: our own words, of which a secret may be one.
        """
        if isinstance(value, dict):
            return {
                key: one if key in but else self.masked_all(host, one, but)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.masked_all(host, one, but) for one in value]
        return self.masked(host, value) if isinstance(value, str) else value

    # --- steps -----------------------------------------------------------------------------------

    def begin_step(self, report: Report, name: str) -> None:
        """From now on the host's lines are this step's."""
        report.steps.append(Step(name, record.now()))
        report.may_have_changed = []
        self._errors[report.host] = []

    def end_step(self, report: Report, *, has_failed: bool = False) -> None:
        """The host is through with the step at work."""
        step = report.steps[-1]
        report.may_have_changed = [*dict.fromkeys(report.may_have_changed)]
        step.ended, step.calls = record.now(), [*dict.fromkeys(step.calls)]
        step.seconds = record.seconds_between(step.started, step.ended)
        step.outcome = FAILED if has_failed else CHANGED if report.may_have_changed else UNCHANGED
        if not has_failed:
            report.may_have_changed = []
        report.changed = [one.step for one in report.steps if one.outcome == CHANGED]

    def end(self, report: Report, outcome: str) -> None:
        """The host is out of the run; a report that has its outcome already keeps it."""
        if report.outcome == INTERRUPTED:
            report.outcome = outcome
        if report.outcome != record.DONE and not report.cause:
            self._add_what_pyinfra_said(report)
        report.ended = report.ended or record.now()

    def failure(self) -> str:
        """What a host that fails is, if nobody says more."""
        return RETURN_FAILED if self.deploy == "rollback" else FAILED

    def _add_what_pyinfra_said(self, report: Report) -> None:
        """A lost connection, say, is no error of a step's own."""
        heard = self._errors.get(report.host, [])
        worst = max((level for level, _ in heard), default=0)
        for level, text in heard:
            if level == worst:
                report.add_cause(text)

    def _hear(self, host: str, text: str, level: int) -> None:
        report = self.reports.get(host)
        if not report or not report.steps or report.steps[-1].ended:
            return
        if text.startswith(_PYINFRAS_OWN):
            return
        lines = report.steps[-1].says
        lines.append(text)
        if len(lines) > _MOST_LINES:
            del lines[_MOST_LINES // 2]
        if level >= logging.WARNING:
            self._errors.setdefault(host, []).append((level, text))

    # --- files -----------------------------------------------------------------------------------

    def save(self, report: Report) -> None:
        """Write one report. A full disk on the operator's machine must stop no migration."""

        def write() -> None:
            directory = self._begin()
            report.output = str(directory / record.OUTPUT)
            record.write(directory, report)

        self._saved[report.host] = time.monotonic()
        self._try(write)

    def save_now_and_then(self, report: Report) -> None:
        """As `save`, where a report changes all the time."""
        if time.monotonic() - self._saved.get(report.host, 0.0) >= _SAVE_SECONDS:
            self.save(report)

    def close(self) -> None:
        """Write what is made of all reports together, and keep no more of what is said."""
        if self._directory:
            directory = self._directory
            self._try(lambda: junit.write(directory))
            self._try(lambda: page.write(directory))
        logger.removeHandler(self.output)
        logger.removeFilter(self.output.mask)
        self.output.drop()

    def _begin(self) -> Path:
        if not self._directory:
            self._directory = record.new_directory(self.deploy)
            self.output.begin(self._directory)
        return self._directory

    def _try(self, do: Callable[[], object]) -> None:
        if not self._is_written:
            return
        try:
            do()
        except Exception as error:
            self._is_written = False
            self.output.drop()
            logger.warning(f"no more reports are written, this run's are not complete: {error}")


def _said() -> set[str]:
    """pyinfra tells a deploy nothing of its options, so its own words count."""
    return set(sys.argv)


def _says_yes() -> bool:
    """Whether pyinfra will go on without a question."""
    return bool(_said() & {"-y", "--yes"} or os.environ.get("PYINFRA_YES"))


def _only_looks() -> bool:
    """Whether pyinfra will change nothing."""
    looks = _said() & {"--dry", "--debug-operations", "--debug-facts"}
    return bool(looks) or ("--json" in _said() and not _says_yes())
