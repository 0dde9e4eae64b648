"""Why a host is not migrated: each reason a sentence with its remedy."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.checks import misp, old_workers, redis, scheduled_tasks, supervisor, system, web
from tasks.checks.seen import SeenToMigrate
from tasks.target import Target


def of(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Return all that keeps this host from being migrated."""
    problems = list(_causes(target, seen))
    yield from problems or system.job(target, seen)


def _causes(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    yield from system.host(target, seen)
    yield from system.room(target, seen)
    if problem := misp.root(target, seen):
        yield problem
        yield from system.php(target, seen)
        return
    if seen.tree.error:  # nothing of MISP's was run or read, so little is known
        yield seen.tree.error
        yield from supervisor.port_holder(target, seen)
        return
    yield from misp.files(target, seen)
    yield from misp.libraries(target, seen)
    yield from system.php(target, seen)
    yield from misp.web_user(target, seen)
    yield from web.check(target, seen)
    yield from misp.settings(target, seen)
    yield from redis.check(target, seen)
    yield from supervisor.check(target, old_workers.without_programs(seen))
    yield from old_workers.check(target, seen)
    yield from scheduled_tasks.check(target, seen)


def can_ask_rest(seen: SeenToMigrate) -> bool:
    """Whether MISP's REST interface can answer: without its settings or Redis MISP cannot."""
    return not (seen.tree.error or seen.settings.error or seen.old_backend.error)
