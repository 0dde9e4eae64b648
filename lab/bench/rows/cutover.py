"""The cut-over, while numbered jobs come in through MISP's web tier all along."""

from __future__ import annotations

import time
from dataclasses import asdict
from statistics import median

from lab import load, misp, run
from lab.bench import deploy
from lab.bench.options import Options
from lab.bench.verdict import Figure, Section
from lab.console import heading, step
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.load import Outcome
from lab.topology import HostSpec
from lab.waiting import wait_for

MOST_TO_FIRST_JOB = 3.0
LONGEST_WAIT = 5.0

PACE = 5.0  # a second: one into every queue
BEFORE, BEHIND = 20, 20
SPECS = (
    HostSpec("cut-debian-12", "debian-12"),
    HostSpec("cut-el-like", "el-like", profile="2.4.199"),
)
NOTES = (
    f"{PACE:g} jobs a second, one into every queue; each eleventh takes 1 to 3 s, the others none, "
    "and the old backend has one worker for a queue, so some wait for another job, not for the "
    "cut-over. The first new job is one that came through the web tier: the deploy's "
    "own test jobs do not count. The longest wait is that of all runs, no median.",
)


def measured(options: Options) -> Section:
    """Migrate as many fresh hosts of each family as there are pairs, under load."""
    outcomes: dict[str, list[Outcome]] = {spec.base: [] for spec in SPECS}
    origins: dict[str, str] = {}
    for number in range(1, options.pairs + 1):
        heading(f"Cut-over, {number} of {options.pairs}")
        with Lab.start(SPECS) as lab:
            for host in lab:
                origins[host.spec.base] = host.origin
                with step(f"{host.spec.base}: migration under load"):
                    outcomes[host.spec.base].append(_migrated(lab, host))
    return Section(
        "cutover",
        "Cut-over under load",
        figures=[figure for base, found in outcomes.items() for figure in judged(base, found)],
        hosts=origins,
        details={base: [asdict(one) for one in found] for base, found in outcomes.items()},
        notes=NOTES,
    )


def judged(base: str, outcomes: list[Outcome]) -> list[Figure]:
    """Judge the median of the times to the first new job, and the longest wait of all."""
    firsts = [one.to_first_new_job for one in outcomes if one.to_first_new_job is not None]
    waits = [one.longest_wait for one in outcomes]
    jobs = sum(one.enqueued for one in outcomes)
    return [
        Figure(
            f"`enabled` to the first new job, {base}",
            median(firsts),
            MOST_TO_FIRST_JOB,
            "s",
            f"{min(firsts):.2f} to {max(firsts):.2f} s",
        ),
        Figure(
            f"longest wait of a job meanwhile, {base}",
            max(waits),
            LONGEST_WAIT,
            "s",
            f"of {jobs} jobs; without a cut-over "
            f"{max(one.longest_wait_otherwise for one in outcomes):.2f} s; "
            f"by run {', '.join(f'{wait:.2f}' for wait in waits)} s",
        ),
    ]


def _migrated(lab: Lab, host: LabHost) -> Outcome:
    with load.producing([host], PACE) as (producer,):
        wait_for(lambda: len(producer.sent) >= BEFORE, 60, f"{host.name}: jobs before the deploy")
        began = time.time()
        run.apply(lab, *deploy.limits([host])).check()
        ended = time.time()
        behind = len(producer.sent) + BEHIND
        wait_for(lambda: len(producer.sent) >= behind, 60, f"{host.name}: jobs after the deploy")
    load.settle(host, producer.sent)
    found = load.outcome(producer.sent, misp.ledger(host), (began, ended), load.enabled_at(host))
    if found.lost or found.twice or found.failed or found.to_first_new_job is None:
        raise LabError(f"{host.name}: the jobs did not all run once: {found}")
    return found
