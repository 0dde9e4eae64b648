"""Runs pyinfra as an operator does: its command line, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lab.console import console
from lab.errors import LabError
from lab.kept import INVENTORY, program
from lab.lab import Lab
from lab.paths import REPOSITORY

TIME_LIMIT = 900.0
BEGINS = "Starting operation:"
"""pyinfra's words when it begins with an operation; the operation's name follows."""

Stamped = list[tuple[float, str]]


@dataclass(frozen=True)
class Operation:
    """One operation of a plan or of a run; the host names are those it speaks of."""

    op_hash: str
    name: str
    change: frozenset[str] = frozenset()
    conditional: frozenset[str] = frozenset()
    success: frozenset[str] = frozenset()
    error: frozenset[str] = frozenset()
    no_change: frozenset[str] = frozenset()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Operation:
        """Make one from a row of pyinfra's JSON."""
        return cls(
            op_hash=str(row["op_hash"]),
            name=str(row["name"]),
            change=frozenset(row.get("hosts_with_change", ())),
            conditional=frozenset(row.get("hosts_with_conditional_change", ())),
            success=frozenset(row.get("success", ())),
            error=frozenset(row.get("error", ())),
            no_change=frozenset(row.get("no_change", ())),
        )


@dataclass(frozen=True)
class Run:
    """The result of one pyinfra command.

    Attributes:
        plan: with ``--dry``, what would be done; else pyinfra leaves its host lists empty.
        operations: what was done, in order; empty for a dry or an aborted run.
        stamped: the lines of standard error, each with the seconds after which it came.
    """

    command: str
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    plan: tuple[Operation, ...] = ()
    operations: tuple[Operation, ...] = ()
    failed_hosts: tuple[str, ...] = field(default=())
    stamped: tuple[tuple[float, str], ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Tell whether the run succeeded on every host, and had hosts at all."""
        return self.exit_code == 0 and not self.failed_hosts

    @property
    def changed(self) -> tuple[Operation, ...]:
        """The operations that changed something."""
        return tuple(operation for operation in self.operations if operation.success)

    @property
    def failed(self) -> tuple[Operation, ...]:
        """The operations that failed or, after a failure, were never reached."""
        return tuple(operation for operation in self.operations if operation.error)

    def check(self) -> Run:
        """Return this run, or fail with the end of its output when it was not ok.

        Raises:
            LabError: with pyinfra's own words.
        """
        if not self.ok:
            tail = "\n".join("    " + line for line in self.stderr.splitlines()[-40:])
            raise LabError(f"{self.command} ended with exit code {self.exit_code}:\n{tail}")
        return self


def plan(lab: Lab, *options: str, deploy: str = "deploy.py", echo: bool = False) -> Run:
    """Ask what a deploy would do (``--dry --json``)."""
    return pyinfra(lab, deploy, "--dry", "--json", *options, echo=echo)


def apply(lab: Lab, *options: str, deploy: str = "deploy.py", echo: bool = False) -> Run:
    """Run a deploy (``-y --json``)."""
    return pyinfra(lab, deploy, "-y", "--json", *options, echo=echo)


def pyinfra(  # noqa: PLR0913 # each is an independent choice of a caller
    lab: Lab,
    deploy: str,
    *options: str,
    echo: bool = False,
    environment: Mapping[str, str] | None = None,
    timeout: float = TIME_LIMIT,
    checkout: Path = REPOSITORY,
) -> Run:
    """Run ``pyinfra inventories/lab.py DEPLOY OPTIONS`` from the root of a checkout.

    Args:
        echo: also show pyinfra's progress as it comes.
        environment: variables to add.
        checkout: whose deploy is run, this repository's by default.
        timeout: seconds after which the run is killed.

    Raises:
        LabError: when it took longer than TIMEOUT.
    """
    began = time.monotonic()
    with started(
        lab, deploy, *options, echo=echo, environment=environment, checkout=checkout
    ) as running:
        running.wait(timeout)
    report = _report(running.stdout) if "--json" in options else {}
    results = report.get("results") or {}
    return Run(
        command=running.command,
        exit_code=running.process.returncode,
        stdout=running.stdout,
        stderr=running.stderr,
        seconds=time.monotonic() - began,
        plan=tuple(Operation.of(row) for row in report.get("plan") or ()),
        operations=tuple(Operation.of(row) for row in results.get("operations") or ()),
        failed_hosts=tuple(results.get("failed_hosts") or ()),
        stamped=tuple((at - began, line) for at, line in running.stamped),
    )


class Running:
    """A pyinfra at work, with what it has printed so far."""

    def __init__(self, command: str, process: subprocess.Popen[str], echo: bool = False) -> None:
        self.command = command
        self.process = process
        self._outputs: tuple[Stamped, Stamped] = ([], [])
        streams = (process.stdout, process.stderr)
        self._readers = [
            threading.Thread(target=_drain, args=(stream, lines, echo and index == 1))
            for index, (stream, lines) in enumerate(zip(streams, self._outputs, strict=True))
        ]
        # Popen.wait with a limit looks every 50 ms, which is a twentieth of a converged run.
        self._end = threading.Thread(target=process.wait, daemon=True)
        for thread in (*self._readers, self._end):
            thread.start()

    @property
    def stdout(self) -> str:
        """Its standard output so far."""
        return "".join(line for _, line in self._outputs[0])

    @property
    def stderr(self) -> str:
        """Its standard error so far, where pyinfra's progress goes."""
        return "".join(line for _, line in self._outputs[1])

    @property
    def stamped(self) -> Stamped:
        """The lines of its standard error so far, with the time of the monotonic clock."""
        return self._outputs[1]

    @property
    def operations(self) -> list[str]:
        """The names of the operations that it has begun."""
        lines = self.stderr.splitlines()
        return [line.partition(BEGINS)[2].strip() for line in lines if BEGINS in line]

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, SECONDS at most; says whether it came."""
        self._end.join(seconds)
        return not self._end.is_alive()

    def wait(self, timeout: float = TIME_LIMIT) -> None:
        """Wait for its end.

        Raises:
            LabError: when it took longer than TIMEOUT.
        """
        if not self.ends_within(timeout):
            tail = "".join(line for _, line in self._outputs[1][-20:])
            raise LabError(f"{self.command} was killed after {timeout:.0f} s:\n{tail}")

    def kill(self) -> None:
        """End it at once, if it has not ended, and read the rest of what it printed."""
        if self.process.poll() is None:
            self.process.kill()
        for reader in self._readers:
            reader.join(10)


@contextlib.contextmanager
def started(
    lab: Lab,
    deploy: str,
    *options: str,
    echo: bool = False,
    environment: Mapping[str, str] | None = None,
    checkout: Path = REPOSITORY,
) -> Iterator[Running]:
    """Have a pyinfra at work during a block; at the block's end it is killed if it still is."""
    arguments = [INVENTORY, deploy, *options]
    with subprocess.Popen(
        [*program(), *arguments],
        cwd=checkout,
        env={**os.environ, **lab.environment, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        running = Running(" ".join(["pyinfra", *arguments]), process, echo)
        try:
            yield running
        finally:
            running.kill()
            lab.printed.append(running.stdout + running.stderr)


def _drain(stream: IO[str], lines: Stamped, echo: bool) -> None:
    for line in stream:
        lines.append((time.monotonic(), line))
        if echo:
            # As it is: rich would read "[host]" as markup.
            console.print("  " + line.rstrip("\n"), markup=False)


def _report(stdout: str) -> dict[str, Any]:
    """Read pyinfra's JSON; an aborted run has none."""
    try:
        report: dict[str, Any] = json.loads(stdout)
    except ValueError:
        return {}
    return report
