"""What happens in a run of pyinfra's, told to the process that started it: one JSON line an event.

`python -m tasks` runs pyinfra as its child, hands it the write end of a pipe and shows what comes.
A run without such a reader tells nobody, and works as well.

Each line is an object with `kind`, `at` (seconds since 1970) and, but for `run`, `host`:

    run      hosts, deploy, directory    the run begins (directory: of its records, may be empty)
    refused  problems                    the host is out before its first change
    step     step, limit                 an operation begins; limit in seconds, 0: none is known
    waits    text, elapsed, limit        what the step waits for, in seconds of its limit
    says     text                        a line for the operator
    plan     plan                        what will be done to the host (tasks/plan)
    status   status                      what the host is like (tasks/status.py)
    end      outcome, cause, changed     the host is through
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Literal

VARIABLE = "MISP_WORKERS_EVENTS"
"""Names the pipe's file descriptor in the child's environment."""

_PROGRAMS = {
    "deploy": "misp-workers apply",
    "rollback": "misp-workers rollback",
    "status": "misp-workers status",
    "healthcheck": "misp-workers status --install-healthcheck",
}

Kind = Literal["run", "refused", "step", "waits", "says", "plan", "status", "end"]


def has_reader() -> bool:
    """Whether a process reads the events; it also keeps all that this one prints."""
    return os.environ.get(VARIABLE, "").isdigit()


def program(deploy: Literal["deploy", "rollback", "status", "healthcheck"]) -> str:
    """What a sentence calls a deploy: the command that the operator typed, or pyinfra's file.

    pip leaves the operator the command alone.
    """
    return _PROGRAMS[deploy] if has_reader() else f"{deploy}.py"


def emit(kind: Kind, host: str = "", **fields: Any) -> None:
    """Tell the reader, if there is one. Nothing that goes wrong here may stop a migration."""
    if not has_reader():
        return
    number = os.environ[VARIABLE]
    event = {"kind": kind, "at": time.time(), "host": host, **fields}
    line = json.dumps(event, default=str).encode() + b"\n"
    with contextlib.suppress(OSError):
        while line:
            line = line[os.write(int(number), line) :]
