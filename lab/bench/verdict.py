"""Figures against their targets, and what one row of the bench found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.bench.measure import Summary

Times = Mapping[str, Mapping[str, Summary]]
"""By scope (which hosts), then by peer."""


@dataclass(frozen=True)
class Figure:
    """One result; the target is an upper limit.

    Attributes:
        target: none for what is only reported.
        parts: what the value was made of, in words.
    """

    name: str
    value: float
    target: float | None = None
    unit: str = ""
    parts: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value is within its target; nothing where there is none."""
        return None if self.target is None else self.value <= self.target

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or `-` where there is no target."""
        return {None: "-", True: "met", False: "not met"}[self.met]

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Name, value, target, verdict and parts, as a table shows them."""
        target = "" if self.target is None else f"<= {self.target:.4g} {self.unit}".rstrip()
        return (
            self.name,
            f"{_number(self.value)} {self.unit}".rstrip(),
            target,
            self.verdict,
            self.parts,
        )


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"


@dataclass(frozen=True)
class Section:
    """What one row found.

    Attributes:
        hosts: what each host ran on, by name.
        profiles: where the seconds went, by what was run and then by part.
        details: whatever else belongs to the figures, for the JSON file.
        notes: what a reader has to know to judge the figures.
        failure: why it could not be measured; then there is nothing else.
    """

    row: str
    title: str
    figures: Sequence[Figure] = ()
    times: Times = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    failure: str = ""


def ratio(name: str, own: float, other: float, target: float) -> Figure:
    """Judge a time against another one."""
    return Figure(name, own / other, target, "x", f"{own:.2f} s / {other:.2f} s")
