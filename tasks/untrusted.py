"""Text and values from a host or its web tier, made fit for a terminal and for our own code."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 20
# Letters and marks to Python that nobody sees: two names that look the same could be two.
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\uffa0"
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_UNSEEN = re.compile(f"[\0{_FILLERS}{_SELECTORS}]+")


def printable(text: str) -> str:
    """The text with each run of what cannot be shown as one blank.

    That is what is not printable to Python, and what is invisible all the same: controls, what
    turns the direction of text, so that no host steers the operator's terminal, and halves of a
    character (surrogates), of which one would make the whole answer unreadable.
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "\0" for one in text)
    return _UNSEEN.sub(" ", text)


def without_commands(value: Any) -> Any:
    """A JSON value without backticks: what stands between two is a command of ours to paste."""
    if isinstance(value, str):
        return value.replace("`", "'")
    if isinstance(value, dict):
        return {without_commands(key): without_commands(one) for key, one in value.items()}
    return [without_commands(one) for one in value] if isinstance(value, list) else value


def from_json(text: str) -> Any:
    """A JSON value without control characters, endless nesting or numbers that nobody counts up to.

    Raises:
        ValueError: it is no such thing.
    """
    try:
        return _clean(json.loads(text, parse_constant=_no_constant), 0)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _clean(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _clean(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one, depth + 1) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        raise ValueError("it has a number that no host counts up to")
    return value
