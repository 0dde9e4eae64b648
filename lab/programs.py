"""Programs that tests without containers run: a Redis, and MISP's PHP with its extensions.

python -m lab.programs [--browser] [--install-engine]     # install what is missing, or say how

The browser is for the tests of a run's page. It is 113 MB to fetch and 350 MB on the disk, so only
the session `resilience` has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from lab.console import say
from lab.dockerd import INSTALL_VARIABLE, apt_install
from lab.errors import LabError

PROGRAMS = {"redis-server": "redis-server", "php": "php-cli"}  # and their packages
BROWSER = {"chromium": "chromium"}
EXTENSIONS = {"redis": "php-redis", "pdo_mysql": "php-mysql"}


def missing(programs: Mapping[str, str]) -> list[str]:
    """Packages of Debian's that are missing here."""
    found = [package for program, package in programs.items() if not shutil.which(program)]
    present = _extensions() if shutil.which("php") else []
    return found + [package for name, package in EXTENSIONS.items() if name not in present]


def _extensions() -> list[str]:
    done = subprocess.run(["php", "-m"], capture_output=True, text=True, check=False)
    return done.stdout.split()


def main(arguments: Sequence[str]) -> int:
    """Install what is missing, if that is allowed; gives the exit status."""
    packages = missing(PROGRAMS | (BROWSER if "--browser" in arguments else {}))
    if not packages:
        return 0
    if "--install-engine" not in arguments or os.geteuid() != 0 or not shutil.which("apt-get"):
        command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
        say(f"The tests need programs that are missing here. As root: {command}")
        return 2
    os.environ[INSTALL_VARIABLE] = "1"
    try:
        apt_install(packages)
    except LabError as error:
        say(f"Error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
