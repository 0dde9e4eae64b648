"""The first round trips to a host: who answers there, and all parts that a command needs."""

from __future__ import annotations

from pathlib import Path

from pyinfra.context import host, state

from tasks import connection, facts, identity, places
from tasks.checks.seen import AnySeen, gathered, kinds
from tasks.errors import RefusedError
from tasks.settings import from_host_data, resolve_secrets
from tasks.target import Target


def asked_host() -> Target:
    """Return the current host as the operator's data has it, ready to be looked at.

    Raises:
        RefusedError: the data is wrong, or this deploy cannot work on the host.
    """
    _check_project()
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


def _check_project() -> None:
    """Refuse a deploy of one checkout with the package of another project that pip installed."""
    folder = Path(state.current_exec_filename or "").resolve().parent
    if folder != places.ROOT and (folder / "tasks" / "first_look.py").exists():
        raise RefusedError(
            f"the deploy is that of {folder}, but Python takes the package `tasks` of "
            f"{places.ROOT}: run `misp-workers`, which takes both from there, or "
            f"`pip install --editable {folder}`"
        )


def look(target: Target, seen: type[AnySeen]) -> tuple[Target, AnySeen]:
    """Return the target completed with the host's answers, and all the parts that `seen` has.

    Raises:
        MigrationError: the host gives no answer that can be trusted.
    """
    facts.see(target, *kinds(seen))
    found = gathered(seen, lambda kind: facts.ask(target, kind))
    return identity.with_answers(target, found), found
