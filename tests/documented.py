"""The commands that README.md and docs/ show, as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATORS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("operating", "runbook", "records", "security")),
]
"""Pages with lines for an operator's shell."""

BIN = ".venv-deploy/bin/"
"""Where README.md has the project installed."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?m)^ {4,}(?:\$ )?(?=\S)(.*)$")
_SPAN = re.compile(r"`([^`]+)`")
_OURS = re.compile(rf"({re.escape(BIN)}\S+|\./noxw|misp-workers|pyinfra|python3? -m|--) ")


@dataclass(frozen=True)
class Shown:
    """A command of a page.

    Attributes:
        text: without its comment and without the prompt.
        is_block: it has a line of its own, so it is complete; else it stands in a sentence.
    """

    page: str
    line: int
    text: str
    is_block: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"

    @property
    def words(self) -> list[str]:
        """As a shell has them, programs without the folder that README.md installs them to."""
        return [word.removeprefix(BIN) for word in shlex.split(self.text, comments=True)]


def shown(page: Path) -> Iterator[Shown]:
    """Every command of a page, in the page's order of blocks, then of sentences.

    In a block for a shell each line is one. Elsewhere it is what begins with a program of this
    project's, or with the options that go to pyinfra.
    """
    text, name = page.read_text(encoding="utf-8"), page.name
    for fence in _FENCE.finditer(text):
        first = text.count("\n", 0, fence.start(2)) + 1
        for number, line in enumerate(fence[2].splitlines(), first):
            command = line.removeprefix("$ ").strip()
            if command and (fence[1] == "sh" or _OURS.match(command)):
                yield Shown(name, number, command, is_block=True)
    prose = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    for found in _INDENTED.finditer(prose):
        if _OURS.match(found[1]):
            yield Shown(name, prose.count("\n", 0, found.start()) + 1, found[1], is_block=True)
    for found in _SPAN.finditer(prose):
        command = " ".join(found[1].split())
        if _OURS.match(command):
            line = prose.count("\n", 0, found.start()) + 1
            yield Shown(name, line, command, is_block=False)
