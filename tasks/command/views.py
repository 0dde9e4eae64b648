"""What an operator sees while hosts are at work, on standard error: a line a host on a terminal,
kept up to date; a line an event in a pipe.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.cells import set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tasks.command.fleet import GOOD, Fleet, Host, count
from tasks.command.texts import clock

PATIENCE = 30.0  # seconds of a wait between two lines about it, in a pipe
_NAME = 28  # columns at most
_STEP = 15
_CLOCK = 11
_STYLES = {"": "", "refused": "yellow", "not_begun": "dim", "drain_limit": "yellow"}


class Lines:
    """For a pipe: a line for each event that matters."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._told: dict[str, float] = {}  # when a host's wait was last told of

    def happened(self, event: Mapping[str, Any], host: Host) -> None:
        """Tell of an event, after the host has learnt from it."""
        kind, at = event["kind"], float(event.get("at") or time.time())
        if kind == "waits":
            self._told.setdefault(host.name, host.since)
            if at - self._told[host.name] < PATIENCE:
                return
            self._told[host.name] = at
            limit = f" of {clock(host.limit)}" if host.limit else ""
            self.says(f"{host.name}: {clock(host.elapsed)}{limit}: {host.waiting}", at)
            return
        if kind == "step":
            self._told.pop(host.name, None)
        text = {
            "step": f"step {host.step}",
            "says": str(event.get("text", "")),
            "refused": f"{event.get('heading', 'refused')}: {'; '.join(host.problems)}",
            "end": f"{host.outcome}{f': {host.cause}' if host.cause else ''}",
        }.get(kind)
        if text and not (kind == "end" and host.problems):  # which have been told
            self.says(f"{host.name}: {text}", at)

    def says(self, text: str, at: float | None = None) -> None:
        """Print a line with the time of day."""
        print(
            f"{time.strftime('%H:%M:%S', time.localtime(at))} {text}", file=sys.stderr, flush=True
        )

    def passes(self, text: str) -> None:
        """Print what pyinfra printed."""
        print(text, file=sys.stderr, end="", flush=True)

    def tick(self) -> None:
        """Time has passed."""


class Screen:
    """For a terminal: a line for each host, drawn anew."""

    def __init__(self, fleet: Fleet, live: Live) -> None:
        self.fleet = fleet
        self._live = live
        self._began = time.time()

    def happened(self, event: Mapping[str, Any], host: Host) -> None:
        """Print above the lines what would not stay in them."""
        if event["kind"] == "says":
            self.says(f"{host.name}: {event.get('text', '')}")

    def says(self, text: str) -> None:
        """Print a line with the time of day above the hosts'."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def passes(self, text: str) -> None:
        """Print what pyinfra printed above the hosts' lines."""
        self._live.console.out(text, end="", highlight=False)

    def tick(self) -> None:
        """Draw the lines."""
        size, now = self._live.console.size, time.time()
        rows = drawn(self.fleet, size.width, size.height - 2, now)
        total = f"{clock(now - self._began)}  {self.fleet.counts()}"
        rows.append(Text(_cut(total, size.width - 2).rstrip(), "bold"))  # room for a ^C
        self._live.update(Text("\n").join(rows), refresh=True)


View = Lines | Screen


@contextmanager
def shown(fleet: Fleet, *, is_plain: bool) -> Iterator[View]:
    """A view for as long as hosts are at work; `is_plain`: lines on a terminal too."""
    console = Console(stderr=True)
    if is_plain or not console.is_terminal or console.is_dumb_terminal:
        lines = Lines(fleet)
        lines.says(f"{count(len(fleet), 'host')}: the first look begins")
        yield lines
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Screen(fleet, live)


def drawn(fleet: Fleet, width: int, height: int, now: float) -> list[Text]:
    """A line for each host; where they are too many, those that are done become one line."""
    hosts, rest = [*fleet.values()], ""
    if len(hosts) > height:
        hosts = [host for host in hosts if host.outcome not in GOOD]
        hosts.sort(key=lambda host: (not host.outcome, not host.has_begun))  # what failed first
        done, hidden = len(fleet) - len(hosts), max(0, len(hosts) - height + 1)
        hosts = hosts[: len(hosts) - hidden]
        counts = ((done, "done"), (hidden, "more"))
        rest = ", ".join(f"{number} {what}" for number, what in counts if number)
    name = min(_NAME, max(map(len, fleet)))
    rows = [_row(host, name, width, now) for host in hosts]
    return [*rows, Text(rest, "dim")] if rest else rows


def _row(host: Host, name: int, width: int, now: float) -> Text:
    style = "green" if host.outcome in GOOD else _STYLES.get(host.outcome, "bold red")
    if host.outcome:
        changed = f"{count(len(host.changed), 'change')}" if host.changed else ""
        said = "; ".join(host.problems) or host.cause or changed
        return _line(width, style, (host.name, name), (f"{host.outcome}  {said}", width))
    if not host.has_begun:
        return _line(width, "dim", (host.name, name), ("waiting", width))
    title, _, detail = host.step.partition(": ")
    spent = clock(host.spent(now)) + (f"/{clock(host.limit)}" if host.limit else "")
    step, text = title or "first look", host.waiting or detail
    return _line(
        width,
        style,
        (host.name, name),
        (step, _STEP),
        (f"{spent:>{_CLOCK}}", _CLOCK),
        (text, width),
    )


def _line(width: int, style: str, *cells: tuple[str, int]) -> Text:
    whole = "  ".join(_cut(text, columns) for text, columns in cells)
    return Text(_cut(whole.rstrip(), width).rstrip(), style)


def _cut(text: str, columns: int) -> str:
    fits = set_cell_size(text, columns)
    return fits if fits.rstrip() == text.rstrip() else set_cell_size(text, columns - 1) + "…"
