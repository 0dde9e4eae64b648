"""Step 4: supervisord's RPC interface, which MISP asks about its workers."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from tasks import facts, parse, render
from tasks.commands import fail, run
from tasks.target import Target


@operation()
def opened(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have supervisord run, enabled, and answer its RPC with the credentials MISP will use.

    The restart follows from that answer and not from "the file changed in this run", so a run that
    died between the two is made good by the next. `supervisorctl update` would not do: it leaves
    [inet_http_server] alone.
    """
    answer = facts.ask(target, "rpc")
    rotates = target.settings.rotate_password
    is_running = answer.words("unit_state") == ["active", "enabled"]
    is_answering = answer.one("answer") == f"200 {answer.one('daemon_pid')}"
    is_current = bool(target.rpc_elsewhere) or (
        answer.one("file") == "current" and answer.one("file_mode") == "root:root 600"
    )
    if is_running and is_answering and is_current and not rotates:
        host.noop(f"supervisord answers at {_address(target)}")
        return
    status = parse.supervisor_status(answer.all("status"))
    foreign = parse.foreign_programs(status, render.GROUP)
    will_restart = rotates or not is_answering
    if foreign and will_restart and not target.settings.allow_foreign_restart:
        yield fail(
            f"supervisord has to be restarted and also runs {', '.join(foreign)}: set "
            "allow_foreign_restart to true when a restart of these is acceptable"
        )
        return
    yield run(
        "configure_rpc",
        target,
        write_rpc_file="no" if target.rpc_elsewhere else "yes",
        rotate="yes" if rotates else "no",
    )


def _address(target: Target) -> str:
    return f"unix:{target.rpc_socket}" if target.rpc_socket else f"127.0.0.1:{target.rpc_port}"
