"""Brings a fresh lab into the state in which somebody wants to try something on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from lab import misp, run
from lab.bench import peers
from lab.console import step
from lab.hosts import LabHost
from lab.lab import Lab

JOBS = 40
JOB_SECONDS = 3.0
"""Two minutes of work for each old queue, which a deploy that is started at once still meets."""
JOBS_FROM = 101
"""Above the numbers of the jobs that a specification puts there itself."""


def old(lab: Lab) -> None:
    """Give the old workers jobs to do."""
    with step(f"{JOBS} jobs of {JOB_SECONDS:g} s into each old queue"):
        for host in lab:
            misp.enqueue(host, JOBS, first=JOBS_FROM, seconds=JOB_SECONDS)


def migrated(lab: Lab) -> None:
    """Run the deploy to its end."""
    with step("pyinfra -y"):
        run.apply(lab, echo=True).check()


def by_hand(lab: Lab) -> None:
    """Leave the hosts as somebody does who has followed MISP's guide."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(_follow_the_guide, lab))


def _follow_the_guide(host: LabHost) -> None:
    with step(f"{host.name}: the guide's commands"):
        peers.migrate(host, misp.php_unit(host))


STATES: Mapping[str, Callable[[Lab], None]] = MappingProxyType(
    {"old": old, "migrated": migrated, "by-hand": by_hand}
)
"""The functions that bring a lab into a state; the first is the default of the command."""
