"""A function of tasks/host as something pyinfra runs on a host, and the check of what comes back.

    call(workers.apply, site=target.site(), text=target.group_text())

reads and is type-checked as the function itself. What travels is the function's name, its
arguments as JSON and the text of the modules it needs, all on standard input; the command line
names the action and holds nothing else, so neither sudo's log nor a process list has a secret.
The precedent for functions that are sent to a host is chatmail/relay's cmdeploy/remote/.
"""

from __future__ import annotations

import ast
import binascii
import getpass
import hashlib
import json
import os
import platform
import re
import uuid
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tasks.errors import MigrationError
from tasks.host import boot
from tasks.untrusted import from_json

P = ParamSpec("P")
R = TypeVar("R")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "tasks.host"
PROJECT = "misp-workers-migration"
RUN_ID = uuid.uuid4().hex  # of this pyinfra process, for the lease on each host
MAX_ANSWER = 4 << 20  # characters

_RECEIVER = (
    "import sys,zlib,json,binascii as b;"
    "d=json.loads(zlib.decompress(b.a2b_base64(sys.stdin.readline())).decode());"
    'exec(d["boot"],d);d["main"](d)'
)

Lock = Literal["none", "wait", "hold"]


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container, whose user may be a number without a name
        return f"uid{os.getuid()}"


RUN_OWNER = re.sub(r"[^A-Za-z0-9@._-]", "-", f"{_login()}@{platform.node()}")[:80]


class AnswerError(MigrationError):
    """The host gave no answer that can be trusted: none, half of one, or one of another type."""


class HostRefusal(MigrationError):  # noqa: N818 - the host's own word on why it gave up
    """The host function gave up; `kind` is its error's class, `details` are for the run's log."""

    def __init__(self, kind: str, text: str, details: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.kind = kind
        self.details = list(details)


class Script(str):
    """Standard input's text. Wherever it is printed or formatted, its name appears in its place.

    pyinfra prints the keyword arguments of a fact at -v, and standard input is one of them.
    """

    label: str

    def __new__(cls, label: str, text: str) -> Script:
        """Keep `text` as the value and `label` as what is shown of it."""
        script = super().__new__(cls, text)
        script.label = label
        return script

    def __repr__(self) -> str:
        return f"<{self.label}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


@dataclass(frozen=True, repr=False)
class Call(Generic[R]):
    """A host function with its arguments."""

    function: Callable[..., R]
    arguments: dict[str, Any] = field(default_factory=dict)
    lock: Lock = "hold"
    takes_over: bool = False
    has_held: bool = False  # this run has begun a step on the host before

    def __repr__(self) -> str:
        return f"Call({self.name})"

    @property
    def name(self) -> str:
        """As in `workers.apply`: what the journal shows."""
        module = self.function.__module__.removeprefix(f"{PACKAGE}.")
        return f"{module}.{self.function.__name__}"

    @property
    def described(self) -> str:
        """Its name, and what the function says it does."""
        return f"{self.name}: {(self.function.__doc__ or '').strip().partition(chr(10))[0]}"

    def words(self, python: str) -> str:
        """The command line on the host."""
        return f"{python} -I -S -c '{_RECEIVER}' {PROJECT} {self.name}"

    def stdin(self) -> Script:
        """What the command reads: one line, compressed; a part of it runs nothing."""
        content = {
            "boot": _source(f"{PACKAGE}.boot"),
            "modules": _modules(self.function.__module__),
            "function": self.name,
            "arguments": boot.plain(self.arguments),
            "lock": self.lock,
            "takes_over": self.takes_over,
            "has_held": self.has_held,
            "run": RUN_ID,
            "owner": RUN_OWNER,
        }
        packed = zlib.compress(json.dumps(content).encode(), 9)
        return Script(self.name, binascii.b2a_base64(packed, newline=False).decode() + "\n")

    def read(self, lines: Iterable[str]) -> R:
        """The function's result from what the command printed.

        Raises:
            AnswerError: it is no whole answer, or not of the function's type.
            HostRefusal: the function raised an error of its own.
        """
        result: R = checked(_adapter(self.function), _answer(lines), self.name)
        return result


def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Call[R]:
    """A call that changes something: it holds the host's lock while it works."""
    return Call(function, _by_name(args, kwargs))


def look(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Call[R]:
    """A call that changes nothing: it only waits for a step that is at work."""
    return Call(function, _by_name(args, kwargs), lock="wait")


def _by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    if args:
        raise TypeError("arguments travel by name")
    return dict(kwargs)


def checked(adapter: TypeAdapter[R], value: Any, name: str) -> R:
    """A value of exactly that type, with texts that can be shown.

    Raises:
        AnswerError: it is of another type.
    """
    try:
        # JSON's own rules: a list may be a tuple, but a text is no number.
        result: R = adapter.validate_json(json.dumps(value), strict=True)
        return result
    except (ValidationError, ValueError) as error:
        where = ""
        if isinstance(error, ValidationError):
            where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise AnswerError(
            f"the answer to {name} is not what is due ({where or 'its form'})"
        ) from None


def _answer(lines: Iterable[str]) -> Any:
    found = [line for line in lines if line.startswith(f"{boot.MARK} ")]
    if not found:
        raise AnswerError("the host gave no answer")
    _, _, rest = found[-1].partition(" ")
    digest, _, text = rest.partition(" ")
    if len(text) > MAX_ANSWER:
        raise AnswerError("the host's answer is too long")
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise AnswerError("the host's answer is not whole")
    try:
        clean = from_json(text)
    except ValueError as error:
        raise AnswerError(f"the host's answer cannot be read: {str(error)[:80]}") from None
    if isinstance(clean, dict) and "value" in clean:
        return clean["value"]
    complaint = clean.get("error") if isinstance(clean, dict) else None
    if not isinstance(complaint, dict):
        raise AnswerError("the host's answer has neither a value nor an error")
    details = complaint.get("details")
    lines = [str(line) for line in details] if isinstance(details, list) else []
    raise HostRefusal(str(complaint.get("kind", "")), str(complaint.get("text", ""))[:2000], lines)


def sent_with(call: Call[Any]) -> list[tuple[str, str]]:
    """The modules that travel with a call, by name."""
    receiver = (f"{PACKAGE}.boot", _source(f"{PACKAGE}.boot"))
    return [receiver, *_modules(call.function.__module__)]


@cache
def _adapter(function: Callable[..., Any]) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(function)["return"])


@cache
def _source(module: str) -> str:
    path = ROOT / f"{module.replace('.', '/')}.py"
    text = path.read_text(encoding="utf-8")
    if module == f"{PACKAGE}.bridge":
        text += f"\nCODE = {path.with_suffix('.php').read_text(encoding='utf-8')!r}\n"
    return text


@cache
def _modules(name: str) -> list[tuple[str, str]]:
    """The module and all of the package that it imports, at once or later."""
    found: dict[str, None] = {}
    todo = [name, f"{PACKAGE}.lock"]
    while todo:
        module = todo.pop()
        if module not in found:
            found[module] = None
            todo += _imports(module)
    return [(module, _source(module)) for module in sorted(found)]


@cache
def _imports(module: str) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            found += [f"{PACKAGE}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            found.append(node.module or "")
    return tuple(dict.fromkeys(found))
