"""Why a host does not go back to its old workers: each reason a sentence with its remedy."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import parse
from tasks.checks import misp, supervisor, system
from tasks.checks.seen import SeenToReturn
from tasks.host.site import STATE_DIR
from tasks.target import Target


def of(target: Target, seen: SeenToReturn) -> Iterator[str]:
    """Return all that keeps this host from going back."""
    if _had_no_old_workers(seen):
        yield (
            "MISP already used the new backend when the migration first ran here, and no old "
            "workers ran, so there is nothing to go back to and all stays as it is. "
            f"{STATE_DIR}/originals/saved holds what the migration replaced"
        )
        return
    if problem := misp.root(target, seen) or seen.tree.error:
        yield problem
        return
    yield from system.host(target, seen)
    if seen.originals.is_kept or target.is_on:
        yield from misp.unsavable(target, seen)
    yield from _old_backend(target, seen)
    yield from supervisor.other_misps(target, seen.supervisor)
    yield from _restart(target, seen)
    if not seen.originals.is_kept and seen.settings.error:
        yield (
            f"{STATE_DIR} holds no record of a migration, and MISP's settings cannot be read, so "
            f"whether there is one to take back cannot be told: {seen.settings.error}"
        )
    elif not seen.originals.is_kept:
        yield (
            f"{STATE_DIR} holds no record of this host's old state, since it was migrated "
            "by other means: go back by hand"
        )


def _had_no_old_workers(seen: SeenToReturn) -> bool:
    recorded = seen.originals.units_before or seen.originals.launchers
    return seen.originals.was_on and not recorded and not seen.old_workers.live


def _old_backend(target: Target, seen: SeenToReturn) -> Iterator[str]:
    if not seen.old_backend.is_installed:
        yield (
            f"MISP {parse.dotted(target.version)} here has no CakeResque any more "
            "(app/Plugin/CakeResque), so there are no old workers to go back to: stay on the new "
            "backend, or restore the MISP version that had it"
        )
    elif seen.old_backend.error:
        yield (
            f"the old workers' Redis cannot be used: {seen.old_backend.error}. Start it, or "
            "correct app/Plugin/CakeResque/Config/config.php"
        )


def _restart(target: Target, seen: SeenToReturn) -> Iterator[str]:
    """Check consent again: programs may have come, or consent may have gone, since then."""
    was_active = seen.originals.daemon_before.split()[:1] == ["active"]
    if not (was_active and seen.originals.has_rpc_file):
        return  # no restart
    if target.settings.allow_foreign_restart:
        return
    if problem := supervisor.unknown_programs(seen.supervisor):
        yield problem
    if foreign := parse.foreign_programs(seen.supervisor.workers):
        yield (
            f"supervisord also runs {', '.join(foreign)}, and a restart to take its RPC back stops "
            "them for some seconds: set allow_foreign_restart to true when that is acceptable"
        )
