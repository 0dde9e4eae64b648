"""How the workers of a host are: one look, a few lines, and each fault with its remedy."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pyinfra import logger
from pyinfra.context import host, state

from tasks import facts, first_look, misp_rest
from tasks.checks import faults
from tasks.checks import state as states
from tasks.checks.seen import SeenForStatus
from tasks.errors import problems_of
from tasks.report import events, recording
from tasks.report.status import Status, read
from tasks.target import Target

# What may quote the host; the rest of a status has values of ours.
_TEXTS = ("faults", "lines", "next_step", "versions", "supervisord", "last_run")


def reported() -> None:
    """Print the current host's state; with a fault the host counts as failed (exit status 1)."""
    secrets: list[str] = []
    try:
        asked = first_look.asked_host()
        secrets = asked.secrets.texts()
        found = _looked_at(asked)
    except Exception as error:  # one host's failure must not hide the others
        found = states.failed(host.name, problems_of(error))
    found = _masked(found, secrets)
    events.emit("status", host.name, status=asdict(found))
    _print(found)


def _looked_at(asked: Target) -> Status:
    """Return what there is, and what is wrong."""
    target, seen = first_look.look(asked, SeenForStatus)
    rest = misp_rest.faults(target, facts.rest_view(target)) if faults.shows_in_view(seen) else []
    found = states.status(host.name, target, seen, faults.of(target, seen, rest))
    return states.expected(found, target.settings.expect or "")


def _masked(found: Status, secrets: list[str]) -> Status:
    """Return the status without the operator's secrets, which a host may repeat in any text."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for secret in sorted(filter(None, secrets), key=len, reverse=True):
                value = value.replace(secret, "***")
        elif isinstance(value, list):
            return [clean(one) for one in value]
        elif isinstance(value, dict):
            return {key: clean(one) for key, one in value.items()}
        return value

    document = asdict(found)
    return read({**document, **{key: clean(document[key]) for key in _TEXTS}})


def _print(found: Status) -> None:
    for line in found.lines:
        logger.info(f"{host.print_prefix}{line}")
    if not found.faults:
        logger.info(f"{host.print_prefix}healthy")
        return
    count = len(found.faults)
    heading = f"{count} fault{'s' if count > 1 else ''}"
    recording.out_of_the_run(state, host, heading, [fault.sentence for fault in found.faults])
