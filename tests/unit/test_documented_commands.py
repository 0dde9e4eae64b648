"""Every command that a page shows is one that the programs take, words, options and all.

What an operator types is run as well, in tests/fake/test_documented_commands.py.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import nox.registry
import pytest
from _pytest.mark.expression import Expression
from nox._options import options as nox_options

import lab.__main__
import lab.bench.__main__
import noxfile  # noqa: F401 - it registers its sessions
from tasks import audit
from tasks.command import arguments
from tasks.errors import RefusedError
from tasks.setting_keys import PYINFRA_KEYS
from tasks.settings import known_keys
from tests.documented import OPERATORS, PAGES, ROOT, Shown, shown

# Each line of these pages' blocks is run by the other test, whatever its program is.
RUN_AS_THEY_STAND = {page.name for page in OPERATORS}

Tests = list[tuple[str, list[str], list[str]]]
"""A test's id, the names that `-k` knows it by, and its marks."""

_COLLECT = """
import json, pytest, sys
from _pytest.mark import KeywordMatcher
class Plugin:
    def pytest_collection_finish(self, session):
        rows = [[one.nodeid, sorted(KeywordMatcher.from_item(one)._names),
                 [mark.name for mark in one.iter_markers()]] for one in session.items]
        with open(sys.argv[1], "w") as file: json.dump(rows, file)
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests"], [Plugin()]))
"""

_PARSE = """
import json, sys
import click
from pyinfra_cli.main import cli
try:
    given = cli.make_context("pyinfra", sys.argv[1:]).params
except click.UsageError as error:
    sys.exit(error.format_message())
print(json.dumps({name: list(given[name]) for name in ("operations", "data")}))
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Tests:
    """Every test of the project."""
    rows = tmp_path_factory.mktemp("collected") / "rows.json"
    words = [sys.executable, "-c", _COLLECT, str(rows)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    found: Tests = json.loads(rows.read_text())
    return found


# --- each program --------------------------------------------------------------------------------


def problem(command: Shown, selections: list[list[str]]) -> str:
    """Why a command would not be taken; empty: it would.

    Args:
        selections: gets the words of each pytest that it starts.
    """
    program, *words = command.words
    try:
        if program == "./noxw":
            _noxw(words, selections)
        elif program == "misp-workers":
            _misp_workers(words)
        elif program == "pyinfra":
            _pyinfra(words)
        elif program == "--":
            _pyinfra(["INVENTORY", "deploy.py", *words])
        elif program in ("python", "python3"):
            _python(words, selections)
        elif not (command.is_block and command.page in RUN_AS_THEY_STAND):
            return "no test knows this program"
    except (AssertionError, RefusedError, ValueError, click.UsageError) as error:
        return str(error)
    except SystemExit as error:
        return f"it ends with {error.code}" if error.code else ""
    return ""


def _misp_workers(words: Sequence[str]) -> None:
    if len(words) == 1 and words[0] in arguments.DEPLOYS:  # the command's name in a sentence
        return
    asked = arguments.parsed(words)
    _pyinfra(["INVENTORY", asked.deploy, *asked.options])


def _pyinfra(words: Sequence[str]) -> None:
    given = _parsed_by_pyinfra(tuple(words))
    for deploy in given["operations"]:
        assert (ROOT / deploy).is_file(), f"there is no {deploy}"
    for pair in given["data"]:
        key = pair.partition("=")[0]
        assert key in (*known_keys(), *PYINFRA_KEYS), f"there is no key {key}"


@functools.cache
def _parsed_by_pyinfra(words: tuple[str, ...]) -> dict[str, list[str]]:
    """In a process of its own, since its command line patches threads for gevent on import."""
    done = subprocess.run(
        [sys.executable, "-c", _PARSE, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    given: dict[str, list[str]] = json.loads(done.stdout)
    return given


def _python(words: Sequence[str], selections: list[list[str]]) -> None:
    assert words[0] == "-m", "it is no module"
    module, *rest = words[1:]
    if module == "pytest":
        selections.append(rest)
    elif module == "tasks":
        if rest:
            _misp_workers(rest)
    elif module == "lab":
        lab.__main__.parsed(rest)
    elif module == "lab.bench":
        lab.bench.__main__.parsed([str(ROOT) if word == "../older" else word for word in rest])
    elif module == "lab.rehearsal":
        assert {word for word in rest if word.startswith("-")} <= {"--hosts", "--keep"}
    elif module == "lab.engine" and "--" in rest:
        program, *behind = rest[rest.index("--") + 1 :]
        assert program == "python"
        _python(behind, selections)
    elif module == "tasks.audit":
        assert len(rest) < 2, "it takes one function"
        assert set(rest) <= set(audit.functions()), f"no step calls {rest}"
    else:
        assert _has_main(module), f"{module} is no program"


def _has_main(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    assert spec, f"there is no module {module}"
    if spec.submodule_search_locations:
        return importlib.util.find_spec(f"{module}.__main__") is not None
    return bool(spec.origin) and '__name__ == "__main__"' in Path(str(spec.origin)).read_text()


class Session:
    """In the place of nox's: it notes what a session would run."""

    def __init__(self, name: str, words: list[str]) -> None:
        self.name, self.posargs, self.bin = name, words, "bin"
        self.ran: list[tuple[str, ...]] = []

    def install(self, *_words: str) -> None:
        pass

    def run(self, *words: str, **_options: Any) -> None:
        self.ran.append(words)

    def execute(self, _program: str, words: Sequence[str]) -> None:
        self.ran.append(tuple(words))


def _noxw(words: Sequence[str], selections: list[list[str]]) -> None:
    cut = words.index("--") if "--" in words else len(words)
    given = nox_options.parser().parse_args(words[:cut])
    for name in getattr(given, "sessions", ()):
        sessions = nox.registry.get()
        assert name in sessions, f"noxfile.py has no session {name}"
        session = Session(name, [*words[cut + 1 :]])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.execv", session.execute)
            sessions[name](session)
        for program, *rest in session.ran:
            if Path(program).name == "python":
                _python(rest, selections)


def selects(words: Sequence[str], collected: Tests) -> bool:
    """Whether a pytest with these words runs a test at all."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("folders", nargs="+")
    for option in ("-k", "-m", "-n", "--dist", "--durations", "--seed"):
        parser.add_argument(option)
    given = parser.parse_args(words)
    named, marked = (Expression.compile(one) if one else None for one in (given.k, given.m))
    for test, names, marks in collected:
        in_folder = test.startswith(tuple(f"{folder}/" for folder in given.folders))
        is_named = not named or named.evaluate(functools.partial(_is_in, names))
        is_marked = not marked or marked.evaluate(functools.partial(_is_one_of, marks))
        if in_folder and is_named and is_marked:
            return True
    return False


def _is_one_of(marks: Sequence[str], name: str, /, **_: Any) -> bool:
    return name in marks


def _is_in(names: Sequence[str], part: str, /, **_: Any) -> bool:
    return any(part.lower() in name.lower() for name in names)


# --- the pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_programs_take_each_command_of_a_page(page: Path) -> None:
    wrong = {str(command): problem(command, []) for command in shown(page)}
    assert {command: why for command, why in wrong.items() if why} == {}


def test_each_command_that_runs_tests_finds_some(
    collected: Tests,
) -> None:
    found: dict[str, list[list[str]]] = {}
    for page in PAGES:
        for command in shown(page):
            problem(command, found.setdefault(str(command), []))
    assert sum(map(len, found.values())) > 20
    runs = [(command, words) for command, each in found.items() for words in each]
    assert [command for command, words in runs if not selects(words, collected)] == []


def test_a_page_shows_commands_of_each_kind() -> None:
    blocks = [command for page in PAGES for command in shown(page) if command.is_block]
    programs = {command.words[0] for command in blocks}
    assert programs >= {"./noxw", "misp-workers", "python3", "python", "pip", "cp"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("misp-workers plna INVENTORY", "there is no command 'plna', did you mean 'plan'?"),
        ("misp-workers apply INVENTORY --canray x", "takes no option '--canray'"),
        ("misp-workers plan INVENTORY -- --ssh-usr admin", "No such option '--ssh-usr'"),
        ("misp-workers apply INVENTORY -- --data drain_time=1", "there is no key drain_time"),
        ("misp-workers apply INVENTORY -- --limit x", "cannot be passed to pyinfra"),
        ("pyinfra INVENTORY depoly.py", "there is no depoly.py"),
        ("-- --same-sudo-pasword", "No such option '--same-sudo-pasword'"),
        ("python -m tasks.rollout", "there is no module tasks.rollout"),
        ("python -m tasks.waits", "tasks.waits is no program"),
        ("python -m tasks.audit workers.aply", "no step calls ['workers.aply']"),
        ("./noxw -s e2ee -- -k x", "noxfile.py has no session e2ee"),
        ("./noxw -s lab -- down", "it ends with 2"),
        ("./noxw -s bench -- --rows none", "it ends with 2"),
        ("curl https://example.org", "no test knows this program"),
    ],
)
def test_a_command_that_is_wrong_is_found(text: str, why: str) -> None:
    assert why in problem(Shown("contributing.md", 1, text, is_block=True), [])


@pytest.mark.parametrize(
    ("words", "is_found"),
    [
        ("tests/e2e -m 'not resilience' -k test_this", True),
        ("tests/e2e -m resilience -k test_this", False),
        ("tests/e2e -k 'THIS and not other'", True),
        ("tests/e2e -k nothing", False),
        ("tests/fake -k test_this", False),
    ],
)
def test_a_selection_of_no_test_is_found(words: str, is_found: bool) -> None:
    tests: Tests = [("tests/e2e/test_a.py::test_this", ["test_a.py", "test_this"], [])]
    assert selects(shlex.split(words), tests) is is_found
