"""Twenty converged hosts of two families, beside one of them and beside the floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from lab import run
from lab.bench import deploy, logins
from lab.bench.measure import Summary, take_turns
from lab.bench.measure import measured as timed
from lab.bench.options import Options
from lab.bench.verdict import Figure, Section, ratio
from lab.console import heading, step
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec

HOSTS, QUICK_HOSTS = 20, 4
MOST_OF_ONE_HOST = 3.0
MOST_CPU_A_HOST = 0.35

DEPLOY, FLOOR = "deploy", "floor"
ONE = "one host"
_FEW = {"misp_workers": dict.fromkeys(QUEUES, 1)}

NOTES = (
    "The hosts' own work (PHP, supervisord, sudo) runs on the same processors as the controller, "
    "which a fleet's does not: the floor's ratio shows what that alone costs.",
)


def measured(options: Options) -> Section:
    """Migrate a fleet, then measure one host of it and all."""
    heading("Fleet")
    with Lab.start(specs(QUICK_HOSTS if options.quick else HOSTS)) as lab:
        every = list(lab)
        with step(f"migration of {len(every)} hosts"):
            migration = run.apply(lab).check()
        times = {
            scope: take_turns(
                {
                    DEPLOY: partial(deploy.again, lab, hosts),
                    FLOOR: partial(logins.floor, hosts),
                },
                options.pairs,
                scope,
            )
            for scope, hosts in ((ONE, every[:1]), (_all(len(every)), every))
        }
        return Section(
            "fleet",
            "Fleet",
            figures=judged(times, len(every)),
            times=times,
            hosts={host.spec.base: host.origin for host in every},
            profiles={f"A run on {len(every)} hosts": _profile(lab, every)},
            details={"migration_seconds": round(migration.seconds, 1)},
            notes=NOTES,
        )


def judged(times: Mapping[str, Mapping[str, Summary]], count: int) -> list[Figure]:
    """Judge the time of all against that of one, and the controller's processor time."""
    one, every = times[ONE], times[_all(count)]
    floor = every[FLOOR].seconds / one[FLOOR].seconds
    against_one = ratio(
        f"{count} hosts / one host", every[DEPLOY].seconds, one[DEPLOY].seconds, MOST_OF_ONE_HOST
    )
    return [
        Figure(
            against_one.name,
            against_one.value,
            against_one.target,
            against_one.unit,
            f"{against_one.parts}; the floor's is {floor:.2f}",
        ),
        Figure(
            f"controller's processor time a host, {count} hosts",
            every[DEPLOY].cpu / count,
            MOST_CPU_A_HOST,
            "s",
            f"{every[DEPLOY].cpu:.2f} s in all; one host alone {one[DEPLOY].cpu:.2f} s",
        ),
    ]


def _profile(lab: Lab, hosts: Sequence[LabHost]) -> dict[str, float]:
    """Whose processor time a run on all hosts is."""
    with step(f"profile, {len(hosts)} hosts"):
        before = sum(host.cpu_seconds() for host in hosts)
        sample = timed(partial(deploy.again, lab, hosts))
        spent = sum(host.cpu_seconds() for host in hosts) - before
    return {
        "wall clock": round(sample.seconds, 2),
        "processor time of the controller": round(sample.cpu, 2),
        "processor time of the hosts": round(spent, 2),
    }


def specs(count: int) -> list[HostSpec]:
    """Give COUNT small hosts, of two families in turn."""
    kinds = (("debian-12", "2.5.1"), ("el-like", "2.4.199"))
    return [
        HostSpec(f"fleet-{number:02}", base, profile=profile, waiting_jobs=0, data=_FEW)
        for number in range(1, count + 1)
        for base, profile in [kinds[number % 2]]
    ]


def _all(count: int) -> str:
    return f"{count} hosts"
