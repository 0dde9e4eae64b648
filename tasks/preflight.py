"""Step 1: look at everything, change nothing, and say all that is wrong at once."""

from __future__ import annotations

import gc

from pyinfra import logger
from pyinfra.context import host, state

from tasks import facts, notes, obstacles, parse, reporting
from tasks.acquaintance import RefusedError, asked_target, with_answers
from tasks.parse import Answer
from tasks.target import Target

# Whatever is imported by now stays until this process ends, so the collector need not go through it
# again and again, nor at the end: 0.1 s of a run.
gc.freeze()

SUBJECTS = ("system", "misp", "php", "web", "settings", "redis", "supervisor", "selinux", "legacy")
# What the steps will ask: one look serves a host that is migrated already.
LATER = ("packages", "libraries", "rpc", "workers", "proof", "view")


def examine() -> Target | None:
    """What to do to the current host, or `None`: then it is refused and out of the run.

    Every problem is printed, each with what to do about it. The host counts as failed, so pyinfra
    ends with status 1, for a dry run too; nothing on it has been changed.
    """
    reporting.begin("deploy", state, host)
    try:
        return _examine()
    except RefusedError as refusal:
        _refuse(refusal.problems)
        return None


def _examine() -> Target:
    asked = _asked()
    answer = facts.ask(asked, *SUBJECTS, *LATER)
    target = with_answers(asked, answer)
    _report_versions(target, answer)
    for warning in notes.of(target, answer):
        logger.warning(f"{host.print_prefix}note: {warning}")
    if problems := list(obstacles.of_migration(target, answer)):
        raise RefusedError(problems)
    return target


def examine_for_rollback() -> Target | None:
    """What to put back on the current host; `None`: it is refused, or there is nothing to do."""
    reporting.begin("rollback", state, host)
    try:
        return _examine_for_rollback()
    except RefusedError as refusal:
        _refuse(refusal.problems)
        return None


def _examine_for_rollback() -> Target | None:
    asked = _asked()
    answer = facts.ask(asked, *SUBJECTS, "originals", "new_backend")
    target = with_answers(asked, answer)
    _report_versions(target, answer)
    if not answer.one("kept") and not target.is_on:
        logger.info(f"{host.print_prefix}nothing to put back: this host was not migrated")
        return None
    if problems := list(obstacles.of_rollback(target, answer)):
        raise RefusedError(problems)
    return target


def _asked() -> Target:
    asked = asked_target()
    secrets = (getattr(asked.secrets, name) for name in type(asked.secrets).model_fields)
    reporting.hide(state, host, [secret.unmask() for secret in secrets if secret])
    return asked


def _report_versions(target: Target, answer: Answer) -> None:
    reporting.versions(
        state,
        host,
        misp=parse.dotted(target.version) if any(target.version) else "",
        php=answer.one("php_version"),
        supervisor=answer.one("supervisor_version"),
    )


def _refuse(problems: list[str]) -> None:
    logger.error(f"{host.print_prefix}refused before any change:")
    for number, problem in enumerate(problems, 1):
        logger.error(f"{host.print_prefix}  {number}. {problem}")
    reporting.refused(state, host, problems)
    # pyinfra's own way for a host whose fact cannot be loaded: out of this run, exit status 1.
    state.fail_hosts({state.inventory.get_host(host.name)})
