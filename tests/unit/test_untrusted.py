"""Text from a host cannot steer the operator's terminal, nor hide what it says."""

from __future__ import annotations

import pytest

from tasks.untrusted import printable


@pytest.mark.parametrize(
    "letter", ["\x1b", "\u061c", "\u202e", "\u2066", "\U000e0001", "\U000e0041", "\U000e007f"]
)
def test_what_cannot_be_seen_is_a_blank(letter: str) -> None:
    assert printable(f"a{letter}b") == "a b"


def test_other_letters_stay() -> None:
    assert printable("\u0627\u00e4\U000e0080") == "\u0627\u00e4\U000e0080"
