"""All that pyinfra logs in a run, kept beside the run's reports."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tasks.report.record import OUTPUT, now
from tasks.untrusted import printable

_STYLE = r"\x1b\[[0-9;]*m"
_STYLES = re.compile(_STYLE)
# As in Host.print_prefix, there with styles.
_PREFIX = re.compile(rf"(?:{_STYLE})*\[(?:{_STYLE})*([^\]\x1b]+)(?:{_STYLE})*\] *")


class Output(logging.Handler):
    """A handler of pyinfra's logger, and with `mask` a filter of it.

    Args:
        masked: hides secrets in a text; the host's, or for another name every host's.
        hears: is told each line of a host's, with its level.
    """

    def __init__(
        self, masked: Callable[[str, str], str], hears: Callable[[str, str, int], None]
    ) -> None:
        super().__init__()
        self._masked, self._hears = masked, hears
        self._waiting: list[str] | None = []  # until there is a file; None: nothing is kept
        self._file: IO[str] | None = None

    def begin(self, directory: Path) -> None:
        """Write to a file in this directory, first what came before.

        Raises:
            OSError: it cannot be made.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        number = os.open(directory / OUTPUT, flags, 0o600)
        self._file = os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace")
        waiting, self._waiting = self._waiting, None
        for line in waiting or []:
            self._write(line)

    def drop(self) -> None:
        """Keep no more: the disk is full, say."""
        self._file = self._waiting = None

    def mask(self, record: logging.LogRecord) -> bool:
        """Hide secrets from every handler: the screen and pyinfra.log show what a host repeats."""
        text = record.getMessage()
        found = _PREFIX.match(text)
        host, start = (found[1], found.end()) if found else ("", 0)
        record.msg, record.args = text[:start] + self._masked(host, text[start:]), ()
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what pyinfra says, and tell whose it is."""
        lines = _lines(_STYLES.sub("", record.getMessage()))
        text = "\n".join(lines)
        self.keep(text)
        if found := _PREFIX.match(text):
            self._hears(found[1], text[found.end() :], record.levelno)

    def keep(self, text: str) -> None:
        """Write lines that need not be on the screen. They have no secret any more."""
        for line in _lines(text):
            self._write(f"{now()}  {line}\n")

    def _write(self, line: str) -> None:
        if self._file:
            try:
                self._file.write(line)
                self._file.flush()  # a run may be killed
            except OSError:
                self.drop()
        elif self._waiting is not None:
            self._waiting.append(line)


def _lines(text: str) -> list[str]:
    """The lines as they may be shown: a host cannot end one, nor steer a terminal by it."""
    return [printable(line) for line in text.rstrip("\n").split("\n")]
