"""The operating systems that lab hosts run on, and where each one came from.

A base comes from a container registry where one answers. Without one, the releases of Debian and,
where its package archive answers, of Ubuntu are made from their packages (mmdebstrap), and the RHEL
family is stood in for by *el-like*: Debian 12 with Debian's real dnf and rpm and local RPM
repositories. el-like is never called Rocky or RHEL, and the origin is said wherever a host is
reported on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from docker.errors import DockerException, ImageNotFound

from lab import ubuntu
from lab.console import step
from lab.dockerd import apt_install, may_install
from lab.engine import IMAGE_PREFIX, LABEL, Engine
from lab.errors import LabError
from lab.locks import exclusively
from lab.paths import state_dir

Family = Literal["debian", "rhel"]
Vendor = Literal["Debian", "Ubuntu"]

_OTHERS = "use debian-12, debian-13 or the stand-in el-like."

REGISTRY_TIMEOUT = 10
REGISTRY_MEMORY = 3600
"""Seconds for which the answer (or silence) of the registry is remembered."""


@dataclass(frozen=True)
class BaseSpec:
    """One operating system: its family, and the ways to come by it.

    Attributes:
        image: what a container registry calls it.
        suite: what its vendor's package archive calls it.
        profile: the newest MISP version of the stub's that its PHP can run.
    """

    name: str
    family: Family
    recipe: str
    image: str | None = None
    suite: str | None = None
    vendor: Vendor = "Debian"
    parent: str | None = None
    profile: str = "2.5.1"


def _ubuntu(release: str, suite: str, profile: str = "2.5.1") -> BaseSpec:
    return BaseSpec(
        *(f"ubuntu-{release}", "debian", "debian"),
        image=f"ubuntu:{release}",
        suite=suite,
        vendor="Ubuntu",
        profile=profile,
    )


BASES = {
    spec.name: spec
    for spec in (
        BaseSpec("debian-12", "debian", "debian", image="debian:12", suite="bookworm"),
        BaseSpec("debian-13", "debian", "debian", image="debian:13", suite="trixie"),
        _ubuntu("20.04", "focal", profile="2.4.199"),
        _ubuntu("22.04", "jammy"),
        _ubuntu("24.04", "noble"),
        BaseSpec("el-like", "rhel", "el-like", parent="debian-12", profile="2.4.199"),
        BaseSpec("rockylinux-9", "rhel", "el", image="rockylinux:9", profile="2.4.199"),
        BaseSpec("almalinux-9", "rhel", "el", image="almalinux:9", profile="2.4.199"),
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
            LabError: when neither a registry nor its vendor's packages give it.
        """
        spec = lookup(name)
        with exclusively(f"base {name}"):
            if reason := self.why_not(spec):
                raise LabError(f"The base {name} cannot be had: {reason}.", _OTHERS)
            if spec.image and self._registry.offers(spec.image):
                return self._pull(spec, spec.image)
            return self._bootstrap(spec)

    def why_not(self, spec: BaseSpec) -> str:
        """Say why SPEC cannot be had here, or nothing when it can."""
        if spec.parent:
            return self.why_not(lookup(spec.parent))
        if spec.image and self._registry.offers(spec.image):
            return ""
        if spec.suite is None:
            return "it comes from a container registry only, and none answers here"
        if spec.vendor == "Debian" or self._is_there(_tag(spec)) or ubuntu.answers(spec.suite):
            return ""
        return "neither a container registry nor Ubuntu's package archive answers here"

    def _is_there(self, tag: str) -> bool:
        try:
            self._client.images.get(tag)
        except ImageNotFound:
            return False
        return True

    def _pull(self, spec: BaseSpec, image: str) -> Base:
        try:
            found = self._client.images.get(image)
        except ImageNotFound:
            with step(f"base {spec.name}: pulling {image}"):
                found = self._client.images.pull(image)
        return Base(spec, str(found.id), image, f"registry image {image}")

    def _bootstrap(self, spec: BaseSpec) -> Base:
        tag = _tag(spec)
        if not self._is_there(tag):
            self._make(spec, tag)
        found = self._client.images.get(tag)
        release = spec.name.replace("-", " ").title()
        origin = f"{release} ({spec.suite}) made by mmdebstrap (no registry)"
        return Base(spec, str(found.id), tag, origin)

    def _make(self, spec: BaseSpec, tag: str) -> None:
        _need_mmdebstrap(spec)
        archive = state_dir() / f"{spec.name}.tar"
        with _keyring(spec) as keyring, step(f"base {spec.name}: mmdebstrap from {spec.vendor}"):
            try:
                target = [str(spec.suite), str(archive), *_sources(spec)]
                _run_mmdebstrap([*_mmdebstrap(spec), *keyring, *target], spec.vendor)
                imported = self._client.api.import_image(
                    src=str(archive), changes=[f"LABEL {LABEL}=image"]
                )
                # Tagged afterwards, because Podman ignores a tag that is given with the import.
                image = self._client.images.get(_imported_id(imported))
                image.tag(*tag.split(":"))
            finally:
                archive.unlink(missing_ok=True)


def _mmdebstrap(spec: BaseSpec) -> list[str]:
    excluded = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--include=ca-certificates",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude={path}" for path in excluded),
        *(ubuntu.OPTIONS if spec.vendor == "Ubuntu" else ()),
    ]


@contextlib.contextmanager
def _keyring(spec: BaseSpec) -> Iterator[list[str]]:
    if spec.vendor == "Debian":  # mmdebstrap finds Debian's own
        yield []
        return
    with ubuntu.keyring() as path:
        yield [f"--keyring={path}"]


def _sources(spec: BaseSpec) -> list[str]:
    return ubuntu.sources(str(spec.suite)) if spec.vendor == "Ubuntu" else []


def _tag(spec: BaseSpec) -> str:
    digest = _digest([*_mmdebstrap(spec), str(spec.suite), *_sources(spec)])
    return f"{IMAGE_PREFIX}/base:{spec.name}-{digest}"


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


def _run_mmdebstrap(command: list[str], vendor: Vendor) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join("    " + line for line in done.stderr.splitlines()[-10:])
        raise LabError(
            f"mmdebstrap failed with exit code {done.returncode}:\n{tail}",
            f"check that this machine reaches {vendor}'s package mirror.",
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
