"""Text from a host cannot steer the operator's terminal, nor hide what it says."""

from __future__ import annotations

import pytest

from tasks.untrusted import printable


@pytest.mark.parametrize(
    "letter",
    [
        *("\x1b", "\u061c", "\u202e", "\u2066", "\U000e0001", "\U000e0041", "\U000e007f"),
        *("\u00ad", "\u115f", "\u180e", "\u206a", "\u206f", "\u3164", "\ufe0f", "\ufff9", "\ufffb"),
        *("\U000e0080", "\U000e0100", "\U0001d173", "\ud800", "\u2800", "\u00a0", "\n\u034f\0"),
    ],
)
def test_what_cannot_be_seen_is_a_blank(letter: str) -> None:
    assert printable(f"a{letter}b") == "a b"


def test_other_letters_stay() -> None:
    text = "\u0627\u00e4\u4e2d\U0001f600 e\u0301"
    assert printable(text) == text
