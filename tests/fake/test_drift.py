"""A migrated host that was changed by hand: the run does what the dry run has said, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests import hosts
from tests.fake.answers import (
    ACTIONS,
    EXAMINE,
    PREVIEWS,
    PROVEN,
    SETTINGS_APPLIED,
    SOURCES,
    Answers,
)
from tests.fake.conftest import Run
from tests.unit.plan.test_forecast import DRIFT, STOPPED_DAEMON

Pyinfra = Callable[..., Run]


def drifted(changes: dict[str, Any], steps: list[str]) -> Answers:
    """A host that is found like this, and as its functions leave it after each step.

    Whatever starts other workers takes the proof away (tasks/host/workers.py, settings.py).
    """
    proof = {"proof": {"proven": "" if "Proof" in steps else "e"}}
    after_rpc = dict(changes)
    if steps[0] != "Proof":
        after_rpc.pop("view", None)  # whatever comes before the proof mends it
    if "supervisord" in steps:
        fits = STOPPED_DAEMON.keys() | {"workers"}  # it also makes the folder of logs
        after_rpc = {part: found for part, found in after_rpc.items() if part not in fits}
        if "Workers" in steps:  # it holds a group while the backend is off
            after_rpc["workers"] = {"digest": ""}
    after_settings = {part: found for part, found in after_rpc.items() if part != "settings"}
    found = hosts.converged("debian", **changes)
    return {
        "id -u": hosts.identity("debian"),
        EXAMINE: hosts.look(found),
        PROVEN: hosts.look(hosts.converged()),
        SETTINGS_APPLIED: hosts.look(hosts.converged("debian", **after_settings)),
        **{
            f"look.take {type(found[part]).__name__}": hosts.look(
                hosts.converged("debian", **after_rpc)
            )
            for part in {"settings", "workers", *changes}
        },
        "look.take": hosts.look(hosts.converged("debian", **proof)),
        SOURCES: hosts.answer(hosts.SOURCES),
        **PREVIEWS,
        **ACTIONS,
    }


def by_host(run: Run, part: str) -> dict[str, set[str]]:
    """Names of the operations that a JSON report has for each host."""
    report = json.JSONDecoder().raw_decode(run.output)[0]
    rows = report["plan"] if part == "hosts_with_change" else report["results"]["operations"]
    found: dict[str, set[str]] = {}
    for row in rows:
        for name in row[part]:
            found.setdefault(name, set()).add(row["name"].partition(":")[0])
    return found


def test_a_dry_run_names_the_steps_that_the_run_then_takes(pyinfra: Pyinfra) -> None:
    found = {
        f"host{number}": {"fake_responses": drifted(changes, steps)}
        for number, (changes, steps) in enumerate(DRIFT.values())
    }
    planned = pyinfra(found, "--dry", "--json")
    assert planned.exit_code == 0, planned.output
    wanted = {f"@fake/host{n}": set(steps) for n, (_, steps) in enumerate(DRIFT.values())}
    assert by_host(planned, "hosts_with_change") == wanted
    done = pyinfra(found, "-y", "--json")
    assert done.exit_code == 0, done.output
    assert by_host(done, "success") == wanted
