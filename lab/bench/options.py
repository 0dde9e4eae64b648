"""What the bench was asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        pairs: runs of each peer.
        quick: small fleets and short looks, to see that the bench works; no figure means anything.
    """

    pairs: int = 5
    quick: bool = False
