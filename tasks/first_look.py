"""The first round trips to a host: who answers there, and all parts that a command needs."""

from __future__ import annotations

from pyinfra.context import host

from tasks import connection, facts, identity
from tasks.checks.seen import AnySeen, gathered, kinds
from tasks.settings import from_host_data, resolve_secrets
from tasks.target import Target


def asked_host() -> Target:
    """Return the current host as the operator's data has it, ready to be looked at.

    Raises:
        RefusedError: the data is wrong, or this deploy cannot work on the host.
    """
    settings = from_host_data(host.data.dict())
    secrets = resolve_secrets(settings)
    connection.prepare(host)
    platform, python = identity.system_of(*facts.identity())
    return Target(
        settings=settings,
        secrets=secrets,
        platform=platform,
        python=python,
        web_user=settings.misp_web_user or "",
        rpc_port=settings.supervisor_port,
        rpc_user=settings.supervisor_user,
    )


def look(target: Target, seen: type[AnySeen]) -> tuple[Target, AnySeen]:
    """Return the target completed with the host's answers, and all the parts that `seen` has.

    Raises:
        MigrationError: the host gives no answer that can be trusted.
    """
    facts.see(target, *kinds(seen))
    found = gathered(seen, lambda kind: facts.ask(target, kind))
    return identity.with_answers(target, found), found
