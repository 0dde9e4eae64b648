"""Step 4: supervisord's RPC interface, which MISP asks about its workers."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts, parse
from tasks.commands import fail, run
from tasks.host import parts, rpc
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.RPC)
def opened(target: Target) -> Commands:
    """Have supervisord run, enabled, and answer its RPC with the credentials MISP will use.

    The restart follows from that answer and not from "the file changed in this run", so a run that
    died between the two is made good by the next. `supervisorctl update` would not do: it leaves
    [inet_http_server] alone.
    """
    ask = facts.asking(target)
    if not decisions.rpc(target, ask):
        host.noop(f"supervisord answers at {_address(target)}")
        return
    supervisor = facts.ask(target, parts.Supervisor)
    foreign = parse.foreign_programs(supervisor.workers)
    will_restart = decisions.restarts_supervisord(target, ask)
    if foreign and will_restart and not target.settings.allow_foreign_restart:
        yield fail(
            f"supervisord has to be restarted and also runs {', '.join(foreign)}: set "
            "allow_foreign_restart to true when a restart of these is acceptable, then run again"
        )
        return
    configure = call(
        rpc.configure,
        site=target.site(),
        desired=target.desired(),
        text="" if target.rpc_elsewhere else target.rpc_text(),
        rotate=target.settings.rotate_password,
    )
    starts = "supervisord starts"
    if supervisor.unit.active == "active":
        starts += " anew, once its workers have no job"
    yield run(configure, target, waits=starts, limit=target.settings.drain_timeout)


def _address(target: Target) -> str:
    return f"unix:{target.rpc_socket}" if target.rpc_socket else f"127.0.0.1:{target.rpc_port}"
