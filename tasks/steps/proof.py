"""Step 8: proof that the new workers work, before anything is taken from the old ones."""

from __future__ import annotations

from pyinfra.context import host, state

from tasks import facts, misp_rest, parse, reporting
from tasks.commands import Guarded, give_up, run
from tasks.host import parts, proof, workers
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import JOB_TIMEOUT, Target

STARTED_SECONDS = 6  # past startsecs: before, supervisord and MISP call no worker running
STABLE_SECONDS = 8  # a worker that dies at its first look at Redis is gone by then


@step(returns=True)
def proven(target: Target) -> Commands:
    """Have proof: the exact set alive and stable, a job through every queue, MISP's own view.

    RUNNING alone misleads (a crash-looping worker shows it between two deaths), and so does a
    completed job (it needs neither the password nor the libraries). A proof is remembered on the
    host together with what it holds for; the same configuration is not proven again.

    Jobs, view and a first look at the old workers come while the new ones grow old.
    """
    seen = facts.ask(target, parts.Proof)
    if target.is_proven and seen.proven == seen.evidence:
        faults = _faults(target) + misp_rest.faults(target, facts.rest_view(target))
        if not faults:
            _report(target)
            host.noop(f"{len(target.process_names)} workers proven and in MISP's view")
            return
    site, desired = target.site(), target.desired()
    yield Guarded(
        run(call(workers.wait_until_stable, site=site, seconds=STARTED_SECONDS), target), target
    )
    prove = call(
        proof.prove,
        site=site,
        desired=desired,
        workers=target.worker_counts,
        seconds=JOB_TIMEOUT,
    )
    yield Guarded(run(prove, target), target)
    kinds = (parts.Supervisor, parts.View, parts.OldBackend, parts.OldWorkers)
    facts.see(target, *kinds)
    faults = _faults(target) + misp_rest.faults(target, facts.rest_view(target, fresh=True))
    if faults:
        yield give_up(f"not proven: {'; '.join(faults)}", target)
        return
    record = call(proof.record, site=site, desired=desired, seconds=STABLE_SECONDS)
    yield Guarded(run(record, target, keeps=(parts.OldBackend, parts.OldWorkers)), target)
    _report(target)


def _report(target: Target) -> None:
    reporting.proven(state, host, len(target.process_names))


def _faults(target: Target) -> list[str]:
    supervisor, view = facts.ask(target, parts.Supervisor), facts.ask(target, parts.View)
    faults = parse.wrong_workers(supervisor.workers, target.process_names)
    return faults + parse.wrong_misp_view(view, target.worker_counts)
