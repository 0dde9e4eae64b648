"""Runs on migrated hosts: beside Ansible and the bare floor, and twenty hosts beside one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, median

from lab.bench import deploy, peers
from lab.bench.measure import Figure, Options, Sample, Section, in_turns, ratio, seconds, timed
from lab.hosts import LabHost
from lab.topology import BOTH_FAMILIES, QUEUES, HostSpec

RUN, DRY, ANSIBLE, FLOOR = "deploy", "dry run", "ansible", "floor"
MOST_OF = {ANSIBLE: 0.2, FLOOR: 3.0}
MOST_ROUND_TRIPS = 12
MOST_OF_ONE_HOST = 3.0
MOST_CPU_A_HOST = 0.35

Action = Callable[[Sequence[LabHost]], object]
Times = Mapping[str, Mapping[str, Sequence[Sample]]]
"""By scope (which hosts), then by peer."""


def measured(options: Options) -> Section:
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
        times = _in_turns(every, actions, options)
        for name, option in (RUN, "-y"), (DRY, "--dry"):
            for host in every:
                trips = deploy.round_trips(deploy.on(lab, [host], option, "--debug"))
                counted.append(Figure(f"round trips, {name}, {host.name}", trips, MOST_ROUND_TRIPS))
    origins = [host.origin for host in every]
    return Section("Converged hosts", [*judged(times), *counted], origins, times)


def _in_turns(hosts: Sequence[LabHost], actions: Mapping[str, Action], options: Options) -> Times:
    contenders = {
        (scope, peer): partial(timed, action, some)
        for scope, some in scopes(hosts).items()
        for peer, action in actions.items()
    }
    found = in_turns(contenders, options.pairs, "converged hosts")
    return {scope: {peer: found[scope, peer] for peer in actions} for scope in scopes(hosts)}


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


def fleet_specs(options: Options) -> list[HostSpec]:
    """Give twenty small hosts, of two families in turn."""
    few = {"misp_workers": dict.fromkeys(QUEUES, 1)}
    families = (("debian-12", "2.5.1"), ("el-like", "2.4.199"))
    return [
        HostSpec(f"fleet-{number:02}", *families[number % 2], waiting_jobs=0, data=few)
        for number in range(4 if options.quick else 20)
    ]


def fleet(options: Options) -> Section:
    """Measure a host of each family of a fleet, and the whole fleet."""
    with deploy.converged(fleet_specs(options)) as lab:
        every = list(lab)
        actions: dict[str, Action] = {RUN: partial(deploy.again, lab), FLOOR: peers.floor}
        times = _in_turns(every, actions, options)
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
