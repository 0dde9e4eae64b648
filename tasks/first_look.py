"""The first round trips to a host: who answers there, all parts that a command needs, sources."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pyinfra.context import host, state

from tasks import connection, facts, identity, places, remote
from tasks.checks.seen import AnySeen, Seen, gathered, kinds
from tasks.errors import MigrationError, RefusedError, problems_of
from tasks.host import parts, sources
from tasks.host.parts import Sources
from tasks.host.remedies import word
from tasks.settings import from_host_data, resolve_secrets
from tasks.target import Target

_NOTHING = Sources({}, {}, [], [], [])


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
            f"`pip install --editable {word(str(folder))}`"
        )


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


def try_sources(target: Target, seen: Seen) -> Sources:
    """Return whether what the host lacks can be had; no round trip where it lacks nothing.

    A host without an answer has that as its problem: its others are to be told as well.
    """
    names = target.wanted(seen.packages)
    if all(name in seen.packages.installed for name in names):
        names = []
    # What a run of Composer's that was cut off has left is put back before the next one.
    lacks = not (seen.libraries.are_in_place or seen.libraries.is_unfinished)
    can_try = lacks and not seen.tree.error and any(seen.php.version)
    composer = target.composer.split() if can_try else []
    if not names and not composer:
        return _NOTHING
    call = remote.look(
        sources.look,
        site=target.site(),
        desired=target.desired(),
        manager=target.platform.manager,
        trial=target.platform.trial,
        names=names,
        may_use_epel=target.settings.epel,
        composer=composer,
        http_proxy=target.secrets.proxy_url,
    )
    try:
        return facts.get(target, call)
    except MigrationError as error:
        return _NOTHING._replace(problems=problems_of(error))
