"""How the workers of a host are: one look, a few lines, and each fault with its remedy."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.context import host, state

from tasks import facts, first_look, misp_rest
from tasks.checks import faults
from tasks.checks.seen import SeenForStatus
from tasks.errors import problems_of
from tasks.report import events, recording


def reported() -> None:
    """Print the current host's state; with a fault the host counts as failed (exit status 1)."""
    try:
        lines, found = _looked_at()
    except Exception as error:  # one host's failure must not hide the others
        lines, found = [], problems_of(error)
    _print(lines, found)


def _looked_at() -> tuple[list[str], list[str]]:
    """Return what there is, and what is wrong."""
    target, seen = first_look.look(first_look.asked_host(), SeenForStatus)
    rest = misp_rest.faults(target, facts.rest_view(target)) if faults.shows_in_view(seen) else []
    return [*faults.described(target, seen)], [*faults.of(target, seen, rest)]


def _print(lines: list[str], found: list[str]) -> None:
    events.emit("status", host.name, status={"state": "unknown", "lines": lines, "faults": found})
    for line in lines:
        logger.info(f"{host.print_prefix}{line}")
    if not found:
        logger.info(f"{host.print_prefix}healthy")
        return
    heading = f"{len(found)} fault{'s' if len(found) > 1 else ''}"
    recording.out_of_the_run(state, host, heading, found)
