"""The rules of the layers: who may import whom, and who may know distributions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "tasks"

# From the bottom up: a module may import from the layers under its own, and from these alone.
# Every module of tasks/ that is not named here is a step, on top of all of them.
LAYERS = (
    ("platforms", "parse", "secret", "summary", "connection"),
    ("settings", "rollout"),
    ("render",),
    ("target",),
    ("scripts", "misp_rest", "reporting"),
    ("facts",),
    ("commands", "acquaintance"),
    ("obstacles",),
    ("notes",),
)
LOWER = {
    name: {lower for layer in LAYERS[:level] for lower in layer}
    for level, names in enumerate(LAYERS)
    for name in names
}
# And the steps; `secret` takes its masking type from it.
MAY_KNOW_PYINFRA = {"connection", "facts", "commands", "acquaintance", "reporting"}
DISTRIBUTIONS = re.compile(
    r"(?<![a-z])"
    r"(debian|ubuntu|rhel|red ?hat|centos|rocky|alma(linux)?|oracle|fedora|amzn)"
    r"(?![a-z])",
    re.IGNORECASE,
)

MODULES = sorted(path.stem for path in TASKS.glob("*.py") if path.stem != "__init__")
STEPS = [name for name in MODULES if name not in LOWER]


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


def _from(package: str, path: Path) -> set[str]:
    """What a file imports of a package, the package's own name cut off."""
    return {
        name.removeprefix(package).lstrip(".")
        for name in _imports(path)
        if name == package or name.startswith(f"{package}.")
    }


def _siblings(name: str) -> set[str]:
    return {imported.partition(".")[0] for imported in _from("tasks", TASKS / f"{name}.py")}


def test_tasks_is_this_checkouts() -> None:
    assert tasks.__file__ is not None
    assert Path(tasks.__file__).resolve() == TASKS / "__init__.py"


def test_every_module_of_the_layers_is_there_and_so_are_steps() -> None:
    assert set(MODULES) > set(LOWER)
    assert {"preflight", "workers", "proof"} <= set(STEPS)


@pytest.mark.parametrize("name", LOWER)
def test_a_module_imports_from_the_layers_under_its_own_only(name: str) -> None:
    assert _siblings(name) - LOWER[name] == set()


@pytest.mark.parametrize("name", STEPS)
def test_a_step_imports_no_other_step(name: str) -> None:
    assert _siblings(name) - set(LOWER) == set()
    assert _siblings(name)


@pytest.mark.parametrize("name", ["platforms", "parse", "secret", "summary"])
def test_the_lowest_layer_imports_nothing_of_the_project(name: str) -> None:
    path = TASKS / f"{name}.py"
    assert not any(_from(package, path) for package in ("tasks", "lab", "tests", "inventories"))


def test_reporting_knows_the_summary_and_no_step_or_host() -> None:
    assert _siblings("reporting") == {"summary"}


def test_the_rollout_knows_the_summary_and_is_no_part_of_a_run() -> None:
    assert _siblings("rollout") == {"summary"}
    assert [name for name in MODULES if "rollout" in _siblings(name)] == []


def test_rendering_knows_settings_and_platforms_only() -> None:
    assert _siblings("render") <= {"settings", "platforms"}


@pytest.mark.parametrize("name", sorted(set(LOWER) - MAY_KNOW_PYINFRA - {"secret"}))
def test_what_is_pure_does_not_know_pyinfra(name: str) -> None:
    assert _from("pyinfra", TASKS / f"{name}.py") == set()


def test_secrets_take_the_masking_type_from_pyinfra_and_nothing_else() -> None:
    assert _from("pyinfra", TASKS / "secret.py") == {"api.hiddenvalue.HiddenValue"}


@pytest.mark.parametrize("name", ["platforms", "parse"])
def test_the_pure_functions_do_no_input_or_output(name: str) -> None:
    doers = {"os", "io", "pathlib", "subprocess", "socket", "requests", "sys", "time", "shutil"}
    assert {full.partition(".")[0] for full in _imports(TASKS / f"{name}.py")} & doers == set()
    called = {
        ast.unparse(node.func)
        for node in ast.walk(_tree(TASKS / f"{name}.py"))
        if isinstance(node, ast.Call)
    }
    assert called & {"open", "print", "input", "exec", "eval"} == set()


@pytest.mark.parametrize("name", STEPS)
def test_a_step_makes_no_command_of_its_own(name: str) -> None:
    forbidden = {"api.command.StringCommand", "api.StringCommand", "operations.server.shell"}
    assert _from("pyinfra", TASKS / f"{name}.py") & forbidden == set()
    assert not _from("subprocess", TASKS / f"{name}.py")


@pytest.mark.parametrize("package", ["lab", "tests", "inventories"])
def test_tasks_know_nothing_of_what_uses_them(package: str) -> None:
    assert {path.name: _from(package, path) for path in TASKS.rglob("*.py")} == {
        path.name: set() for path in TASKS.rglob("*.py")
    }


@pytest.mark.parametrize("place", ["lab", "inventories"])
def test_the_lab_and_the_inventories_never_import_tasks(place: str) -> None:
    files = list((ROOT / place).rglob("*.py"))
    assert files
    assert [str(path) for path in files if _from("tasks", path)] == []


@pytest.mark.parametrize("command", ["deploy.py", "rollback.py", "status.py"])
def test_a_command_composes_steps_and_nothing_else(command: str) -> None:
    assert {name.partition(".")[0] for name in _imports(ROOT / command)} == {"tasks"}
    assert _from("tasks", ROOT / command) <= set(STEPS)


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


@pytest.mark.parametrize("name", [name for name in MODULES if name != "platforms"])
def test_no_module_but_platforms_names_a_distribution(name: str) -> None:
    words = _words_of_code(_tree(TASKS / f"{name}.py"))
    assert [word for word in words if DISTRIBUTIONS.search(word)] == []


def test_platforms_names_distributions() -> None:
    words = list(_words_of_code(_tree(TASKS / "platforms.py")))
    assert sum(bool(DISTRIBUTIONS.search(word)) for word in words) > 10


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "deploy.py",
        *sorted((TASKS / "remote").iterdir()),
        *sorted((ROOT / "templates").iterdir()),
    ],
    ids=lambda path: path.name,
)
def test_no_text_for_a_host_names_a_distribution(path: Path) -> None:
    code = re.sub(r"(?m)(^|\s)(#|//|;) .*$", "", path.read_text(encoding="utf-8"))
    code = code.replace("DEBIAN_FRONTEND", "")  # debconf's variable, without effect elsewhere
    assert code.strip()
    assert DISTRIBUTIONS.findall(code) == []
