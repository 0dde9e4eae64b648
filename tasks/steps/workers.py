"""Step 7: the worker group under supervisord."""

from __future__ import annotations

import hashlib

from pyinfra.context import host

from tasks import facts, parse
from tasks.commands import Guarded, run
from tasks.host import parts, workers
from tasks.host.site import LOG_DIR
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(returns=True)
def running(target: Target) -> Commands:
    """Have the group's file in place, loaded by supervisord, and exactly its workers started.

    The proof step checks that the workers stay up; it has to wait anyway.
    """
    faults = _faults(target, facts.ask(target, parts.Workers))
    is_cut_off = facts.ask(target, parts.NewBackend).aside > 0
    if not faults and not is_cut_off:
        host.noop(f"{len(target.process_names)} workers run")
        return
    site, desired = target.site(), target.desired()
    if is_cut_off:
        yield run(call(workers.take_jobs_back, site=site, desired=desired), target)
    if faults:
        apply = call(workers.apply, site=site, desired=desired, text=target.group_text())
        starts = f"supervisord starts {len(target.process_names)} workers; any that run end first"
        limit = target.settings.drain_timeout
        yield Guarded(run(apply, target, waits=starts, limit=limit), target)


def _faults(target: Target, seen: parts.Workers) -> list[str]:
    digest = hashlib.sha256(target.group_text().encode()).hexdigest()
    faults = []
    if seen.digest != digest:
        faults.append("the group's file is not current")
    if not seen.has_log_dir:
        faults.append(f"{LOG_DIR} is not as it should be")
    if seen.applied != digest:
        faults.append("supervisord has not loaded the current file")
    faults += [f"PID {pid} is a worker of a killed supervisord" for pid in seen.strays]
    status = facts.ask(target, parts.Supervisor).workers
    return faults + parse.wrong_workers(status, target.process_names)
