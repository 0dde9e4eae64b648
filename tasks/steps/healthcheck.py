"""The health check: a small program on the host that a monitor runs."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts
from tasks.commands import run
from tasks.host import healthcheck, parts
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.HEALTH_CHECK)
def left(target: Target) -> Commands:
    """Have the health check on the host, as this version of the project has it."""
    if not decisions.health_check(target, facts.asking(target)):
        host.noop("the health check is there")
        return
    text = target.health_check(facts.ask(target, parts.Supervisor).unix_socket)
    yield run(call(healthcheck.install, site=target.site(), text=text), target)
