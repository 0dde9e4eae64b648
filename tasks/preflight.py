"""Step 1: look at everything, change nothing, and say all that is wrong at once."""

from __future__ import annotations

import gc
from collections.abc import Callable

from pyinfra import logger
from pyinfra.context import host, state

from tasks import facts, first_look, misp_rest, parse
from tasks.checks import healthcheck, migration, notes, rollback, sources
from tasks.checks import state as states
from tasks.checks.seen import AnySeen, SeenForStatus, SeenToMigrate, SeenToReturn
from tasks.errors import MigrationError, RefusedError, problems_of
from tasks.host import proxy
from tasks.plan import gather
from tasks.report import events, recording
from tasks.target import Target

_LONGEST = 4000  # characters of a reason, which may quote the host

# All that is imported by now stays until this process ends, so the garbage collector need not go
# through it again and again, nor at the end: 0.1 s of a run.
gc.freeze()


def examine() -> Target | None:
    """Return what to do to the current host; `None`: it is refused and out of the run.

    Every problem is printed, each with what to do about it. The host counts as failed, so pyinfra
    ends with status 1, for a dry run too; nothing on it has been changed.
    """
    return _unless_refused("deploy", _examine)


def examine_for_rollback() -> Target | None:
    """Return what to put back on the current host.

    `None`: the host is refused, or there is nothing to put back.
    """
    return _unless_refused("rollback", _examine_for_rollback)


def examine_for_healthcheck() -> Target | None:
    """Return the migrated host that a health check is to be left on; `None`: it is refused."""
    return _unless_refused("healthcheck", _examine_for_healthcheck)


def _unless_refused(deploy: str, examined: Callable[[], Target | None]) -> Target | None:
    recording.begin(deploy, state, host)
    try:
        target = examined()
    except Exception as error:
        if not isinstance(error, MigrationError):
            logger.debug("examining a host failed", exc_info=True)
        _refuse(problems_of(error))
        return None
    recording.examined(state, host)
    return target


def _examine() -> Target:
    target, seen = _seen(SeenToMigrate)
    tried = first_look.try_sources(target, seen)
    for note in (*notes.of(target, seen), *sources.noted(tried)):
        logger.warning(f"{host.print_prefix}note: {note}")
        events.emit("says", host.name, text=f"note: {note}")
    for what, found in (("packages", tried.packages), ("PHP libraries", tried.libraries)):
        if found:
            came = ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
            logger.info(f"{host.print_prefix}{what} that would be installed: {came}")
    problems = [*migration.of(target, seen), *sources.check(tried)]
    if migration.can_ask_rest(seen):
        problems += filter(None, [misp_rest.access_problem(facts.rest_view(target))])
    if problems:
        raise RefusedError(*problems)
    offered = gather.Offered(tried.packages, tried.libraries)
    gather.foresee(target, "deploy", offered)
    return target


def _examine_for_rollback() -> Target | None:
    target, seen = _seen(SeenToReturn)
    is_off = not (target.is_on or seen.settings.error)  # which is known only where they are read
    if not seen.originals.is_kept and is_off:
        gather.foresee(target, "rollback")
        logger.info(f"{host.print_prefix}nothing to put back: this host was not migrated")
        return None
    if problems := list(rollback.of(target, seen)):
        raise RefusedError(*problems)
    gather.foresee(target, "rollback")
    return target


def _examine_for_healthcheck() -> Target:
    target, seen = _seen(SeenForStatus)
    if problems := list(healthcheck.of(target, seen)):
        raise RefusedError(*problems)
    return target


def _seen(parts: type[AnySeen]) -> tuple[Target, AnySeen]:
    """Look at the host, and report what runs there."""
    asked = first_look.asked_host()
    user_of_url = proxy.secrets_of(asked.settings.misp_url or "")
    recording.hide(state, host, [*asked.secrets.texts(), *user_of_url])
    recording.data(state, host, host.data.dict(), asked.settings.shown())
    target, seen = first_look.look(asked, parts)
    found = {**states.versions(target, seen), **parse.versions(seen.packages, seen.libraries)}
    recording.versions(state, host, "before", found)
    recording.drain(state, host, seen.old_backend)
    return target, seen


def _refuse(problems: list[str]) -> None:
    # First, since a cut may leave a part of a secret.
    problems = [recording.masked(state, host, one) for one in problems]
    problems = [one if len(one) <= _LONGEST else one[:_LONGEST] + "..." for one in problems]
    recording.refused(state, host, problems)
    recording.out_of_the_run(state, host, "refused before any change", problems)
