"""Events reach the process that asked for them, and nobody else."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest

from tasks import errors
from tasks.errors import with_next_step
from tasks.report import events

TASKS = Path(errors.__file__).parent


def test_an_event_is_one_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv(events.VARIABLE, str(writer))
    events.emit("says", "misp1", text="two\nlines")
    events.emit("step", "misp1", step="Proof", limit=0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        found = [json.loads(line) for line in lines]
    assert [(one["kind"], one["host"]) for one in found] == [("says", "misp1"), ("step", "misp1")]
    assert found[0]["text"] == "two\nlines"


@pytest.mark.parametrize("number", ["", "no number", "987654"])
def test_without_a_reader_nothing_happens(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(events.VARIABLE, number)
    events.emit("says", "misp1", text="nobody hears")


@pytest.mark.parametrize(
    ("number", "names"),
    [
        ("", ["deploy.py", "rollback.py", "status.py", "healthcheck.py"]),
        (
            "7",
            [
                "misp-workers apply",
                "misp-workers rollback",
                "misp-workers status",
                "misp-workers status --install-healthcheck",
            ],
        ),
    ],
)
def test_a_deploy_is_called_what_the_operator_has(
    number: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(events.VARIABLE, number)
    found = [events.program(one) for one in ("deploy", "rollback", "status", "healthcheck")]
    assert found == names
    for one in found:  # a sentence with it says already what comes next
        assert with_next_step(f"it broke: run {one}") == f"it broke: run {one}"


FILES = re.compile(r"\b(deploy|rollback|status|healthcheck)\.py\b")
KNOWN = {"places.py", "arguments.py"}  # they name the files themselves


@pytest.mark.parametrize("path", sorted(TASKS.rglob("*.py")), ids=str)
def test_no_sentence_names_a_file_that_pip_does_not_leave(path: Path) -> None:
    """Docstrings aside, which the operator does not see."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and id(node) not in docstrings
    ]
    named = [text for text in texts if isinstance(text, str) and FILES.search(text)]
    assert not named or path.name in KNOWN
