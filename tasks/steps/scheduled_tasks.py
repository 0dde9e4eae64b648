"""The end of step 10: cron, or MISP's own scheduler, runs MISP's scheduled tasks."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.context import host

from tasks import facts
from tasks.commands import run
from tasks.host import cron, parts, scheduled_tasks
from tasks.host.site import CRON
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.SCHEDULED_TASKS)
def handed_over(target: Target) -> Commands:
    """Have no scheduled task of MISP's left to the old backend, and show where they go.

    The call that ends the old workers hands them over with it, so that nobody waits for them.
    """
    tasks = facts.ask(target, parts.ScheduledTasks)
    if not tasks.left:
        host.noop("the old backend has no scheduled task to hand over")
        return
    owner = cron.FILE if target.scheduled_tasks == CRON else "MISP's own scheduler"
    logger.info(f"{host.print_prefix}scheduled tasks go to {owner}:")
    for line in tasks.lines:
        logger.info(f"{host.print_prefix}    {line}")
    if not decisions.scheduled_tasks(target, facts.asking(target)):
        host.noop("they are handed over when the old workers end")
        return
    site, desired = target.site(), target.desired()
    yield run(call(scheduled_tasks.hand_over_tasks, site=site, desired=desired), target)
