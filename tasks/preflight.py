"""Step 1: look at everything, change nothing, and say all that is wrong at once."""

from __future__ import annotations

import gc
from collections.abc import Callable

from pyinfra import logger
from pyinfra.context import host, state

from tasks import facts, first_look, misp_rest, parse
from tasks.checks import migration, notes, rollback
from tasks.checks.seen import AnySeen, SeenToMigrate, SeenToReturn
from tasks.errors import MigrationError, RefusedError, problems_of
from tasks.plan import gather
from tasks.report import recording
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


def _unless_refused(deploy: str, examined: Callable[[], Target | None]) -> Target | None:
    recording.begin(deploy, state, host)
    try:
        return examined()
    except Exception as error:
        if not isinstance(error, MigrationError):
            logger.debug("examining a host failed", exc_info=True)
        _refuse(problems_of(error))
        return None


def _examine() -> Target:
    target, seen = _seen(SeenToMigrate)
    for note in notes.of(target, seen):
        logger.warning(f"{host.print_prefix}note: {note}")
    problems = list(migration.of(target, seen))
    if migration.can_ask_rest(seen):
        problems += filter(None, [misp_rest.access_problem(facts.rest_view(target))])
    if problems:
        raise RefusedError(*problems)
    gather.foresee(target, "deploy")
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


def _seen(parts: type[AnySeen]) -> tuple[Target, AnySeen]:
    """Look at the host, and report what runs there."""
    asked = first_look.asked_host()
    recording.hide(state, host, asked.secrets.texts())
    target, seen = first_look.look(asked, parts)
    recording.versions(
        state,
        host,
        misp=parse.dotted(target.version) if any(target.version) else "",
        php=seen.php.version_text,
        supervisor=seen.packages.supervisor_version,
    )
    return target, seen


def _refuse(problems: list[str]) -> None:
    problems = [one if len(one) <= _LONGEST else one[:_LONGEST] + "..." for one in problems]
    recording.refused(state, host, problems)
    recording.out_of_the_run(state, host, "refused before any change", problems)
