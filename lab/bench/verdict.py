"""Figures against their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.bench.measure import Summary

PYINFRA, ANSIBLE, FLOOR = "pyinfra", "ansible", "floor"

MOST_ROUND_TRIPS = 12
MOST_OF_ANSIBLE = 0.25
MOST_OF_FLOOR = 3.0
MOST_SECONDS = {"warm": 180.0, "cold": 600.0}
"""A rehearsal with images built, and with nothing cached."""


@dataclass(frozen=True)
class Figure:
    """One result; the target is an upper limit."""

    name: str
    value: float
    target: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the value is within its target."""
        return self.value <= self.target

    @property
    def verdict(self) -> str:
        """`met` or `not met`."""
        return "met" if self.met else "not met"


def of_round_trips(counted: Mapping[str, int]) -> list[Figure]:
    """Judge the round trips of each host."""
    return [
        Figure(f"round trips, {host}", count, MOST_ROUND_TRIPS)
        for host, count in sorted(counted.items())
    ]


def of_ratios(scope: str, summaries: Mapping[str, Summary]) -> list[Figure]:
    """Judge the deploy's median time on SCOPE against Ansible's and against the floor's."""
    own = summaries[PYINFRA].seconds
    targets = ((ANSIBLE, MOST_OF_ANSIBLE), (FLOOR, MOST_OF_FLOOR))
    return [
        Figure(f"{PYINFRA} / {peer}, {scope}", own / summaries[peer].seconds, target, "x")
        for peer, target in targets
    ]


def of_rehearsals(seconds: Mapping[str, float]) -> list[Figure]:
    """Judge the times of whole rehearsals, by `warm` and `cold`."""
    return [
        Figure(f"rehearsal, {state}", taken, MOST_SECONDS[state], "s")
        for state, taken in seconds.items()
    ]


def rows(figures: Sequence[Figure]) -> list[tuple[str, str, str, str]]:
    """Turn figures into rows of a table: name, value, target, verdict."""
    return [
        (
            figure.name,
            f"{_number(figure.value)} {figure.unit}".rstrip(),
            f"<= {figure.target:g} {figure.unit}".rstrip(),
            figure.verdict,
        )
        for figure in figures
    ]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"
