"""Progress that a person can follow: spinners on a terminal, plain lines in a log.

Everything goes to standard error, so that a command's standard output stays machine-readable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)

Detail = Callable[[str], None]


class _Spinners:
    """One live display shared by all threads, there only while something runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._progress: Progress | None = None

    def add(self, title: str) -> tuple[Progress, int]:
        with self._lock:
            if self._progress is None:
                self._progress = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}"),
                    TimeElapsedColumn(),
                    console=console,
                    transient=True,
                )
                self._progress.start()
            self._active += 1
            return self._progress, int(self._progress.add_task(escape(title)))

    def remove(self, progress: Progress, task: int) -> None:
        with self._lock:
            progress.remove_task(task)  # type: ignore[arg-type] # rich's NewType around int
            self._active -= 1
            if not self._active:
                progress.stop()
                self._progress = None


_spinners = _Spinners()


def say(text: str) -> None:
    """Print one line."""
    console.print(escape(text))


def heading(text: str) -> None:
    """Print the title of a part of a longer run."""
    console.print(f"\n[bold]{escape(text)}[/bold]")


@contextmanager
def step(title: str) -> Iterator[Detail]:
    """Show TITLE while the block runs and its duration afterwards; yields a reporter of details."""
    started = time.monotonic()
    with _terminal_step(title) if console.is_terminal else _plain_step(title) as detail:
        try:
            yield detail
        except BaseException:
            _finish("[red]✗[/red]", title, started)
            raise
    _finish("[green]✓[/green]", title, started)


def _finish(mark: str, title: str, started: float) -> None:
    console.print(f"{mark} {escape(title)} [dim]({time.monotonic() - started:.1f} s)[/dim]")


@contextmanager
def _terminal_step(title: str) -> Iterator[Detail]:
    progress, task = _spinners.add(title)
    shown = escape(title)

    def detail(text: str) -> None:
        progress.update(
            task,  # type: ignore[arg-type] # rich's NewType around int
            description=f"{shown} [dim]{escape(text[:70])}[/dim]",
        )

    try:
        yield detail
    finally:
        _spinners.remove(progress, task)


@contextmanager
def _plain_step(title: str) -> Iterator[Detail]:
    console.print(f"… {escape(title)}")

    def detail(text: str) -> None:
        console.print(f"    {escape(title)}: {escape(text[:100])}")

    yield detail
