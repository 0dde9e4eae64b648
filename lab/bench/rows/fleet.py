"""Twenty converged hosts of two families, beside one of them and beside the floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean

from lab import run
from lab.bench import deploy, logins
from lab.bench.measure import Sample, Summary, take_turns
from lab.bench.measure import measured as timed
from lab.bench.options import Options
from lab.bench.verdict import Figure, Section
from lab.console import heading, step
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec

HOSTS, QUICK_HOSTS = 20, 4
MOST_OF_ONE_HOST = 3.0
MOST_CPU_A_HOST = 0.35

DEPLOY, FLOOR = "deploy", "floor"
PEERS = (DEPLOY, FLOOR)
FAMILIES = (("debian-12", "2.5.1"), ("el-like", "2.4.199"))
_FEW = {"misp_workers": dict.fromkeys(QUEUES, 1)}

NOTES = (
    "The hosts' own work (PHP, supervisord, sudo) runs on the same processors as the controller, "
    "which a fleet's does not: the floor's ratio shows what that alone costs.",
    "One host is the mean of a host of each family; each has one worker for each queue. Runs on "
    "one and on all take turns.",
)


def measured(options: Options) -> Section:
    """Migrate a fleet, then measure one host of it and all."""
    heading("Fleet")
    with Lab.start(specs(QUICK_HOSTS if options.quick else HOSTS)) as lab:
        every = list(lab)
        with step(f"migration of {len(every)} hosts"):
            migration = run.apply(lab).check()
        times = _times(lab, options)
        return Section(
            "fleet",
            "Fleet",
            figures=judged(times),
            times=times,
            hosts={host.spec.base: host.origin for host in every},
            profiles={f"A run on {len(every)} hosts": _profile(lab, every)},
            details={"migration_seconds": round(migration.seconds, 1)},
            notes=NOTES,
        )


def _times(lab: Lab, options: Options) -> dict[str, dict[str, Summary]]:
    """Measure a host of each family and all of them, all in turns."""
    every = list(lab)
    scopes = {
        **{host.name: [host] for host in every[: len(FAMILIES)]},
        f"{len(every)} hosts": every,
    }
    contenders: dict[str, Callable[[], object]] = {}
    for scope, hosts in scopes.items():
        contenders[f"{DEPLOY}, {scope}"] = partial(deploy.again, lab, hosts)
        contenders[f"{FLOOR}, {scope}"] = partial(logins.floor, hosts)
    found = take_turns(contenders, options.pairs, "fleet")
    return {scope: {peer: found[f"{peer}, {scope}"] for peer in PEERS} for scope in scopes}


def judged(times: Mapping[str, Mapping[str, Summary]]) -> list[Figure]:
    """Judge the time of all (the last scope) against that of one, and the controller's part."""
    *single, name = times
    count = int(name.split()[0])
    one = {peer: mean(times[host][peer].seconds for host in single) for peer in PEERS}
    alone = mean(times[host][DEPLOY].cpu for host in single)
    every = {peer: times[name][peer].seconds for peer in PEERS}
    cpu = times[name][DEPLOY].cpu
    return [
        Figure(
            f"{name} / one host",
            every[DEPLOY] / one[DEPLOY],
            MOST_OF_ONE_HOST,
            "x",
            f"{every[DEPLOY]:.2f} s / {one[DEPLOY]:.2f} s; the floor: {every[FLOOR]:.2f} s / "
            f"{one[FLOOR]:.2f} s = {every[FLOOR] / one[FLOOR]:.2f} x",
        ),
        Figure(
            f"controller's processor time a host, {name}",
            cpu / count,
            MOST_CPU_A_HOST,
            "s",
            f"{cpu:.2f} s in all; one host alone {alone:.2f} s",
        ),
    ]


def _profile(lab: Lab, hosts: Sequence[LabHost]) -> dict[str, float]:
    """Whose processor time a run on all hosts is, and what the floor takes of theirs."""
    with step(f"profile, {len(hosts)} hosts"):
        sample, spent = _watched(hosts, partial(deploy.again, lab, hosts))
        floor, spent_by_floor = _watched(hosts, partial(logins.floor, hosts))
    return {
        "wall clock": round(sample.seconds, 2),
        "processor time of the controller": round(sample.cpu, 2),
        "processor time of the hosts": round(spent, 2),
        "the floor: wall clock": round(floor.seconds, 2),
        "the floor: processor time of its SSH clients": round(floor.cpu, 2),
        "the floor: processor time of the hosts": round(spent_by_floor, 2),
    }


def _watched(hosts: Sequence[LabHost], action: Callable[[], object]) -> tuple[Sample, float]:
    before = sum(host.cpu_seconds() for host in hosts)
    sample = timed(action)
    return sample, sum(host.cpu_seconds() for host in hosts) - before


def specs(count: int) -> list[HostSpec]:
    """Give COUNT small hosts, of two families in turn."""
    return [
        HostSpec(f"fleet-{number:02}", base, profile=profile, waiting_jobs=0, data=_FEW)
        for number in range(1, count + 1)
        for base, profile in [FAMILIES[number % len(FAMILIES)]]
    ]
