"""Step 8: proof that the new workers work, before anything is taken from the old ones."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from pyinfra.context import host, state

from tasks import facts, parse
from tasks.commands import Guarded, give_up, run
from tasks.host import parts, proof, workers
from tasks.host.done import Done, ProofJob
from tasks.plan import decisions, forecast
from tasks.plan.forecast import STABLE_SECONDS, STARTED_SECONDS
from tasks.remote import Call, call
from tasks.report import record, recording
from tasks.report.record import Job, Proof, Worker
from tasks.steps.step import Commands, step
from tasks.target import JOB_TIMEOUT, Target

_REMEDY = (
    "If the workers run, MISP's SimpleBackgroundJobs.supervisor_password, its libraries or its "
    "view on /proc are wrong: correct that, then run again"
)


@step(forecast.PROOF, returns=True)
def proven(target: Target) -> Commands:
    """Have proof: the exact set alive and stable, a job through every queue, MISP's own view.

    RUNNING alone misleads (a crash-looping worker shows it between two deaths), and so does a
    completed job (it needs neither the password nor the libraries). A proof is remembered on the
    host together with what it holds for; the same configuration is not proven again.

    Jobs, view and a first look at the old workers come while the new ones grow old.
    """
    if not decisions.proof(target, facts.asking(target)):
        recording.proven(state, host, *_evidence(target, ()))
        host.noop(f"{len(target.process_names)} workers proven and in MISP's view")
        return
    site, desired = target.site(), target.desired()
    stay = call(workers.wait_until_stable, site=site, seconds=STARTED_SECONDS)
    yield _grow_old(stay, target, STARTED_SECONDS, changes=False)
    prove = call(
        proof.prove,
        site=site,
        desired=desired,
        workers=target.worker_counts,
        seconds=JOB_TIMEOUT,
    )
    passes = f"a test job passes through each of {len(target.worker_counts)} queues"
    longest = max(JOB_TIMEOUT, target.settings.drain_timeout)
    proving = run(prove, target, waits=passes, limit=longest)
    yield Guarded(proving, target)
    # The last two for the record alone: meanwhile the workers grow old anyway.
    kinds = (parts.Supervisor, parts.View, parts.OldBackend, parts.OldWorkers)
    facts.see(target, *kinds, parts.Packages, parts.Libraries)
    recording.drain(state, host, facts.ask(target, parts.OldBackend))
    facts.rest_view(target, fresh=True)
    if faults := decisions.view_faults(target, facts.asking(target)):
        yield give_up(f"not proven: {'; '.join(faults)}. {_REMEDY}", target)
        return
    workers_and_proof = _evidence(target, proving.done.proof)
    packages, libraries = facts.ask(target, parts.Packages), facts.ask(target, parts.Libraries)
    remember = call(proof.record, site=site, desired=desired, seconds=STABLE_SECONDS)
    keeps = (parts.OldBackend, parts.OldWorkers)
    yield _grow_old(remember, target, STABLE_SECONDS, keeps)
    recording.proven(state, host, *workers_and_proof)
    recording.versions(state, host, "after", parse.versions(packages, libraries))


def _grow_old(
    call: Call[list[str]] | Call[Done],
    target: Target,
    seconds: int,
    keeps: Collection[type] = (),
    *,
    changes: bool = True,
) -> Guarded:
    """A call that ends when the workers have lived for some seconds."""
    lives = f"each worker has to live for {seconds} s without a restart"
    limit = workers.STABLE_LIMIT + seconds
    action = run(call, target, keeps, waits=lives, limit=limit, changes=changes)
    return Guarded(action, target)


def _evidence(target: Target, jobs: Iterable[ProofJob]) -> tuple[list[Worker], Proof]:
    """The worker set and its proof, as the run's record has them."""
    supervisor, view = facts.ask(target, parts.Supervisor), facts.ask(target, parts.View)
    seen = time.time() - facts.age(parts.Supervisor)
    found = parse.group_workers(supervisor.workers)
    group = [
        Worker(name, parse.program_of(name), one.pid, record.now(seen - one.uptime))
        for name, one in sorted(found.items())
    ]
    queues = {name: parse.workers_in(view.workers.get(name)) for name in target.worker_counts}
    return group, Proof(
        at=record.now(),
        jobs=[Job(one.queue, one.id, record.now(one.began), one.seconds) for one in jobs],
        view={name: {"workers": count, "good": good} for name, (count, good) in queues.items()},
        supervisord_status=view.workers.get("supervisord_status") is True,
        over_rest=facts.rest_view(target) is not None,
    )
