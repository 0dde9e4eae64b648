"""What import-linter's contracts (pyproject.toml) do not see: scripts, and words in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "tasks"
MODULES = sorted(path for path in TASKS.rglob("*.py") if path != TASKS / "platforms.py")
# What the scripts that pyinfra runs are composed of.
COMPOSED = {"preflight", "status", "steps"}
DISTRIBUTIONS = re.compile(
    r"(?<![a-z])"
    r"(debian|ubuntu|rhel|red ?hat|centos|rocky|alma(linux)?|oracle|fedora|amzn)"
    r"(?![a-z])",
    re.IGNORECASE,
)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(path: Path) -> set[str]:
    """Dotted names that a file imports, `from a import b` as a.b, wherever the import stands."""
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_tasks_is_this_checkouts() -> None:
    assert tasks.__file__ is not None
    assert Path(tasks.__file__).resolve() == TASKS / "__init__.py"


@pytest.mark.parametrize("command", ["deploy.py", "healthcheck.py", "rollback.py", "status.py"])
def test_a_command_composes_steps_and_nothing_else(command: str) -> None:
    names = [name.split(".") for name in _imports(ROOT / command)]
    assert {(first, second) for first, second, *_ in names} <= {("tasks", one) for one in COMPOSED}


@pytest.mark.parametrize("path", sorted((ROOT / "inventories").rglob("*.py")), ids=str)
def test_an_inventory_is_data(path: Path) -> None:
    assert not [name for name in _imports(path) if name.partition(".")[0] in ("tasks", "lab")]


def _words_of_code(tree: ast.Module) -> Iterator[str]:
    """Every name and every text in a module's code; docstrings and comments are no code."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)
        for attribute in ("id", "attr", "name", "arg", "asname"):
            if isinstance(word := getattr(node, attribute, None), str):
                yield word


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TASKS)))
def test_no_module_but_platforms_names_a_distribution(path: Path) -> None:
    words = (word for word in _words_of_code(_tree(path)) if word != "DEBIAN_FRONTEND")
    assert [word for word in words if DISTRIBUTIONS.search(word)] == []


def test_platforms_names_distributions() -> None:
    words = list(_words_of_code(_tree(TASKS / "platforms.py")))
    assert sum(bool(DISTRIBUTIONS.search(word)) for word in words) > 10


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "deploy.py",
        *sorted((TASKS / "host").glob("*.php")),
        *sorted((ROOT / "templates").iterdir()),
    ],
    ids=lambda path: path.name,
)
def test_no_text_for_a_host_names_a_distribution(path: Path) -> None:
    code = re.sub(r"(?m)(^|\s)(#|//|;) .*$", "", path.read_text(encoding="utf-8"))
    code = code.replace("DEBIAN_FRONTEND", "")  # debconf's variable, without effect elsewhere
    assert code.strip()
    assert DISTRIBUTIONS.findall(code) == []
