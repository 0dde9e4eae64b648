"""The command `python -m tasks`; installed by pip, it is called `misp-workers`."""

from __future__ import annotations

import sys

from tasks.command import main


def run() -> int:
    """Run the command line; gives the exit status."""
    return main.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
