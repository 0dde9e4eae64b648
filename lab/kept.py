"""How to use a lab that stays: what is printed of it, and which host or lab a name means."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lab import labs
from lab.console import say
from lab.directory import environment
from lab.errors import UsageError
from lab.hosts import ssh_command
from lab.paths import REPOSITORY

INVENTORY = "inventories/lab.py"


def program() -> list[str]:
    """Return the command that starts pyinfra in the environment of this process."""
    # The script rather than `python -m`, which would put the working directory first on the path.
    script = Path(sys.executable).with_name("pyinfra")
    return [str(script)] if script.exists() else [sys.executable, "-m", "pyinfra"]


def explain(lab: str) -> None:
    """Say how to get into a lab, run the deploy on it, and remove it: on this lab alone."""
    say(f"\nThe lab {lab} stays. To get in:")
    for host in labs.inventory_of(lab):
        say(f"  {host['name']}: {ssh_command(host['data'])}")
    say(f"In the folder {REPOSITORY}:")
    say(f"  plan:   {shell_line(lab, 'deploy.py', '--dry')}")
    say(f"  apply:  {shell_line(lab, 'deploy.py', '-y')}")
    say(f"  back:   {shell_line(lab, 'rollback.py', '-y')}")
    say(f"  remove: ./noxw -s lab -- destroy {lab}")


def shell_line(lab: str, *words: str) -> str:
    """Give the line for a shell in the checkout's folder that runs pyinfra on this lab alone."""
    variables = [f"{name}={_shortened(value)}" for name, value in environment(lab).items()]
    return " ".join([*variables, *map(_shortened, [*program(), INVENTORY, *words])])


def _shortened(word: str) -> str:
    path = Path(word)
    return shlex.quote(
        str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else word
    )


def host(name: str) -> dict[str, Any]:
    """Return the inventory data of the host that NAME or ID/NAME means.

    Raises:
        UsageError: when it means none, or one of several.
    """
    hosts = {
        f"{lab}/{one['name']}": one["data"] for lab, ones in labs.ready().items() for one in ones
    }
    found = [full for full in hosts if name in (full, full.partition("/")[2])]
    if not found:
        raise UsageError(f"No lab of this checkout has a host {name!r}: {_there_is(hosts)}.")
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} labs have a host {name!r}: say ssh {' or ssh '.join(found)}."
        )
    data: dict[str, Any] = hosts[found[0]]
    return data


def check_id(lab: str, there: Collection[str]) -> None:
    """Make sure that a lab is among those that are there.

    Raises:
        UsageError: with the ids of those.
    """
    if lab not in there:
        raise UsageError(f"There is no lab {lab!r}: {_there_is(there)}.")


def _there_is(names: Collection[str]) -> str:
    return f"there is {', '.join(names)}" if names else "there is none"
