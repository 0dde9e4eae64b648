"""The first round trips to a host: who answers there, and all parts that a command needs."""

from __future__ import annotations

from functools import partial

from pyinfra.context import host

from tasks import connection, facts, identity
from tasks.checks.seen import AnySeen, gathered, kinds
from tasks.host import parts
from tasks.settings import from_host_data, resolve_secrets
from tasks.target import Target


def asked_host() -> Target:
    """Return the current host as the operator's data has it, ready to be looked at.

    Raises:
        RefusedError: the data is wrong, or this deploy cannot work on the host.
    """
    settings = from_host_data(host.data.dict())
    secrets = resolve_secrets(settings)
    connection.send_at_once(host)
    platform, python = identity.system_of(_identity())
    return Target(
        settings=settings,
        secrets=secrets,
        platform=platform,
        python=python,
        web_user=settings.misp_web_user or "",
        rpc_port=settings.supervisor_port,
        rpc_user=settings.supervisor_user,
    )


def _identity() -> list[str] | None:
    try:
        return host.get_fact(facts.Identity, _ignore_errors=True)
    except EOFError:  # pyinfra asks for sudo's password, and there is no terminal
        return None


def look(target: Target, seen: type[AnySeen]) -> tuple[Target, AnySeen]:
    """Return the target completed with the host's answers, and all the parts that `seen` has.

    Raises:
        MigrationError: the host gives no answer that can be trusted.
    """
    facts.see(target, *kinds(seen))
    target = identity.with_answers(target, gathered(seen, partial(facts.ask, target)))
    if target.rpc_socket and parts.Rpc in kinds(seen):
        # Only now it is known where the socket is, and so what the RPC's file is to be.
        facts.see(target, parts.Rpc)
    return target, gathered(seen, partial(facts.ask, target))
