"""Finds out by trying which privileges let systemd run in a container as PID 1.

Engines, cgroup versions and security modules differ too much for one recipe. The first recipe
under which systemd comes up is remembered for this engine. None of them gives a container more
than it needs: the weakest comes first.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.errors import DockerException
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import WaitStrategy, WaitStrategyTarget

from lab.console import say, step
from lab.engine import LABEL, Engine
from lab.errors import LabError
from lab.locks import exclusively
from lab.paths import state_dir

# Its messages ("Pulling image ...", for images that are never pulled) would mislead.
logging.getLogger("testcontainers").setLevel(logging.ERROR)

BOOT_LIMIT = 60.0


@dataclass(frozen=True)
class Privileges:
    """One way to run systemd in a container."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    volumes: tuple[tuple[str, str, str], ...] = ()
    tmpfs: tuple[str, ...] = ("/run", "/run/lock")
    suits: Callable[[Engine], bool] = lambda engine: True

    def apply(
        self,
        container: DockerContainer,
        engine: Engine,
        capabilities: Sequence[str] = (),
        **options: Any,
    ) -> DockerContainer:
        """Give CONTAINER these privileges, and more CAPABILITIES and OPTIONS of the engine."""
        merged = {**self.options, **options}
        if capabilities and not merged.get("privileged"):
            merged["cap_add"] = [*merged.get("cap_add", ()), *capabilities]
        if "security_opt" in merged and any("apparmor" in item for item in engine.security):
            merged["security_opt"] = [*merged["security_opt"], "apparmor=unconfined"]
        container.with_kwargs(**merged)
        for volume in self.volumes:
            container.with_volume_mapping(*volume)
        for path in self.tmpfs:
            container.with_tmpfs_mount(path)
        return container.with_env("container", "docker")


_UNCONFINED = ["seccomp=unconfined"]
# A real root may look into every process (/proc/PID/cwd); without SYS_PTRACE a container's cannot.
_CAPABILITIES = ["SYS_ADMIN", "SYS_PTRACE"]

CHOICES = (
    # Podman prepares /run, cgroups and the stop signal by itself for an init command.
    Privileges(
        "podman's systemd mode",
        {"cap_add": ["SYS_PTRACE"]},
        tmpfs=(),
        suits=lambda engine: engine.is_podman,
    ),
    Privileges(
        "SYS_ADMIN, SYS_PTRACE, private cgroup namespace",
        {"cap_add": _CAPABILITIES, "security_opt": _UNCONFINED, "cgroupns": "private"},
    ),
    Privileges(
        "SYS_ADMIN, SYS_PTRACE, writable cgroups",
        {
            "cap_add": _CAPABILITIES,
            "security_opt": [*_UNCONFINED, "writable-cgroups=true"],
            "cgroupns": "private",
        },
        suits=lambda engine: engine.cgroup == "2" and not engine.is_podman and engine.major >= 28,
    ),
    Privileges("privileged, private cgroup namespace", {"privileged": True, "cgroupns": "private"}),
    Privileges(
        "privileged, the host's cgroup namespace",
        {"privileged": True, "cgroupns": "host"},
        volumes=(("/sys/fs/cgroup", "/sys/fs/cgroup", "rw"),),
    ),
)


class SystemdUp(WaitStrategy):
    """Waits for systemd to be ``running`` or ``degraded``; a container that ended fails at once."""

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Return when systemd is up.

        Raises:
            TimeoutError: when it is not up in time, or never will be.
        """
        limit = time.monotonic() + BOOT_LIMIT
        state = ""
        while time.monotonic() < limit:
            container.reload()
            if container.status not in ("created", "running"):
                raise TimeoutError(f"the container ended ({container.status})")
            state = _state(container)
            if state in ("running", "degraded"):
                return
            time.sleep(0.1)
        raise TimeoutError(f"systemd is {state or 'silent'!r} after {BOOT_LIMIT:.0f} s")


def _state(container: WaitStrategyTarget) -> str:
    assert isinstance(container, DockerContainer)  # noqa: S101 # the only kind there is here
    try:
        output = container.exec(["systemctl", "is-system-running"]).output
    except DockerException:  # the container ended meanwhile: the next look says so
        return ""
    return str(output.decode(errors="replace")).strip().rsplit("\n", 1)[-1]


def choose(engine: Engine, image: str) -> Privileges:
    """Return the privileges under which systemd runs on ENGINE, trying them out with IMAGE.

    Raises:
        LabError: when none of them works.
    """
    with exclusively("privileges"):
        return _choose(engine, image)


def _choose(engine: Engine, image: str) -> Privileges:
    memory = state_dir() / "privileges.json"
    remembered = _load(memory)
    usable = [choice for choice in CHOICES if choice.suits(engine)]
    for choice in usable:
        if choice.name == remembered.get(str(engine)):
            return choice
    with step("trying how systemd runs in a container of this engine") as detail:
        failures = []
        for choice in usable:
            if not (reason := _try(engine, image, choice)):
                memory.write_text(json.dumps({**remembered, str(engine): choice.name}))
                say(f"systemd runs with: {choice.name}")
                return choice
            detail(f"{choice.name}: {reason}")
            failures.append(f"    {choice.name}: {reason}")
    raise LabError(
        f"systemd does not start in a container of {engine}:\n" + "\n".join(failures),
        "allow one of these container options, or use another engine (DOCKER_HOST).",
    )


def forget() -> None:
    """Forget which privileges worked, so that the next lab tries again."""
    (state_dir() / "privileges.json").unlink(missing_ok=True)


def _load(memory: Path) -> dict[str, str]:
    try:
        content: dict[str, str] = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _try(engine: Engine, image: str, choice: Privileges) -> str:
    """Start systemd once; returns why it failed, or nothing."""
    container = choice.apply(DockerContainer(image), engine, labels={LABEL: "probe"})
    try:
        container.waiting_for(SystemdUp()).start()
    except (DockerException, TimeoutError) as error:
        # An engine's own words, without the address of the request that failed.
        return str(getattr(error, "explanation", None) or error).replace("\n", " ")[:300]
    finally:
        container.stop()
    return ""
