"""Runs on migrated hosts: beside Ansible and the bare floor, and twenty hosts beside one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, median

from lab.bench import deploy, peers
from lab.bench.measure import Figure, Sample, Section, ratio, rotated, seconds, timed
from lab.bench.rows.first import BASES
from lab.console import step
from lab.hosts import LabHost
from lab.topology import BOTH_FAMILIES, QUEUES, HostSpec

RUN, DRY, ANSIBLE, FLOOR = "deploy", "dry run", "ansible", "floor"
MOST_OF = {ANSIBLE: 0.2, FLOOR: 3.0}
MOST_ROUND_TRIPS = 12
MOST_OF_ONE_HOST = 3.0
MOST_CPU_A_HOST = 0.35

# Small hosts, so that twenty of them have room.
_DATA = {"misp_workers": dict.fromkeys(QUEUES, 1)}
FLEET = [
    HostSpec(f"fleet-{number:02}", base, profile=BASES[base], waiting_jobs=0, data=_DATA)
    for number, base in enumerate([*BASES] * 10)
]

Action = Callable[[Sequence[LabHost]], object]
Times = dict[str, dict[str, list[Sample]]]
"""By scope (which hosts), then by peer."""


def measured(pairs: int) -> Section:
    """Measure one host of each family, and both at once."""
    counted = []
    with deploy.converged(BOTH_FAMILIES) as lab, tempfile.TemporaryDirectory() as folder:
        every = list(lab)
        peers.fetch_packages(every)
        playbook = peers.Playbook(every, Path(folder))
        actions: dict[str, Action] = {
            RUN: partial(deploy.again, lab),
            DRY: partial(deploy.dry, lab),
            ANSIBLE: playbook.run,
            FLOOR: peers.floor,
        }
        times = in_turns(scopes(every), actions, pairs)
        for name, option in (RUN, "-y"), (DRY, "--dry"):
            for host in every:
                trips = deploy.round_trips(deploy.on(lab, [host], option, "--debug"))
                counted.append(Figure(f"round trips, {name}, {host.name}", trips, MOST_ROUND_TRIPS))
    origins = [host.origin for host in every]
    return Section("Converged hosts", [*judged(times), *counted], origins, times)


def in_turns(
    hosts: Mapping[str, Sequence[LabHost]], actions: Mapping[str, Action], pairs: int
) -> Times:
    """Run every action in every scope, PAIRS times, after one run of each that is not counted."""
    found: Times = {scope: {peer: [] for peer in actions} for scope in hosts}
    contenders = [(scope, peer) for scope in hosts for peer in actions]
    for number in range(pairs + 1):
        with step(f"round {number} of {pairs}" if number else "a round that is not counted"):
            for scope, peer in rotated(contenders, number):
                sample = timed(actions[peer], hosts[scope])
                if number:
                    found[scope][peer].append(sample)
    return found


def judged(times: Times) -> list[Figure]:
    """Judge runs and dry runs alike, against Ansible and against the floor."""
    return [
        ratio(f"{own} / {peer}, {scope}", seconds(by[own]), seconds(by[peer]), limit)
        for own in (RUN, DRY)
        for peer, limit in MOST_OF.items()
        for scope, by in times.items()
    ]


def scopes(hosts: Sequence[LabHost]) -> dict[str, Sequence[LabHost]]:
    """Give a host of each family by itself, then all."""
    return {**{host.name: [host] for host in hosts[:2]}, f"{len(hosts)} hosts": hosts}


def fleet(pairs: int) -> Section:
    """Measure a host of each family of a fleet, and the whole fleet."""
    with deploy.converged(FLEET) as lab:
        every = list(lab)
        actions: dict[str, Action] = {RUN: partial(deploy.again, lab), FLOOR: peers.floor}
        times = in_turns(scopes(every), actions, pairs)
        cpu = {peer: deploy.watched(every, action)[1] for peer, action in actions.items()}
    figures = fleet_judged(times, len(every), cpu)
    return Section("Fleet", figures, [host.origin for host in every], times)


def fleet_judged(times: Times, count: int, hosts_cpu: Mapping[str, float]) -> list[Figure]:
    """Judge the time of all (the last scope) against that of one, and the controller's part."""
    *single, name = times
    one = {peer: mean(seconds(times[scope][peer]) for scope in single) for peer in (RUN, FLOOR)}
    own, floor = (
        ratio(f"{name} / one host", seconds(times[name][peer]), one[peer], MOST_OF_ONE_HOST)
        for peer in (RUN, FLOOR)
    )
    parts = f"{own.parts}; the floor: {floor.parts} = {floor.value:.2f} x"
    cpu = median(sample.cpu for sample in times[name][RUN])
    of_hosts = f"the hosts {hosts_cpu[RUN]:.2f} s, by the floor {hosts_cpu[FLOOR]:.2f} s"
    title = f"controller's processor time a host, {name}"
    by_host = Figure(title, cpu / count, MOST_CPU_A_HOST, "s", f"{cpu:.2f} s in all; {of_hosts}")
    return [replace(own, parts=parts), by_host]
