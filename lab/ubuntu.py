"""Ubuntu's package archive: whether it answers, and how mmdebstrap is told to trust it."""

from __future__ import annotations

import contextlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab.console import step
from lab.errors import LabError
from lab.locks import exclusively
from lab.paths import state_dir

SIGNING_KEY = "F6ECB3762474EDA9D21B7022871920D1991BC93C"
"""Fingerprint of the Ubuntu Archive Automatic Signing Key (2018), which signs 20.04 and later."""

ARCHIVE = "http://archive.ubuntu.com/ubuntu"
PORTS = "http://ports.ubuntu.com/ubuntu-ports"
"""For all processors but Intel's and AMD's."""

ANSWER_TIMEOUT = 10
ANSWER_MEMORY = 3600
"""Seconds for which the archive's answer (or silence) is remembered."""

APT_HELPER = Path("/usr/lib/apt/apt-helper")
INSTALLED_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
KEYRING_SUITE = "trixie"
"""The Debian release that has Ubuntu's keyring as a package; bookworm has none."""

OPTIONS = (
    "--include=apt",  # of a lower priority than in Debian
    # Without manual pages dpkg leaves their folder out, and 20.04's dash puts a link there.
    '--extract-hook=mkdir -p "$1/usr/share/man/man1"',
    # universe comes last: its index is large, and the base takes nothing from it.
    """--customize-hook=sed -i 's/ main$/ main universe/' "$1/etc/apt/sources.list\"""",
)
"""mmdebstrap's options for a release of Ubuntu, beyond those for Debian."""


def mirror() -> str:
    """Return the address of the archive that has this machine's architecture."""
    return ARCHIVE if platform.machine() in ("x86_64", "i386", "i686") else PORTS


def sources(suite: str) -> list[str]:
    """Return the lines of apt's sources.list for SUITE.

    apt takes only an index that the pinned key signed, whatever else is in the keyring.
    """
    pockets = (suite, f"{suite}-updates", f"{suite}-security")
    return [f"deb [signed-by={SIGNING_KEY}] {mirror()} {pocket} main" for pocket in pockets]


@contextlib.contextmanager
def keyring() -> Iterator[Path]:
    """Give the block a file with Ubuntu's archive keys.

    It is this machine's own where there is one, else that of Debian's package, which is fetched by
    mmdebstrap under Debian's signature and not installed here.

    Raises:
        LabError: when Debian's package cannot be had.
    """
    if INSTALLED_KEYRING.exists():
        yield INSTALLED_KEYRING
        return
    with tempfile.TemporaryDirectory(prefix="misp-lab-") as folder:
        # apt reads it as its own user _apt.
        Path(folder).chmod(0o755)
        path = Path(folder) / INSTALLED_KEYRING.name
        with step("Ubuntu's archive keyring from Debian's package ubuntu-keyring"):
            path.write_bytes(_keyring_of_debian())
        path.chmod(0o644)
        yield path


def _keyring_of_debian() -> bytes:
    command = ["mmdebstrap", "--variant=extract", "--include=ubuntu-keyring", KEYRING_SUITE, "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            file = archive.extractfile(f".{INSTALLED_KEYRING}")
            return file.read() if file else b""
    except (tarfile.TarError, KeyError) as error:
        tail = done.stderr.decode(errors="replace")[-1000:].strip()
        raise LabError(
            f"Ubuntu's archive keyring is not to be had from Debian {KEYRING_SUITE}:\n{tail}",
            f"put it at {INSTALLED_KEYRING}, or choose Debian hosts: --hosts debian-12,el-like.",
        ) from error


# --- does it answer? ---------------------------------------------------------------------------


def archive_memory() -> Path:
    """The file in which the archive's answers are remembered."""
    return state_dir() / "ubuntu-archive.json"


def answers(suite: str) -> bool:
    """Tell whether the archive has SUITE, asked once quickly and remembered for an hour."""
    with exclusively("ubuntu archive"):
        memory = _load(archive_memory())
        url = f"{mirror()}/dists/{suite}/InRelease"
        entry = memory.get(url, {"at": 0.0, "answer": False})
        if time.time() - entry["at"] < ANSWER_MEMORY:
            return bool(entry["answer"])
        with step(f"asking Ubuntu's package archive for {suite}") as detail:
            answer = _ask(url)
            detail("yes" if answer else "no answer")
        memory[url] = {"at": time.time(), "answer": answer}
        archive_memory().write_text(json.dumps(memory, indent=1))
        return answer


def _load(path: Path) -> dict[str, dict[str, float]]:
    try:
        memory: dict[str, dict[str, float]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return memory


def _ask(url: str) -> bool:
    """Fetch URL by apt, which knows this machine's proxy, and throw it away."""
    target = state_dir() / "ubuntu-archive-answer"
    limits = ("-o", f"Acquire::http::Timeout={ANSWER_TIMEOUT}", "-o", "Acquire::Retries=0")
    helper = shutil.which(APT_HELPER)
    if helper is None:  # then mmdebstrap, which needs apt, could not work either
        return False
    try:
        done = subprocess.run(
            [helper, *limits, "download-file", url, str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=3 * ANSWER_TIMEOUT,
            check=False,
        )
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        target.unlink(missing_ok=True)
