"""Text laid out for a terminal's width. Commands in it stay whole, so that they can be copied."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

_COMMAND = re.compile(r"`[^`]*`")
_BLANK = "\xa0"  # stands for the blanks of a command while lines are broken


def width() -> int:
    """Columns of the terminal, 80 without one, and no more than one reads with ease."""
    if not sys.stdout.isatty():
        return 80
    return min(shutil.get_terminal_size().columns or 80, 120)  # Python 3.10 may say 0


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


def table(rows: Sequence[tuple[str, str, str]], columns: int) -> list[str]:
    """Lines with three columns, the last of them wrapped; below the others if it has no room."""
    left = max(len(row[0]) for row in rows)
    middle = max(len(row[1]) for row in rows)
    start = left + middle + 4
    if columns - start < columns // 3:
        start = 4
    lines = []
    for one, two, three in rows:
        head = f"{one:{left}}  {two:{middle}}".rstrip()
        if start > 4:
            lines += wrapped(three, columns, f"{head:{start}}", " " * start)
        else:
            lines += [head, *(wrapped(three, columns, " " * start) if three else [])]
    return [line.rstrip() for line in lines]


def clock(seconds: float) -> str:
    """A duration as in 0:05, 12:00 or 1:00:00."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
