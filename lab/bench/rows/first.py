"""The first migration: a host of each family for the deploy, the guide's commands and Ansible."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from lab import misp, verify
from lab.bench import deploy, peers
from lab.bench.measure import Figure, Sample, Section, ratio, rotated, seconds, timed
from lab.console import step
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.run import Run
from lab.topology import OLD_WORKER_INTERVAL, HostSpec

PEERS = ("deploy", "guide", "ansible")
BASES = {"debian-12": "2.5.1", "el-like": "2.4.199"}
STABLE_SECONDS = 8.0  # how old the proof lets the new workers grow, see tasks/plan/forecast.py
MOST_OF_GUIDE = 1.25
MOST_OF_ANSIBLE = 0.5


def measured(pairs: int) -> Section:
    """Measure as many labs as there are pairs."""
    times: dict[str, dict[str, list[Sample]]] = {base: defaultdict(list) for base in BASES}
    waits: dict[str, list[float]] = defaultdict(list)
    for number in range(pairs):
        with fresh(PEERS) as lab, tempfile.TemporaryDirectory() as folder:
            origins = [host.origin for host in lab]
            playbook = peers.Playbook(list(lab), Path(folder))
            for base, peer, host in hosts_in_turns(lab, PEERS, number):
                ways: dict[str, Callable[[], object]] = {
                    "deploy": partial(_deploy, lab, host, waits[base]),
                    "guide": partial(peers.migrate, host, misp.php_unit(host)),
                    "ansible": partial(playbook.run, [host], converged=False),
                }
                times[base][peer].append(migrated(host, ways[peer]))
    figures = [figure for base in BASES for figure in judged(base, times[base], waits[base])]
    return Section("First migration", figures, origins, {"times": times, "waits": waits})


def _deploy(lab: Lab, host: LabHost, waits: list[float]) -> None:
    # With its log, which costs it a little, and from which its waits are read.
    waits.append(waited(deploy.on(lab, [host], "-y", "--debug")))


def judged(base: str, by: Mapping[str, Sequence[Sample]], waits: Sequence[float]) -> list[Figure]:
    """Judge the deploy's time: what it waits by design is allowed on top of the guide's part."""
    own, guide, ansible = (seconds(by[peer]) for peer in PEERS)
    wait = median(waits)
    of_limit = f"limit {MOST_OF_GUIDE:g} x {guide:.1f} s of the guide + {wait:.1f} s of waits"
    took = f"it took {(own - wait) / guide:.2f} x the guide and these"
    limit = MOST_OF_GUIDE * guide + wait
    return [
        Figure(f"deploy, fresh {base}", own, limit, "s", f"{of_limit}; {took}"),
        ratio(f"deploy / ansible, fresh {base}", own, ansible, MOST_OF_ANSIBLE),
    ]


def waited(done: Run) -> float:
    """Return how long this run waited by design: proof, drain (by its log), and retire.

    An old worker that is told to leave looks once more at its queue and sleeps once more.
    """
    pauses = deploy.pauses(done)
    if not {"Proof", "Drain"} <= pauses.keys():
        raise LabError("The deploy's log shows no proof or no drain.")
    return STABLE_SECONDS + pauses["Drain"] + OLD_WORKER_INTERVAL


@contextmanager
def fresh(names: Sequence[str]) -> Iterator[Lab]:
    """Give a lab with a fresh host of each family for each of NAMES."""
    specs = [
        HostSpec(f"{name}-{base}", base, profile=profile)
        for base, profile in BASES.items()
        for name in names
    ]
    with Lab.start(specs) as lab:
        peers.fetch_packages(list(lab))
        yield lab


def hosts_in_turns(
    lab: Lab, names: Sequence[str], number: int
) -> Iterator[tuple[str, str, LabHost]]:
    """Give family, peer and host of a round, family by family."""
    for base in BASES:
        for name in rotated(names, number):
            yield base, name, lab[f"{name}-{base}"]


def migrated(host: LabHost, migrate: Callable[[], object]) -> Sample:
    """Time a migration; it counts only when the host is migrated, whoever did it."""
    with step(f"migration of {host.name}"):
        sample = timed(migrate)
    if bad := [f"{one.name}: {one.seen}" for one in verify.check_host(host, []) if not one.ok]:
        raise LabError(f"{host.name} is not migrated: {'; '.join(bad)}")
    return sample
