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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from lab import dockerd
from lab.console import say, step
from lab.errors import LabError
from lab.locks import exclusively
from lab.owner import is_gone

LABEL = "org.misp-workers-migration.lab"
"""On everything the lab makes in an engine; the value is the lab's id, or what an image is."""

KEEP_VARIABLE = "MISP_LAB_KEEP"
"""Set for commands under ``--keep``: labs are to stay."""

IMAGE_PREFIX = "localhost/misp-lab"
"""Of all image names; with a host part, because Podman would take it for a registry's name else."""

OWNER_LABEL = f"{LABEL}.owner"
"""The process that started a container or network (lab.owner)."""


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
        Path(dockerd.DEFAULT_URL.removeprefix("unix://")),
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
    if dockerd.can_install():
        return (
            "add --install-engine to let the lab do it (./noxw -s tests -- --install-engine), or "
            f"run it yourself: {dockerd.install_command()}"
        )
    if shutil.which("apt-get"):
        return f"as root, run: {dockerd.install_command()}"
    return (
        "start Docker or Podman (for Podman: systemctl --user start podman.socket); "
        "--install-engine works as root on Debian and Ubuntu only."
    )


# --- an engine that the lab starts ------------------------------------------------------------


def _users() -> list[Path]:
    """List the runs that use the engine now, forgetting those that died."""
    folder = dockerd.folder() / "users"
    folder.mkdir(exist_ok=True)
    for entry in list(folder.iterdir()):
        if not dockerd.alive(int(entry.name)):
            entry.unlink(missing_ok=True)
    return list(folder.iterdir())


@contextlib.contextmanager
def running(install: bool = False, keep: bool = False) -> Iterator[Engine]:
    """Give the block an engine; stop it afterwards if the lab started it and nobody needs it."""
    with exclusively("engine"):
        engine = find() or _bring_up(install)
        _users()
        mine = dockerd.folder() / "users" / str(os.getpid())
        mine.touch()
    os.environ["DOCKER_HOST"] = engine.url
    if install:
        os.environ[dockerd.INSTALL_VARIABLE] = "1"
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
    if not install or os.environ.get("DOCKER_HOST") or not dockerd.can_install():
        return require()
    if not shutil.which("dockerd"):
        dockerd.apt_install(dockerd.APT_PACKAGES)
    # The package's own scripts may have started it by now.
    return find() or dockerd.start(find)


def stop_if_ours() -> bool:
    """Stop the engine if the lab started it and neither a run nor a kept lab needs it."""
    marker = dockerd.marker()
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
        dockerd.stop(how)
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
