"""Shows what root runs on a host, before it runs.

    python -m tasks.audit                  the functions that steps call by name
    python -m tasks.audit workers.apply    the whole text that is sent for one

What a run sends to each host, its arguments with secrets masked, is shown by

    pyinfra INVENTORY deploy.py --dry --data show_calls=true
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks import remote
from tasks.host import boot

_CALLERS = ("call", "look", "Call")
_SECRETS = ("password", "api_key", "http_proxy")


def functions() -> list[str]:
    """The host functions that the project's own code calls by name, as in `workers.apply`."""
    found = {name for path in sorted((remote.ROOT / "tasks").rglob("*.py")) for name in _in(path)}
    return sorted(found)


def _in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = node.func.id if isinstance(node.func, ast.Name) else name
        first = node.args[0]
        if (
            name in _CALLERS
            and isinstance(first, ast.Attribute)
            and isinstance(first.value, ast.Name)
        ):
            module = f"{remote.PACKAGE}.{first.value.id}"
            if (remote.ROOT / f"{module.replace('.', '/')}.py").exists():
                yield f"{first.value.id}.{first.attr}"


def masked(value: Any) -> Any:
    """A call's arguments as JSON has them, secrets replaced."""
    if isinstance(value, dict):
        return {
            key: "***" if isinstance(one, str) and one and key.endswith(_SECRETS) else masked(one)
            for key, one in value.items()
        }
    return [masked(one) for one in value] if isinstance(value, list) else value


def line(call: remote.Call[Any]) -> str:
    """One call of a run, for the operator's eye."""
    return f"root runs {call.name} {json.dumps(masked(boot.plain(call.arguments)), sort_keys=True)}"


def _call(name: str) -> remote.Call[Any]:
    module, _, function = name.rpartition(".")
    return remote.Call(getattr(importlib.import_module(f"{remote.PACKAGE}.{module}"), function))


def _table() -> Iterator[str]:
    words = remote.Call(boot.main).words("/usr/bin/python3")
    yield f"on each host, as root: {words.removesuffix('boot.main')}NAME"
    for name in functions():
        modules = remote.sent_with(_call(name))
        digest = hashlib.sha256("".join(text for _, text in modules).encode()).hexdigest()
        yield f"{name}: {len(modules)} modules, sha256 {digest[:16]}"


def main(arguments: Sequence[str]) -> int:
    """Print the table, or one function's text; gives the exit status."""
    if len(arguments) > 1 or (arguments and arguments[0] not in functions()):
        print("usage: python -m tasks.audit [FUNCTION]; the functions:", file=sys.stderr)
        print("\n".join(functions()), file=sys.stderr)
        return 1
    if not arguments:
        print("\n".join(_table()))
        return 0
    for name, text in remote.sent_with(_call(arguments[0])):
        print(f"# --- {name}\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
