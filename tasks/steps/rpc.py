"""Step 4: supervisord's RPC interface, which MISP asks about its workers."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts, parse
from tasks.commands import fail, run
from tasks.host import parts, rpc
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step()
def opened(target: Target) -> Commands:
    """Have supervisord run, enabled, and answer its RPC with the credentials MISP will use.

    The restart follows from that answer and not from "the file changed in this run", so a run that
    died between the two is made good by the next. `supervisorctl update` would not do: it leaves
    [inet_http_server] alone.
    """
    # With a socket the first look did not know yet what the file is to be.
    seen = facts.ask(target, parts.Rpc, fresh=bool(target.rpc_socket))
    supervisor = facts.ask(target, parts.Supervisor)
    rotates = target.settings.rotate_password
    is_running = (supervisor.unit.active, supervisor.unit.enabled) == ("active", "enabled")
    is_answering = seen.answer == "ok"
    is_current = seen.keeps_log_folders and (bool(target.rpc_elsewhere) or seen.is_current)
    if is_running and is_answering and is_current and not rotates:
        host.noop(f"supervisord answers at {_address(target)}")
        return
    foreign = parse.foreign_programs(supervisor.workers)
    will_restart = rotates or not is_answering
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
        rotate=rotates,
    )
    restarts = "supervisord starts anew, once its workers have no job" if is_running else ""
    limit = target.settings.drain_timeout
    yield run(configure, target, waits=restarts or "supervisord starts", limit=limit)


def _address(target: Target) -> str:
    return f"unix:{target.rpc_socket}" if target.rpc_socket else f"127.0.0.1:{target.rpc_port}"
