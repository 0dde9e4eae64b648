"""Programs that tests without containers run: a Redis, and MISP's PHP with its Redis extension.

python -m lab.programs [--install-engine]     # install what is missing, or say how
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from lab.console import say
from lab.engine import INSTALL_VARIABLE, apt_install
from lab.errors import LabError

PACKAGES = {"redis-server": ("redis-server",), "php": ("php-cli", "php-redis")}


def missing() -> list[str]:
    """Packages of Debian's that are missing here."""
    found = [
        name for program, names in PACKAGES.items() if not shutil.which(program) for name in names
    ]
    if not found and not _has_redis_extension():
        found = ["php-redis"]
    return found


def _has_redis_extension() -> bool:
    done = subprocess.run(["php", "-m"], capture_output=True, text=True, check=False)
    return "redis" in done.stdout.split()


def main(arguments: Sequence[str]) -> int:
    """Install what is missing, if that is allowed; gives the exit status."""
    packages = missing()
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
