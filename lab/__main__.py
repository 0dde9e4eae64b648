"""Look at labs and remove them.

python -m lab list              labs in the engine, with the ssh line of each host
python -m lab destroy [ID]      remove one lab, or all, also what a crash left
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lab import engine, labs
from lab.console import say
from lab.errors import LabError
from lab.hosts import ssh_command


def _list() -> None:
    found = labs.running(engine.require())
    if not found:
        say("No lab is running.")
    for name, containers in found.items():
        say(f"{name}: {', '.join(sorted(containers))}")
        for host in labs.inventory_of(name):
            say(f"  {host['name']}: {ssh_command(host['data'])}")


def _destroy(name: str | None) -> None:
    found = engine.find()
    if found is None:
        say("No engine answers, so no lab is running.")
        return
    removed = labs.destroy(found, name)
    say(f"Removed: {', '.join(removed) or 'nothing was there'}")
    engine.stop_if_ours()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    commands.add_parser("list", help="list labs and how to get into their hosts")
    remove = commands.add_parser("destroy", help="remove a lab, or all")
    remove.add_argument("id", nargs="?")
    arguments = parser.parse_args(argv)
    try:
        if arguments.action == "list":
            _list()
        else:
            _destroy(arguments.id)
    except LabError as error:
        say(f"Error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
