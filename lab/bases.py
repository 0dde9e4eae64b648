"""The operating systems that lab hosts run on, and where each one came from.

A base comes from a container registry where one answers. Without one, Debian's releases are made
from Debian's packages (mmdebstrap), and the RHEL family is stood in for by *el-like*: Debian 12
with Debian's real dnf and rpm and local RPM repositories. el-like is never called Rocky or RHEL,
and the origin is said wherever a host is reported on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from docker.errors import DockerException, ImageNotFound

from lab.console import step
from lab.engine import IMAGE_PREFIX, LABEL, Engine, apt_install, may_install
from lab.errors import LabError
from lab.locks import exclusively
from lab.paths import state_dir

Family = Literal["debian", "rhel"]

REGISTRY_TIMEOUT = 10
REGISTRY_MEMORY = 3600
"""Seconds for which the answer (or silence) of the registry is remembered."""


@dataclass(frozen=True)
class BaseSpec:
    """One operating system: its family, and the ways to come by it."""

    name: str
    family: Family
    recipe: str
    image: str | None = None
    suite: str | None = None
    parent: str | None = None


BASES = {
    spec.name: spec
    for spec in (
        BaseSpec("debian-12", "debian", "debian", image="debian:12", suite="bookworm"),
        BaseSpec("debian-13", "debian", "debian", image="debian:13", suite="trixie"),
        BaseSpec("ubuntu-22.04", "debian", "debian", image="ubuntu:22.04"),
        BaseSpec("ubuntu-24.04", "debian", "debian", image="ubuntu:24.04"),
        BaseSpec("el-like", "rhel", "el-like", parent="debian-12"),
        BaseSpec("rockylinux-9", "rhel", "el", image="rockylinux:9"),
        BaseSpec("almalinux-9", "rhel", "el", image="almalinux:9"),
    )
}


@dataclass(frozen=True)
class Base:
    """A base that is present in the engine."""

    spec: BaseSpec
    image_id: str
    reference: str
    origin: str


def lookup(name: str) -> BaseSpec:
    """Return the base called NAME, or fail with the list of those there are."""
    if name not in BASES:
        raise LabError(f"Unknown base {name!r}.", f"choose one of: {', '.join(BASES)}.")
    return BASES[name]


class Bases:
    """Brings bases into an engine; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._client = engine.client(timeout=600)
        self._registry = Registry(engine)

    def get(self, name: str) -> Base:
        """Return the base called NAME, pulling or making it when it is not there yet.

        Raises:
            LabError: when neither a registry nor Debian's packages give it.
        """
        spec = lookup(name)
        with exclusively(f"base {name}"):
            if spec.image and self._registry.offers(spec.image):
                return self._pull(spec, spec.image)
            if spec.suite:
                return self._bootstrap(spec, spec.suite)
        raise LabError(
            f"The base {name} comes from a container registry only, and none answers here.",
            "use debian-12, debian-13 or the stand-in el-like.",
        )

    def _pull(self, spec: BaseSpec, image: str) -> Base:
        try:
            found = self._client.images.get(image)
        except ImageNotFound:
            with step(f"base {spec.name}: pulling {image}"):
                found = self._client.images.pull(image)
        return Base(spec, str(found.id), image, f"registry image {image}")

    def _bootstrap(self, spec: BaseSpec, suite: str) -> Base:
        command = _mmdebstrap(suite)
        tag = f"{IMAGE_PREFIX}/base:{spec.name}-{_digest(command)}"
        try:
            found = self._client.images.get(tag)
        except ImageNotFound:
            self._make(spec, command, tag)
            found = self._client.images.get(tag)
        return Base(spec, str(found.id), tag, f"Debian {suite} made by mmdebstrap (no registry)")

    def _make(self, spec: BaseSpec, command: list[str], tag: str) -> None:
        _need_mmdebstrap(spec)
        archive = state_dir() / f"{spec.name}.tar"
        with step(f"base {spec.name}: mmdebstrap from Debian's packages"):
            try:
                _run_mmdebstrap([*command, str(archive)])
                imported = self._client.api.import_image(
                    src=str(archive), changes=[f"LABEL {LABEL}=image"]
                )
                # Tagged afterwards, because Podman ignores a tag that is given with the import.
                image = self._client.images.get(_imported_id(imported))
                image.tag(*tag.split(":"))
            finally:
                archive.unlink(missing_ok=True)


def _mmdebstrap(suite: str) -> list[str]:
    excluded = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--include=ca-certificates",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude={path}" for path in excluded),
        suite,
    ]


def _need_mmdebstrap(spec: BaseSpec) -> None:
    if shutil.which("mmdebstrap"):
        return
    if not may_install():
        raise LabError(
            f"The base {spec.name} needs mmdebstrap (no registry offers {spec.image} here).",
            "run: apt-get install -y --no-install-recommends mmdebstrap, or add --install-engine.",
        )
    with exclusively("apt"):
        if not shutil.which("mmdebstrap"):
            apt_install(["mmdebstrap"])


def _run_mmdebstrap(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join("    " + line for line in done.stderr.splitlines()[-10:])
        raise LabError(
            f"mmdebstrap failed with exit code {done.returncode}:\n{tail}",
            "check that this machine reaches Debian's package mirror.",
        )


def _imported_id(answer: str) -> str:
    """Read the new image's id, the last status of the engine's answer (one JSON object a line)."""
    lines = [json.loads(line) for line in answer.splitlines() if line.strip()]
    if not lines or "status" not in lines[-1]:
        raise LabError(f"The engine did not import the base: {answer[-500:]}")
    return str(lines[-1]["status"])


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def registry_memory() -> Path:
    """The file in which a registry's answers are remembered."""
    return state_dir() / "registry.json"


class Registry:
    """Asks once, quickly, whether images can be had, and remembers the answer for an hour."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._memory = registry_memory()

    def offers(self, image: str) -> bool:
        """Tell whether IMAGE is in the engine already or a registry that has it answers."""
        with exclusively("registry"):
            try:
                self._engine.client().images.get(image)
            except ImageNotFound:
                return self._remembered(image)
            return True

    def _remembered(self, image: str) -> bool:
        memory = self._load()
        key = f"{self._engine.url} {image}"
        silent = memory.get(f"{self._engine.url} silent", {"at": 0.0})
        entry = memory.get(key, {"at": 0.0, "answer": False})
        now = time.time()
        # When no registry was reachable for one image it is not for the next one either.
        if now - silent["at"] < REGISTRY_MEMORY:
            return False
        if now - entry["at"] < REGISTRY_MEMORY:
            return bool(entry["answer"])
        answer = self._ask(image)
        if answer is None:
            memory[f"{self._engine.url} silent"] = {"at": now}
        else:
            memory[key] = {"at": now, "answer": answer}
        self._memory.write_text(json.dumps(memory, indent=1))
        return bool(answer)

    def _load(self) -> dict[str, dict[str, float]]:
        try:
            memory: dict[str, dict[str, float]] = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return {}
        return memory

    def _ask(self, image: str) -> bool | None:
        """Ask for IMAGE: True or False as a registry says, None when none answers."""
        with step(f"asking for a registry that has {image}") as detail:
            answer = self._query(image)
            detail({True: "yes", False: "not there", None: "no registry answers"}[answer])
            return answer

    def _query(self, image: str) -> bool | None:
        client = self._engine.client(timeout=REGISTRY_TIMEOUT)
        try:
            if self._engine.is_podman:  # has no call that asks without pulling
                self._engine.client(timeout=300).images.pull(image)
            else:
                client.api.inspect_distribution(image)
        except ImageNotFound:
            return False
        except (DockerException, OSError):
            return None
        finally:
            client.close()
        return True
