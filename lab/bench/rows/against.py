"""This checkout's deploy beside that of another checkout, in turns on the same containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median

from lab.bench import deploy
from lab.bench.measure import Figure, Section, rotated, timed
from lab.bench.rows import converged, first
from lab.console import step
from lab.hosts import LabHost
from lab.lab import Lab
from lab.paths import REPOSITORY

THIS, OTHER = "this", "other"

Turn = dict[str, float]  # what one checkout took in one round, by what was measured


def measured(other: Path, pairs: int) -> Section:
    """Compare converged runs on a fleet, then first migrations of fresh hosts."""
    checkouts = {THIS: REPOSITORY, OTHER: other}
    rounds: list[dict[str, Turn]] = [{THIS: {}, OTHER: {}} for _ in range(pairs)]
    with deploy.converged(converged.FLEET) as lab:
        scopes = converged.scopes(list(lab))
        for number, turns in enumerate(rounds):
            for scope, hosts in scopes.items():
                for name in rotated((THIS, OTHER), number):
                    with step(f"round {number + 1}: {name} on {scope}"):
                        turns[name] |= _turn(lab, hosts, checkouts[name], scope)
    *single, every = (f"converged run, {scope} [s]" for scope in scopes)
    for turn in (turn for turns in rounds for turn in turns.values()):
        turn[f"converged run, {len(lab.hosts)} hosts / one host"] = turn[every] / mean(
            turn[one] for one in single
        )
    for number, turns in enumerate(rounds):
        with first.fresh((THIS, OTHER)) as lab:
            for base, name, host in first.hosts_in_turns(lab, (THIS, OTHER), number):
                migrate = partial(deploy.on, lab, [host], "-y", checkout=checkouts[name])
                sample = first.migrated(host, migrate)
                turns[name][f"first migration, fresh {base} [s]"] = sample.seconds
    title = f"This checkout / {other.name}"
    return Section(title, compared(rounds), [host.origin for host in lab], {"rounds": rounds})


def _turn(lab: Lab, hosts: Sequence[LabHost], checkout: Path, scope: str) -> Turn:
    # Not counted: the checkouts may disagree on what is converged.
    deploy.on(lab, hosts, "-y", checkout=checkout)
    logged = deploy.on(lab, hosts, "-y", "--debug", checkout=checkout)
    before = _received(hosts)
    again, cpu = deploy.watched(hosts, partial(deploy.again, lab, checkout=checkout))
    received = _received(hosts) - before
    return {
        f"converged run, {scope} [s]": again.seconds,
        f"dry run, {scope} [s]": timed(deploy.dry, lab, hosts, checkout).seconds,
        f"processor time of the hosts, {scope} [s]": cpu,
        f"processor time of the controller, {scope} [s]": again.cpu,
        f"sent to the hosts, {scope} [bytes]": received,
        f"round trips, {scope}": deploy.round_trips(logged),
    }


def _received(hosts: Sequence[LabHost]) -> int:
    # By the hosts' network interfaces, so SSH and HTTPS alike.
    return sum(int(host.read("/sys/class/net/eth0/statistics/rx_bytes")) for host in hosts)


def compared(rounds: Sequence[Mapping[str, Turn]]) -> list[Figure]:
    """Return the median of the rounds' ratios for everything that was measured."""
    figures = []
    for name in rounds[0][THIS]:
        this, other = ([turns[checkout][name] for turns in rounds] for checkout in (THIS, OTHER))
        ratio = median(one / another for one, another in zip(this, other, strict=True))
        parts = f"{median(this):.6g} / {median(other):.6g}"
        figures.append(Figure(name, ratio, unit="x", parts=parts))
    return figures
