"""Text laid out for a terminal's width. Commands in it stay whole, so that they can be copied."""

from __future__ import annotations

import re
import textwrap

_COMMAND = re.compile(r"`[^`]*`")
_BLANK = "\xa0"  # stands for the blanks of a command while lines are broken


def wrapped(text: str, columns: int, first: str = "", rest: str | None = None) -> list[str]:
    """The text in lines; a word or a command that is longer than a line has one of its own.

    Args:
        first, rest: what the first line and the others begin with.
    """
    kept = _COMMAND.sub(lambda found: found[0].replace(" ", _BLANK), text)
    lines = textwrap.wrap(
        kept,
        columns,
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_BLANK, " ") for line in lines] or [first.rstrip()]
