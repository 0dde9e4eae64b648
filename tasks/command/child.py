"""pyinfra as a child process: its command line, its events, its end."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import places
from tasks.report import events
from tasks.untrusted import from_json, printable

FOLDER = places.ROOT
"""Where it starts, so that it finds the package `tasks`; `--chdir` takes it to the operator's."""

TICK = 0.2  # seconds

_HAS_UNKNOWN_KEY = "No host key for"  # pyinfra's words
_UNKNOWN_KEY = (
    "The host's SSH key is not known, and nobody is asked: connect once by ssh and compare it, or "
    "see SSH host keys in docs/security.md"
)
# How pyinfra begins to tell of an exception, and the line that has it.
_DIED = ("Traceback (most recent call last):", "--> An internal exception occurred")
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(: |$)")


def command(inventory: str, deploy: str, options: Sequence[str]) -> list[str]:
    """The words that start it in FOLDER. What an operator gave stands where it can be no option."""
    start = [sys.executable, "-m", "pyinfra", "--chdir", str(Path.cwd())]
    config = (places.FILES / "config.py").resolve()  # it executes the operator's own as well
    return [*start, "--config", str(config), *options, "--", inventory, deploy]


class Child:
    """A pyinfra at work.

    It is kept off the terminal, so it cannot ask, and Ctrl-C reaches it through `interrupt` only.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], log: Path, *, asks: bool
    ) -> None:
        """Start it.

        Args:
            words: from `command`.
            environment: variables to add.
            log: where all that it prints is added, but for the JSON of a run that only looks.
            asks: it is left on the terminal, since it asks for a password there.
        """
        self._asks = asks
        self.is_interrupted = False
        self._pipe, other = os.pipe()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                words,
                cwd=FOLDER,
                env={**os.environ, **environment, events.VARIABLE: str(other)},
                stdin=None if asks else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if "--json" in words else descriptor,
                stderr=descriptor,
                pass_fds=[other],
                start_new_session=not asks,
            )
        finally:
            os.close(other)
            os.close(descriptor)

    def events(self) -> Iterator[dict[str, Any] | None]:
        """What it tells, as it comes, up to its end; `None` at least every TICK seconds."""
        rest = b""
        while True:
            if select.select([self._pipe], [], [], TICK)[0]:
                read = os.read(self._pipe, 1 << 16)
                *lines, rest = (rest + read).split(b"\n")
                yield from filter(None, map(_event, lines))
                if not read:
                    break
            elif self._process.poll() is not None:
                break  # something that it started holds the pipe
            yield None
        os.close(self._pipe)
        self._process.wait()

    def interrupt(self, number: int) -> None:
        """Have it let go of the hosts and end; when called again, have it end at once."""
        if self.is_interrupted:
            self._process.kill()
        elif not (self._asks and number == signal.SIGINT):  # which the terminal has sent it
            self._process.send_signal(signal.SIGINT)
        self.is_interrupted = True

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than with status 0."""
        return self._process.returncode != 0

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        status = self._process.returncode
        if status < 0:
            return f"pyinfra was killed by signal {-status}"
        return f"pyinfra ended with status {status}"


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = from_json(line.decode(errors="replace"))
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def last_words(log: Path, host: str) -> str:
    """The last line in the log about this host, else the last line at all.

    A host may print what it likes, the name of another host as well. So a line is about the host
    that it begins with.
    """
    lines = _lines(log)
    of_host = re.compile(rf"[ \t]*\[{re.escape(host)}\](.*)", re.DOTALL)
    about = [_shown(found[1]) for line in lines if (found := of_host.match(line))]
    last = next(filter(None, reversed(about)), "") or next(
        filter(None, map(_shown, reversed(lines))), ""
    )
    return f"{last}. {_UNKNOWN_KEY}" if _HAS_UNKNOWN_KEY in last else last


def last_error(log: Path) -> str:
    """The exception that ended pyinfra itself, as the log has it; empty: there is none."""
    lines = _lines(log)
    began = [number for number, line in enumerate(lines) if line.startswith(_DIED)]
    after = lines[began[-1] + 1 :] if began else []
    return next((_shown(line) for line in reversed(after) if _EXCEPTION.match(line)), "")


def _lines(log: Path) -> list[str]:
    try:
        return log.read_bytes().decode(errors="replace").split("\n")
    except OSError:
        return []


def _shown(line: str) -> str:
    """A line of the log for the screen, where backticks would make a command of ours of it."""
    return printable(line).strip().replace("`", "'")
