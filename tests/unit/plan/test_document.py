"""Plans in a file: kept as they are, and an edited file is told in a sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tasks.plan import document
from tasks.plan.document import PlanError
from tests import hosts
from tests.unit.plan.plans import plan

PLANS = {
    "misp1": plan(hosts.migrating(), name="misp1"),
    "misp2": plan(hosts.converged(), name="misp2"),
}
TOLD = {name: one.model_dump() for name, one in PLANS.items()}
INVENTORY = "/srv/hosts.py"


def test_plans_are_read_as_they_were_written_and_nobody_else_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("older")
    path.chmod(0o644)
    document.save(path, TOLD, INVENTORY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert document.load(path) == (INVENTORY, PLANS)
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]


def test_a_plan_that_cannot_be_written_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        PlanError, match=r"the plan cannot be written to .*/gone/plan.json: No such"
    ):
        document.save(tmp_path / "gone/plan.json", TOLD, INVENTORY)
    (tmp_path / "folder").mkdir()
    with pytest.raises(PlanError, match="Is a directory"):
        document.save(tmp_path / "folder", TOLD, INVENTORY)
    with pytest.raises(PlanError, match=r"since it is none: documents.misp1: Input"):
        document.save(tmp_path / "plan", {"misp1": []}, INVENTORY)
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda _: "", "Invalid JSON"),
        (lambda text: text[:-50], "Invalid JSON"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format: Input should be 1"),
        (lambda text: text.replace('"misp2": {', '"misp3": {'), "has misp3 for another host"),
        (
            lambda text: text.replace('"limit": ', '"limits": '),
            r"documents.misp1.steps.0.limit: Field",
        ),
        (lambda text: text.replace('"kind": "package"', '"kind": "cake"'), "kind: Input should"),
        (lambda text: text.replace('"volatile": false', '"volatile": 0'), "volatile: Input should"),
        (
            lambda text: text.replace('"host"', '"host\\u001b[2J"'),
            "documents.misp1.host: Field required",
        ),
        (lambda _: "[]", "Input should be an object"),
        (lambda _: "[" * 100_000, "Invalid JSON"),
    ],
)
def test_a_file_that_was_edited_is_told_in_a_sentence(
    tmp_path: Path, edit: object, words: str
) -> None:
    path = tmp_path / "plan.json"
    document.save(path, TOLD, INVENTORY)
    assert callable(edit)
    path.write_text(edit(path.read_text()))
    with pytest.raises(PlanError, match=words) as caught:
        document.load(path)
    assert str(caught.value).endswith("Make the plan again")
    assert len(str(caught.value)) < 400 + len(str(path))
    assert str(caught.value).isprintable()


def test_a_file_that_is_none_or_has_no_end(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        document.load(tmp_path / "gone")
    with pytest.raises(PlanError, match="cannot be read: Is a directory"):
        document.load(tmp_path)
    huge = tmp_path / "huge"
    huge.touch()
    os.truncate(huge, 1 << 32)
    with pytest.raises(PlanError, match="is bigger than 64 MiB"):
        document.load(huge)


def test_the_form_is_the_one_that_others_read() -> None:
    found = json.loads(PLANS["misp1"].model_dump_json())
    assert list(found) == ["host", "deploy", "project", "steps", "rests_on"]
    assert list(found["steps"][0]) == ["step", "limit", "changes"]
    assert found["steps"][0]["changes"][0] == {
        "kind": "package",
        "name": "supervisor",
        "before": "",
        "after": "the newest that is offered",
        "diff": [],
        "volatile": False,
    }
