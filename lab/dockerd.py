"""Docker's daemon on this machine: installed from the distribution's packages, started, stopped.

It knows no engine: who starts a daemon says how to tell that it answers.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lab.console import step
from lab.errors import LabError
from lab.paths import state_dir

T = TypeVar("T")

INSTALL_VARIABLE = "MISP_LAB_INSTALL"
"""Set for commands under ``--install-engine``: later steps may install packages as well."""

APT_PACKAGES = ("docker.io", "iptables")
START_LIMIT = 60.0
START_TRIES = 3
DEFAULT_URL = "unix:///var/run/docker.sock"


def install_command() -> str:
    """Return the shell command that installs and starts the distribution's Docker."""
    start = "systemctl start docker" if _has_systemd() else "(dockerd >/var/log/dockerd.log 2>&1 &)"
    install = f"apt-get install -y --no-install-recommends {' '.join(APT_PACKAGES)}"
    return start if shutil.which("dockerd") else f"apt-get update && {install} && {start}"


def can_install() -> bool:
    """Tell whether packages can be installed here at all."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def may_install() -> bool:
    """Tell whether this run was allowed to install packages (--install-engine)."""
    return os.environ.get(INSTALL_VARIABLE) == "1" and can_install()


def apt_install(packages: Sequence[str]) -> None:
    """Install Debian packages on this machine, with apt's output in .lab/engine/apt.log."""
    log = folder() / "apt.log"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    commands = (
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "--no-install-recommends", *packages],
    )
    with step(f"apt-get install {' '.join(packages)}"), log.open("w") as out:
        results = [
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                check=False,
            ).returncode
            for command in commands
        ]
    # A failed update (one foreign source down) does not matter as long as the install works.
    if results[-1]:
        raise LabError(
            f"apt-get install {' '.join(packages)} failed with exit code {results[-1]}:\n"
            + _tail(log),
            f"see {log}; repair the package sources of this machine and run again.",
        )


def folder() -> Path:
    """Give the folder for what the lab knows of the engine and its users."""
    path = state_dir() / "engine"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def marker() -> Path:
    """Name the file that says how the lab started the engine; there only while it is ours."""
    return folder() / "started.json"


def _tail(path: Path, lines: int = 15) -> str:
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


def alive(pid: int, name: str = "") -> bool:
    """Tell whether a process of that name lives; a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status and f"Name:\t{name}" in status


def start(find: Callable[[], T | None]) -> T:
    """Start the daemon, and note that it is the lab's. Returns what answers.

    Args:
        find: gives the engine, or `None` while none answers.
    """
    with step("starting dockerd"):
        for _ in range(START_TRIES):
            how = _start_unit() if _has_systemd() else _start_process()
            marker().write_text(json.dumps({**how, "url": DEFAULT_URL}))
            if engine := _wait_until_it_answers(find, how.get("pid")):
                return engine
    raise LabError(
        f"dockerd was started {START_TRIES} times and ended each time:\n" + _tail(_daemon_log()),
        f"see {_daemon_log()}.",
    )


def _start_unit() -> dict[str, Any]:
    done = subprocess.run(
        ["systemctl", "start", "docker.service"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(
            f"systemctl start docker.service failed: {done.stderr.strip()}",
            "see `journalctl -u docker.service` on this machine.",
        )
    return {"unit": "docker.service"}


def _start_process() -> dict[str, Any]:
    # A pid file left by a machine that was switched off would make dockerd refuse to start.
    stale = Path("/var/run/docker.pid")
    if stale.exists() and not _is_dockerd(int(stale.read_text().strip() or 0)):
        stale.unlink()
    with _daemon_log().open("w") as log:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return {"pid": process.pid}


def _daemon_log() -> Path:
    return folder() / "dockerd.log"


def _wait_until_it_answers(find: Callable[[], T | None], pid: int | None) -> T | None:
    """Return the engine, or `None` where its process has ended: the next try may be luckier.

    On a busy machine containerd can take longer than the 15 seconds that dockerd gives it.
    """
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        if engine := find():
            return engine
        # Not _is_dockerd: right after the fork the process still carries our own name.
        if pid is not None and not alive(pid):
            return None
        time.sleep(0.2)
    raise LabError(
        f"dockerd was started but does not answer within {START_LIMIT:.0f} s:\n"
        + _tail(_daemon_log()),
        f"see {_daemon_log()}, or `journalctl -u docker` where systemd runs it.",
    )


def _is_dockerd(pid: int) -> bool:
    return alive(pid, "dockerd")


def stop(how: dict[str, Any]) -> None:
    """Stop the daemon; `how` is what the marker says of its start."""
    if unit := how.get("unit"):
        subprocess.run(["systemctl", "stop", "docker.socket", str(unit)], check=False)
        return
    pid = int(how["pid"])
    if not _is_dockerd(pid):
        return
    os.kill(pid, signal.SIGTERM)
    limit = time.monotonic() + START_LIMIT
    while _is_dockerd(pid):
        if time.monotonic() > limit:
            raise LabError(f"dockerd (pid {pid}) does not stop.", f"look into {_daemon_log()}.")
        time.sleep(0.1)
