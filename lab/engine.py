"""Find a container engine that answers; on request install and start the distribution's Docker.

A ``docker`` client on the PATH proves nothing, so only a daemon's own answer counts. Where one
answers, nothing on the machine is changed. An engine that the lab started is stopped again by the
last run that used it, unless containers of a kept lab still live in it.

    python -m lab.engine run [--install-engine] [--keep] -- COMMAND...
    python -m lab.engine status
    python -m lab.engine stop
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from lab.console import say, step
from lab.errors import LabError
from lab.locks import exclusively
from lab.owner import is_gone
from lab.paths import state_dir

LABEL = "org.misp-workers-migration.lab"
"""On everything the lab makes in an engine; the value is the lab's id, or what an image is."""

KEEP_VARIABLE = "MISP_LAB_KEEP"
"""Set for commands under ``--keep``: labs are to stay."""

IMAGE_PREFIX = "localhost/misp-lab"
"""Of all image names; with a host part, because Podman would take it for a registry's name else."""

OWNER_LABEL = f"{LABEL}.owner"
"""The process that started a container or network (lab.owner)."""

INSTALL_VARIABLE = "MISP_LAB_INSTALL"
"""Set for commands under ``--install-engine``: later steps may install packages as well."""

APT_PACKAGES = ("docker.io", "iptables")
START_LIMIT = 60.0
START_TRIES = 3
DEFAULT_URL = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Engine:
    """An engine that answered."""

    url: str
    product: str
    version: str
    cgroup: str
    security: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.product} {self.version} (cgroup v{self.cgroup}) at {self.url}"

    @property
    def is_podman(self) -> bool:
        """Tell whether this is Podman behind Docker's API."""
        return "podman" in self.product.lower()

    @property
    def major(self) -> int:
        """The first number of the engine's version, 0 when it has none."""
        head = self.version.split(".", 1)[0]
        return int(head) if head.isdigit() else 0

    def client(self, timeout: int = 120) -> docker.DockerClient:
        """Open a client for this engine."""
        return docker.DockerClient(base_url=self.url, timeout=timeout)


def candidates() -> list[str]:
    """List the addresses where an engine may listen; DOCKER_HOST excludes all others."""
    if configured := os.environ.get("DOCKER_HOST"):
        return [configured]
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    sockets = [
        Path(DEFAULT_URL.removeprefix("unix://")),
        runtime / "docker.sock",
        Path.home() / ".docker/run/docker.sock",
        runtime / "podman/podman.sock",
        Path("/run/podman/podman.sock"),
    ]
    return [f"unix://{path}" for path in sockets if path.exists()]


def probe(url: str) -> Engine | None:
    """Ask the engine at URL who it is; None when nothing answers there."""
    try:
        with contextlib.closing(docker.DockerClient(base_url=url, timeout=5)) as client:
            return _describe(url, client.version(), client.info())
    except (DockerException, OSError):
        return None


def _describe(url: str, version: dict[str, Any], info: dict[str, Any]) -> Engine:
    names = [str(part.get("Name", "")) for part in version.get("Components") or []]
    podman = any("podman" in name.lower() for name in names)
    return Engine(
        url=url,
        product="Podman" if podman else "Docker",
        version=str(version.get("Version", "unknown")),
        cgroup=str(info.get("CgroupVersion") or "1"),
        security=tuple(str(option) for option in info.get("SecurityOptions") or ()),
    )


def find() -> Engine | None:
    """Return the first engine that answers."""
    return next((engine for url in candidates() if (engine := probe(url))), None)


def require() -> Engine:
    """Return the engine that answers, or fail with the command that brings one."""
    engine = find()
    if engine is None:
        raise LabError(
            f"No container engine answers ({_where_asked()}); a docker client alone is not enough.",
            _remedy(),
        )
    # testcontainers makes its clients from the environment
    os.environ["DOCKER_HOST"] = engine.url
    return engine


def _where_asked() -> str:
    return "asked " + (", ".join(candidates()) or "no socket of Docker or Podman exists")


def _remedy() -> str:
    if configured := os.environ.get("DOCKER_HOST"):
        return f"start the engine at DOCKER_HOST={configured}, or unset DOCKER_HOST."
    if _can_install():
        return (
            "add --install-engine to let the lab do it (./noxw -s tests -- --install-engine), or "
            f"run it yourself: {install_command()}"
        )
    if shutil.which("apt-get"):
        return f"as root, run: {install_command()}"
    return (
        "start Docker or Podman (for Podman: systemctl --user start podman.socket); "
        "--install-engine works as root on Debian and Ubuntu only."
    )


def install_command() -> str:
    """Return the shell command that installs and starts the distribution's Docker."""
    start = "systemctl start docker" if _has_systemd() else "(dockerd >/var/log/dockerd.log 2>&1 &)"
    install = f"apt-get install -y --no-install-recommends {' '.join(APT_PACKAGES)}"
    return start if shutil.which("dockerd") else f"apt-get update && {install} && {start}"


def _can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def may_install() -> bool:
    """Tell whether this run was allowed to install packages (--install-engine)."""
    return os.environ.get(INSTALL_VARIABLE) == "1" and _can_install()


def apt_install(packages: Sequence[str]) -> None:
    """Install Debian packages on this machine, with apt's output in .lab/engine/apt.log."""
    log = _engine_dir() / "apt.log"
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


# --- an engine that the lab starts ------------------------------------------------------------


def _engine_dir() -> Path:
    path = state_dir() / "engine"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _marker() -> Path:
    """Name the file that says how the lab started the engine; there only while it is ours."""
    return _engine_dir() / "started.json"


def _tail(path: Path, lines: int = 15) -> str:
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:])


def _alive(pid: int, name: str = "") -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status and f"Name:\t{name}" in status


def _users() -> list[Path]:
    """List the runs that use the engine now, forgetting those that died."""
    folder = _engine_dir() / "users"
    folder.mkdir(exist_ok=True)
    for entry in list(folder.iterdir()):
        if not _alive(int(entry.name)):
            entry.unlink(missing_ok=True)
    return list(folder.iterdir())


@contextlib.contextmanager
def running(install: bool = False, keep: bool = False) -> Iterator[Engine]:
    """Give the block an engine; stop it afterwards if the lab started it and nobody needs it."""
    with exclusively("engine"):
        engine = find() or _bring_up(install)
        _users()
        mine = _engine_dir() / "users" / str(os.getpid())
        mine.touch()
    os.environ["DOCKER_HOST"] = engine.url
    if install:
        os.environ[INSTALL_VARIABLE] = "1"
    if keep:
        os.environ[KEEP_VARIABLE] = "1"
    say(f"Container engine: {engine}")
    try:
        yield engine
    finally:
        with exclusively("engine"):
            mine.unlink(missing_ok=True)
            if not keep:
                stop_if_ours()


def _bring_up(install: bool) -> Engine:
    if not install or os.environ.get("DOCKER_HOST") or not _can_install():
        return require()
    if not shutil.which("dockerd"):
        apt_install(APT_PACKAGES)
    # The package's own scripts may have started it by now.
    return find() or _start()


def _start() -> Engine:
    with step("starting dockerd"):
        for _ in range(START_TRIES):
            how = _start_unit() if _has_systemd() else _start_process()
            _marker().write_text(json.dumps({**how, "url": DEFAULT_URL}))
            if engine := _wait_until_it_answers(how.get("pid")):
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
    return _engine_dir() / "dockerd.log"


def _wait_until_it_answers(pid: int | None) -> Engine | None:
    """Return the engine, or `None` where its process has ended: the next try may be luckier.

    On a busy machine containerd can take longer than the 15 seconds that dockerd gives it.
    """
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        if engine := find():
            return engine
        # Not _is_dockerd: right after the fork the process still carries our own name.
        if pid is not None and not _alive(pid):
            return None
        time.sleep(0.2)
    raise LabError(
        f"dockerd was started but does not answer within {START_LIMIT:.0f} s:\n"
        + _tail(_daemon_log()),
        f"see {_daemon_log()}, or `journalctl -u docker` where systemd runs it.",
    )


def _is_dockerd(pid: int) -> bool:
    return _alive(pid, "dockerd")


def stop_if_ours() -> bool:
    """Stop the engine if the lab started it and neither a run nor a kept lab needs it."""
    marker = _marker()
    if not marker.exists():
        return False
    if others := _users():
        say(f"The engine stays up: {len(others)} other run(s) use it.")
        return False
    how = json.loads(marker.read_text())
    # Not the engine of this run: DOCKER_HOST may mean another one than the lab once started.
    engine = probe(how["url"])
    if engine is not None and (names := _lab_containers(engine)):
        say(f"The engine stays up for {', '.join(names)} (./noxw -s lab -- list).")
        return False
    with step("stopping the engine that the lab started"):
        _stop(how)
    marker.unlink()
    return True


def _lab_containers(engine: Engine) -> list[str]:
    try:
        with contextlib.closing(engine.client()) as client:
            found = client.containers.list(filters={"label": LABEL}, ignore_removed=True)
            # What a crash left does not count: the next lab removes it.
            return [str(c.name) for c in found if not is_gone(c.labels.get(OWNER_LABEL, ""))]
    except DockerException:
        return []


def _stop(how: dict[str, Any]) -> None:
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


# --- command line ------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.engine", description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    run = commands.add_parser("run", help="run a command with an engine that answers")
    run.add_argument("--install-engine", action="store_true")
    run.add_argument("--keep", action="store_true", help="leave an engine that this run started")
    run.add_argument("command", nargs=argparse.REMAINDER)
    commands.add_parser("status", help="say which engine answers")
    commands.add_parser("stop", help="stop the engine if the lab started it")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    with running(arguments.install_engine, arguments.keep):
        return _run_to_its_end(command)


def _run_to_its_end(command: Sequence[str]) -> int:
    """Run a command and, when interrupted, let it clean up: its lab must go before its engine."""
    with subprocess.Popen(command) as process:
        signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the terminal has interrupted the command as well
                continue


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    # A terminated run must stop its engine like a finished one.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        if arguments.action == "run":
            return _run(arguments)
        if arguments.action == "status":
            say(f"Container engine: {require()}")
        else:
            with exclusively("engine"):
                stop_if_ours()
    except LabError as error:
        say(f"Error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
