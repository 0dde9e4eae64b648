"""Step 8: proof that the new workers work, before anything is taken from the old ones."""

from __future__ import annotations

import json
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from tasks import facts, misp_rest, parse, render, reporting
from tasks.commands import give_up, guarded, run
from tasks.parse import Answer
from tasks.target import JOB_TIMEOUT, Target

STARTED_SECONDS = 6  # past startsecs: before, supervisord and MISP call no worker running
STABLE_SECONDS = 8  # a worker that dies at its first look at Redis is gone by then


@operation()
def proven(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have proof: the exact set alive and stable, a job through every queue, MISP's own view.

    RUNNING alone misleads (a crash-looping worker shows it between two deaths), and so does a
    completed job (it needs neither the password nor the libraries). A proof is remembered on the
    host together with what it holds for; the same configuration is not proven again.

    Jobs, view and a first look at what the old workers have left come while the new ones grow old.
    """
    answer = facts.ask(target, "proof", "view")
    is_proven = answer.one("proven") and answer.one("proven") == answer.one("evidence")
    if is_proven:
        faults = _faults(target, answer) + misp_rest.faults(target, facts.rest_view(target))
        if not faults:
            _report(target)
            host.noop(f"{len(target.process_names)} workers proven and in MISP's view")
            return
    yield guarded(run("wait_until_stable", target, stable_seconds=str(STARTED_SECONDS)), target)
    workers = json.dumps(target.worker_counts)
    yield guarded(run("prove", target, workers_json=workers, job_timeout=str(JOB_TIMEOUT)), target)
    faults = _faults(target, facts.ask(target, "proof", "legacy", "view", fresh=True))
    faults += misp_rest.faults(target, facts.rest_view(target, fresh=True))
    if faults:
        yield give_up(f"not proven: {'; '.join(faults)}", target)
        return
    stable = run("record_proof", target, keeps=("legacy",), stable_seconds=str(STABLE_SECONDS))
    yield guarded(stable, target)
    _report(target)


def _report(target: Target) -> None:
    reporting.proven(state, host, len(target.process_names))


def _faults(target: Target, answer: Answer) -> list[str]:
    status = parse.supervisor_status(answer.all("status"))
    faults = parse.wrong_workers(status, target.process_names, render.GROUP)
    return faults + parse.wrong_misp_view(answer.record("get_workers"), target.worker_counts)
