"""What stands between backticks in a sentence is a command, and an operator pastes it as root.

A name from a host could be another command there, so it goes through a function of remedies.py.
This reads the sources: so it sees the sentence that is written next.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host import remedies

TASKS = Path(remedies.__file__).parents[1]
MARKDOWN = TASKS / "settings_page.py"  # between its backticks stand keys and values
SOURCES = sorted({*TASKS.rglob("*.py")} - {MARKDOWN})
QUOTES = {"word", "as_web_user", "give_back", "in_folder", "make_folder", "start_old_workers"}
QUOTES |= {"again", "other"}  # a command line of the operator's own, quoted by shlex
PLAIN = {
    "GROUP",  # a constant
    "login",  # of a line for sudoers, which no shell reads
    "commands",  # of another sentence, where they stand as they are to be run
    "found.command",  # one of four words
}
Pieces = list[str | ast.expr]


def pieces(node: ast.AST) -> Pieces:
    """The parts of a text that is put together; none: it is no such text."""
    if isinstance(node, ast.JoinedStr):
        return [getattr(one, "value") for one in node.values]  # noqa: B009 - of either kind
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mod):
        return []
    text = node.left.value if isinstance(node.left, ast.Constant) else None
    if not isinstance(text, str):
        return []
    values = list(node.right.elts) if isinstance(node.right, ast.Tuple) else [node.right]
    parts = re.split(r"(%[-.0-9]*[a-z])", text.replace("%%", ""))
    if len(values) != len(parts) // 2:
        return []
    found: Pieces = []
    for number, part in enumerate(parts):
        value = values.pop(0) if number % 2 else part
        found.append(ast.Constant(0) if part == "%d" else value)  # a number is no name
    return found


def names_in_commands(some: Pieces) -> Iterator[ast.expr]:
    """What is filled in between backticks."""
    is_inside = False
    for piece in some:
        if isinstance(piece, str):
            is_inside ^= piece.count("`") % 2 == 1
        elif is_inside:
            yield piece


class Module:
    """One source, and what in it is safe to stand in a command."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.functions = {
            node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)
        }

    def unquoted(self) -> list[str]:
        return [
            f"line {name.lineno}: {ast.unparse(name)}"
            for function in self.functions.values()
            for node in ast.walk(function)
            for name in names_in_commands(pieces(node))
            if not self.is_safe(name, function)
        ]

    def is_safe(self, node: ast.expr, function: ast.FunctionDef) -> bool:
        parts: list[ast.expr] = []
        if isinstance(node, ast.Constant) or ast.unparse(node) in PLAIN:
            return True
        if isinstance(node, ast.Call):
            return self._is_safe_call(node)
        if isinstance(node, ast.Name):
            parts = _assigned(node.id, function)
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = [node.left, node.right]
        else:
            parts = [one for one in pieces(node) if isinstance(one, ast.expr)]
        return bool(parts) and all(self.is_safe(one, function) for one in parts)

    def _is_safe_call(self, node: ast.Call) -> bool:
        name = ast.unparse(node.func).rpartition(".")[2]
        if name == "join":
            return bool(re.match(r"map\((remedies\.)?word, ", ast.unparse(node.args[0])))
        function = self.functions.get(name)
        if name in QUOTES or function is None:
            return name in QUOTES
        returned = [one.value for one in ast.walk(function) if isinstance(one, ast.Return)]
        return bool(returned) and all(one and self.is_safe(one, function) for one in returned)


def _assigned(name: str, function: ast.FunctionDef) -> list[ast.expr]:
    found: list[ast.expr] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                found += [value for one, value in pairs if ast.unparse(one) == name]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda one: str(one.relative_to(TASKS)))
def test_a_name_in_a_command_is_quoted(path: Path) -> None:
    assert Module(path.read_text(encoding="utf-8")).unquoted() == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("return f'run `ls {word(name)}`, and {name}'", []),
        ("return f'run `ls {name}`'", ["name"]),
        ("return 'run `ls %s`, %d' % (name, 1)", ["name"]),
        ("return 'with %s: run `ls %s`' % (name, word(name))", []),
        ("a = word(name)\n    return f'run `ls {a}`'", []),
        ("a = name\n    return f'run `ls {a}`'", ["a"]),
        ("a, b = word(name), 1\n    return f'run `ls {a}`'", []),
        ("return f'run `{helper(name)}`'", []),
        ("return f'run `{careless(name)}`'", ["careless(name)"]),
        ("return f'run `{unknown(name)}`'", ["unknown(name)"]),
        ("return f'run `{word(name) if name else name}`'", ["word(name) if name else name"]),
    ],
)
def test_such_a_name_is_found(body: str, found: list[str]) -> None:
    helpers = (
        "def helper(name):\n    return 'ls %s' % word(name)\n"
        "def careless(name):\n    return f'ls {name}'\n"
    )
    module = Module(f"{helpers}def sentence(name):\n    {body}\n")
    assert [one.partition(": ")[2] for one in module.unquoted()] == found
