"""Step 7: the worker group under supervisord."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts
from tasks.commands import Guarded, run
from tasks.host import parts, workers
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.WORKERS, returns=True)
def running(target: Target) -> Commands:
    """Have the group's file in place, loaded by supervisord, and exactly its workers started.

    The proof step checks that the workers stay up; it has to wait anyway.
    """
    faults = decisions.group_faults(target, facts.asking(target))
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
