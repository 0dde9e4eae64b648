"""Why no health check is left on a host."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.checks import state, system
from tasks.checks.seen import SeenForStatus
from tasks.report.events import program
from tasks.target import Target


def of(target: Target, seen: SeenForStatus) -> Iterator[str]:
    """Return all that keeps the check from being left on this host."""
    yield from system.host(target, seen)
    found = state.state(seen)
    if found != "migrated":
        yield (
            f"the health check is for a migrated host, and the state of this one is {found}: run "
            f"{program('status')} to see why, and {program('deploy')} first"
        )
    elif not seen.supervisor.unix_socket:
        yield (
            f"{seen.supervisor.conf} has no [unix_http_server], by which root asks supervisord "
            "without a password: add one, restart supervisord, and run again"
        )
