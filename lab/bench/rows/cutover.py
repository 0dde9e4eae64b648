"""The cut-over, while numbered jobs come in through MISP's web tier all along."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median

from lab import load, misp
from lab.bench import deploy
from lab.bench.measure import Figure, Section
from lab.bench.rows import first
from lab.console import step
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.load import Outcome
from lab.waiting import wait_for

MOST_TO_FIRST_JOB = 3.0
LONGEST_WAIT = 5.0
PACE = 5.0  # jobs a second: one into every queue
AROUND = 20  # jobs before the deploy, and after it


def measured(pairs: int) -> Section:
    """Migrate as many fresh hosts of each family as there are pairs, under load."""
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    for number in range(pairs):
        with first.fresh(("cutover",)) as lab:
            origins = [host.origin for host in lab]
            for base, _, host in first.hosts_in_turns(lab, ("cutover",), number):
                with step(f"{host.name}: round {number + 1} of {pairs}"):
                    outcomes[base].append(_migrated(lab, host))
    figures = [figure for base, found in outcomes.items() for figure in judged(base, found)]
    return Section("Cut-over under load", figures, origins, details=outcomes)


def judged(base: str, outcomes: list[Outcome]) -> list[Figure]:
    """Judge the median of the times to the first new job, and the longest wait of all."""
    firsts = [one.to_first_new_job for one in outcomes if one.to_first_new_job is not None]
    waits = [one.longest_wait for one in outcomes]
    by_run = ", ".join(f"{wait:.2f}" for wait in waits)
    otherwise = max(one.longest_wait_otherwise for one in outcomes)
    jobs = sum(one.enqueued for one in outcomes)
    spread = f"{min(firsts):.2f} to {max(firsts):.2f} s"
    of_jobs = f"of {jobs} jobs; without a cut-over {otherwise:.2f} s; by run {by_run} s"
    to_first = f"`enabled` to the first new job, {base}"
    longest = f"longest wait of a job meanwhile, {base}"
    return [
        Figure(to_first, median(firsts), MOST_TO_FIRST_JOB, "s", spread),
        Figure(longest, max(waits), LONGEST_WAIT, "s", of_jobs),
    ]


def _migrated(lab: Lab, host: LabHost) -> Outcome:
    with load.producing([host], PACE) as (producer,):
        wait_for(lambda: len(producer.sent) >= AROUND, 60, f"{host.name}: jobs before the deploy")
        began = time.time()
        deploy.on(lab, [host], "-y", "--json")
        ended, enough = time.time(), len(producer.sent) + AROUND
        wait_for(lambda: len(producer.sent) >= enough, 60, f"{host.name}: jobs after the deploy")
    load.settle(host, producer.sent)
    found = load.outcome(producer.sent, misp.ledger(host), (began, ended), load.enabled_at(host))
    if found.lost or found.twice or found.failed or found.to_first_new_job is None:
        raise LabError(f"{host.name}: the jobs did not all run once: {found}")
    return found
