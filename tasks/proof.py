"""Step 8: proof that the new workers work, before anything is taken from the old ones."""

from __future__ import annotations

import json
import time
from collections.abc import Generator

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from tasks import facts, misp_rest, parse, render
from tasks.commands import fail, run
from tasks.parse import Answer
from tasks.target import JOB_TIMEOUT, Target

STABLE_SECONDS = 8  # past startsecs: a worker that dies at its first look at Redis is gone by then


@operation()
def proven(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have proof: the exact set alive and stable, a job through every queue, MISP's own view.

    RUNNING alone misleads (a crash-looping worker shows it between two deaths), and so does a
    completed job (it needs neither the password nor the libraries). A proof is remembered on the
    host together with what it holds for; the same configuration is not proven again.
    """
    answer = facts.ask(target, "proof")
    if answer.one("proven") and answer.one("proven") == answer.one("evidence"):
        faults = _faults(target, answer) + misp_rest.faults(target)
        if not faults:
            host.noop(f"{len(target.process_names)} workers proven and in MISP's view")
            return
    yield FunctionCommand(_wait_until_stable, [target], {})
    queues = json.dumps(
        [program.name for program in target.programs if program.name != render.SCHEDULER]
    )
    yield run("prove", target, queues_json=queues, job_timeout=str(JOB_TIMEOUT))
    faults = _faults(target, facts.ask(target, "proof", fresh=True)) + misp_rest.faults(target)
    if faults:
        yield fail(f"not proven, so the old workers stay: {'; '.join(faults)}")
        return
    yield run("record_proof", target)


def _faults(target: Target, answer: Answer) -> list[str]:
    status = parse.supervisor_status(answer.all("status"))
    faults = parse.wrong_workers(status, target.process_names, render.GROUP)
    counts = {
        program.name: program.count
        for program in target.programs
        if program.name != render.SCHEDULER
    }
    return faults + parse.wrong_misp_view(answer.record("get_workers"), counts)


def _wait_until_stable(state: State, host: Host, target: Target) -> bool:
    """Every worker RUNNING under one PID for STABLE_SECONDS, within a minute."""
    limit = time.monotonic() + 60
    unsteady: list[str] = []
    while time.monotonic() < limit:
        status = parse.supervisor_status(facts.ask(target, "workers", fresh=True).all("status"))
        unsteady = parse.wrong_workers(status, target.process_names, render.GROUP) or [
            f"{name} has run for {status[name].uptime} s"
            for name in target.process_names
            if status[name].uptime < STABLE_SECONDS
        ]
        if not unsteady:
            return True
        time.sleep(1)
    logger.error(f"{host.print_prefix}not stable after a minute: {'; '.join(unsteady)}")
    return False
