"""A run, and a dry run, on hosts that are migrated: beside Ansible and the bare floor."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lab import run
from lab.bench import deploy, logins, timeline
from lab.bench.measure import Summary, take_turns
from lab.bench.options import Options
from lab.bench.playbook import Playbook
from lab.bench.verdict import Figure, Section, ratio
from lab.console import step
from lab.hosts import LabHost
from lab.lab import Lab

RUN, DRY, ANSIBLE, FLOOR = "deploy", "dry run", "ansible", "floor"

MOST_OF_ANSIBLE = 0.2
MOST_OF_FLOOR = 3.0
MOST_ROUND_TRIPS = 12
_COUNTED = "commands over SSH; besides them one HTTPS request, as misp_url is given"

NOTES = (
    "The playbook does not look at what preflight looks at (versions, extensions, memory, disk, "
    "ports, other MISPs' keys, hidden old workers), nor whether supervisord has loaded the current "
    "file and a proof was made for it.",
    "The floor judges nothing: it asks in one login with sudo, and calls `cake` once.",
)


def measured(lab: Lab, options: Options) -> Section:
    """Measure on one host of each family, and on both at once."""
    every = list(lab)
    scopes = {**{host.name: [host] for host in every}, f"{len(every)} hosts": every}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        playbook = Playbook(lab, Path(folder))
        times = {
            scope: take_turns(
                {
                    RUN: partial(deploy.again, lab, hosts),
                    DRY: partial(deploy.dry, lab, hosts),
                    ANSIBLE: partial(playbook.check, hosts),
                    FLOOR: partial(logins.floor, hosts),
                },
                options.pairs,
                scope,
            )
            for scope, hosts in scopes.items()
        }
    with step("round trips, counted"):
        trips = {
            RUN: deploy.count_round_trips(lab, "-y"),
            DRY: deploy.count_round_trips(lab, "--dry"),
        }
    return Section(
        "converged",
        "Converged hosts",
        figures=[*judged(times), *_round_trips(trips)],
        times=times,
        hosts={host.name: host.origin for host in every},
        profiles={f"A run on {host.name}": profile(lab, host) for host in every},
        notes=NOTES,
    )


def judged(times: Mapping[str, Mapping[str, Summary]]) -> list[Figure]:
    """Judge runs and dry runs alike, against Ansible and against the floor."""
    targets = ((ANSIBLE, MOST_OF_ANSIBLE), (FLOOR, MOST_OF_FLOOR))
    return [
        ratio(f"{own} / {peer}, {scope}", by[own].seconds, by[peer].seconds, target)
        for own in (RUN, DRY)
        for peer, target in targets
        for scope, by in times.items()
    ]


def _round_trips(trips: Mapping[str, Mapping[str, int]]) -> list[Figure]:
    return [
        Figure(f"round trips, {own}, {host}", count, MOST_ROUND_TRIPS, parts=_COUNTED)
        for own, by_host in trips.items()
        for host, count in sorted(by_host.items())
    ]


def profile(lab: Lab, host: LabHost) -> dict[str, float]:
    """Where the seconds of one run go: start, connection, each command, what is left."""
    with step(f"profile, {host.name}"):
        done = run.pyinfra(lab, "deploy.py", "-y", "--debug", *deploy.limits([host])).check()
    return timeline.profile(done.stamped, done.seconds)
