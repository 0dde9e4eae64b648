"""Which hosts a run takes: pyinfra lists the inventory's, and names choose among them."""

from __future__ import annotations

import ast
import fnmatch
import glob
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.command import child
from tasks.command.arguments import ASKING, near
from tasks.errors import RefusedError
from tasks.untrusted import printable

Groups = Mapping[str, Sequence[str]]  # the hosts in the inventory's order, each with its groups

_EXAMPLE = 'misp = ["misp1.example.org"]'
_IGNORED = "Ignoring host group"  # pyinfra's words for a list that is no group


def hosts_of(inventory: str, options: Sequence[str]) -> Groups:
    """What pyinfra finds in the inventory, and whether it takes the options. Connects to nothing.

    Raises:
        RefusedError: the inventory is missing, is not written as pyinfra needs it, or has no host.
    """
    path = Path(inventory)
    if path.exists():
        _check_shape(path)
    elif path.suffix == ".py" or (path.parent.is_dir() and len(path.parts) > 1):
        beside = [str(path.with_name(one.name)) for one in path.parent.glob("*.py")]
        raise RefusedError(f"there is no inventory {inventory}{near(inventory, beside)}")
    silent = [one for one in options if one not in ASKING]
    words = child.command(inventory, "debug-inventory", ["--json", *silent])
    done = subprocess.run(
        words,
        cwd=child.FOLDER,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    said = [printable(line).strip() for line in done.stderr.splitlines() if line.strip()]
    if ignored := [line for line in said if _IGNORED in line]:
        raise RefusedError(f"{inventory}: {ignored[0]}")
    try:
        groups = {host["name"]: host["groups"] for host in json.loads(done.stdout)}
    except ValueError:  # what stands there instead may hold the hosts' data
        errors = [line.removeprefix("--> ") for line in said if "pyinfra error" in line] or said[
            -1:
        ]
        why = errors[0] if done.returncode and errors else "something in it prints to its output"
        raise RefusedError(f"pyinfra cannot list the hosts of {inventory}: {why}") from None
    if not groups:
        nothing = "names no host" if path.exists() else "is neither a file nor a host that resolves"
        raise RefusedError(f"the inventory {inventory} {nothing}")
    return groups


def _check_shape(path: Path) -> None:
    """Find what pyinfra would pass over in silence, or take letter by letter for hosts."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"the inventory {path} cannot be read: {error}") from None
    except (SyntaxError, ValueError) as error:
        line = f" (line {error.lineno}: {error.msg})" if isinstance(error, SyntaxError) else ""
        raise RefusedError(
            f"the inventory {path} is not Python{line}; inventories/example.py shows its form"
        ) from None
    used = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    for name, value in _assigned(tree):
        if name not in used and not name.startswith("_") and (kind := _no_group(value)):
            raise RefusedError(
                f"{name} in {path} is {kind}, but a group is a list of hosts, as in {_EXAMPLE}"
            )


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((one.id, node.value) for one in targets if isinstance(one, ast.Name))


def _no_group(value: ast.expr) -> str:
    """What a value is that can be no group; a name or a call may be anything."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return "a text"
    if isinstance(value, ast.Dict):
        return "a dict"
    if isinstance(value, ast.Set):
        return "a set"
    if isinstance(value, ast.Tuple) and value.elts and isinstance(value.elts[0], ast.Constant):
        return "a tuple"  # with a list first it would be a group and its data
    return ""


def named(names: Iterable[str], groups: Groups) -> list[str]:
    """The named hosts, by `--limit`'s rule: those of a group, else those whose name matches.

    Raises:
        RefusedError: a name means no host.
    """
    found: set[str] = set()
    for name in names:
        meant = {host for host in groups if name in groups[host]}
        meant = meant or {host for host in groups if fnmatch.fnmatch(host, name)}
        if not meant:
            known = sorted({*groups, *(group for row in groups.values() for group in row)})
            raise RefusedError(f"no host and no group here is named {name!r}{near(name, known)}")
        found |= meant
    return [host for host in groups if host in found]


def chosen(groups: Groups, limit: Sequence[str], excluded: Sequence[str]) -> Groups:
    """The hosts of `limit`, all without it, but for the excluded ones.

    Raises:
        RefusedError: a name means no host, or none is left.
    """
    out = named(excluded, groups)
    within = named(limit, groups) if limit else [*groups]
    taken = {host: groups[host] for host in within if host not in out}
    if not taken:
        raise RefusedError("no host is left: --exclude leaves out all that --limit takes")
    return taken


def in_slices(groups: Groups, taken: Groups, canary: Sequence[str], size: int) -> list[list[str]]:
    """The taken hosts: the canaries, then the others by `size` (0: all at once), in order.

    A host that is left out makes its own slice smaller and leaves the other slices as they were.

    Args:
        groups: the hosts that slices are counted by.
    """
    first = named(canary, taken)
    rest = [host for host in groups if host not in first]
    size = size or len(groups)
    slices = [first, *(rest[start : start + size] for start in range(0, len(rest), size))]
    kept = [[host for host in hosts if host in taken] for hosts in slices]
    return [hosts for hosts in kept if hosts]


def limit(host: str, groups: Groups) -> str:
    """The `--limit` that means this host alone; a group may have the same name."""
    name = glob.escape(host)
    is_group = any(name in row for row in groups.values())
    return f"--limit={f'[{name[0]}]{name[1:]}' if is_group else name}"
