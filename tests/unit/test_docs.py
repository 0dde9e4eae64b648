"""The documentation names what is there: functions, settings, pages and files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tasks import settings_page
from tasks.settings import known_keys
from tests.documented import PAGES, ROOT

HOST = {path.stem: path for path in (ROOT / "tasks/host").glob("*.py")}
FUNCTION = re.compile(r"`([a-z_]+)\.([A-Za-z_]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([^)\s]+))?\)")


def names_in(path: Path) -> set[str]:
    """Functions, classes and constants of a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def anchors_in(path: Path) -> set[str]:
    """A page's headings as GitHub makes them anchors."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_of_the_host_that_a_page_names_exist(page: Path) -> None:
    named = set(FUNCTION.findall(page.read_text()))
    gone = [
        f"{module}.{name}"
        for module, name in sorted(named)
        if module in HOST and name not in {"py", "php"} and name not in names_in(HOST[module])
    ]
    assert not gone


def test_security_names_functions_at_all() -> None:
    named = FUNCTION.findall((ROOT / "docs/security.md").read_text())
    assert len([module for module, _ in named if module in HOST]) > 50


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        if target.startswith("http"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors_in(path), f"{target}#{anchor}"


def test_the_settings_page_is_what_the_model_says() -> None:
    text = settings_page.PAGE.read_text()
    assert settings_page.filled(text) == text, "python -m tasks.settings_page --write mends it"


def test_the_readmes_defaults_are_the_models() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (.+?) \|", (ROOT / "README.md").read_text(), re.M)
    shown = {key: default for cell, default in rows for key in re.findall("`([a-z_]+)`", cell)}
    known = {key: settings_page.default(key) for key in shown if key in known_keys()}
    in_words = {"misp_workers"}  # shortened there
    assert len(known) > 5
    assert {key: shown[key] for key in {*known} - in_words} == {
        key: known[key] for key in {*known} - in_words
    }
