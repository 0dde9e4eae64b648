"""Builds the images of lab hosts, in parallel, cached by what goes into them.

An image's tag ends in a digest of its recipe, its base and its arguments, so that nothing is built
twice and no change is missed. Two layers: a *host* (systemd, sshd, Redis, PHP, web server) per
base, and on it a *misp* (the stub in one profile at one root).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.errors import DockerException, ImageNotFound

from lab.bases import Base, Bases, BaseSpec, lookup
from lab.console import Detail, step
from lab.engine import IMAGE_PREFIX, LABEL, Engine
from lab.errors import LabError
from lab.locks import exclusively
from lab.paths import RECIPES, STUB
from lab.topology import HostSpec

KEEP_TAGS = 3
"""Images kept per name: those of another branch or clone need not be built again at once."""


@dataclass(frozen=True)
class Image:
    """An image that is present in the engine."""

    tag: str
    image_id: str
    origin: str
    """The base that it stands on, in words for reports."""


@dataclass(frozen=True)
class Recipe:
    """Everything that goes into an image; equal recipes make equal images."""

    name: str
    files: Mapping[str, Path]
    arguments: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest over file names, modes and contents, and the arguments."""
        digest = hashlib.sha256()
        for key in sorted(self.arguments):
            digest.update(f"{key}={self.arguments[key]}\0".encode())
        for name in sorted(self.files):
            path = self.files[name]
            digest.update(f"{name}\0{_mode(path):o}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def context(self) -> io.BytesIO:
        """Return the build context as a tar, the same bytes for the same content."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in sorted(self.files):
                info = tarfile.TarInfo(name)
                content = self.files[name].read_bytes()
                info.size, info.mode = len(content), _mode(self.files[name])
                archive.addfile(info, io.BytesIO(content))
        buffer.seek(0)
        return buffer


def _mode(path: Path) -> int:
    # The umask of a clone must not make another image: only the execute bit counts.
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def files_below(folder: Path, prefix: str = "") -> dict[str, Path]:
    """Map each file below FOLDER, by its name in a build context."""
    return {
        prefix + path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


class Images:
    """Makes sure that images are there; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._client = engine.client(timeout=900)
        self._bases = Bases(engine)

    def prepare(self, specs: Iterable[HostSpec]) -> dict[str, Image]:
        """Build what SPECS need, in parallel; returns each host's image by host name."""
        wanted = list(specs)
        with ThreadPoolExecutor(max_workers=4) as pool:
            return {
                spec.name: image
                for spec, image in zip(wanted, pool.map(self.misp, wanted), strict=True)
            }

    def host(self, base_name: str) -> Image:
        """Return the image of a server on BASE_NAME, without MISP."""
        spec = lookup(base_name)
        with exclusively(f"host {base_name}"):
            below, origin = self._below(spec)
            recipe = Recipe(
                f"host:{base_name}", files_below(RECIPES / spec.recipe), {"BASE": below}
            )
            return self._build(recipe, origin)

    def misp(self, spec: HostSpec) -> Image:
        """Return the image of a server with MISP as SPEC wants it, before anything is started."""
        host = self.host(spec.base)
        slug = spec.misp_root.strip("/").replace("/", "-").lower()
        recipe = Recipe(
            f"misp:{spec.base}-{spec.profile}-{slug}",
            {**files_below(RECIPES / "misp"), **files_below(STUB, "stub/")},
            {
                "BASE": host.tag,
                "ROOT": spec.misp_root,
                "PROFILE": spec.profile,
                "WEB_USER": spec.web_user,
            },
        )
        with exclusively(recipe.name):
            return self._build(recipe, host.origin)

    def _below(self, spec: BaseSpec) -> tuple[str, str]:
        """Return what the image of SPEC is built on, and in words where that came from."""
        if spec.parent:
            parent = self.host(spec.parent)
            return (
                parent.tag,
                f"{spec.name}: stand-in on {parent.origin}, with Debian's dnf and rpm",
            )
        base: Base = self._bases.get(spec.name)
        return base.reference, base.origin

    def _build(self, recipe: Recipe, origin: str) -> Image:
        tag = f"{IMAGE_PREFIX}/{recipe.name}-{self._key(recipe)}"
        try:
            found = self._client.images.get(tag)
        except ImageNotFound:
            with step(f"image {recipe.name}") as detail:
                self._run_build(recipe, tag, detail)
            found = self._client.images.get(tag)
            self._prune(recipe.name)
        return Image(tag, str(found.id), origin)

    def _key(self, recipe: Recipe) -> str:
        # The tag of a pulled base stays the same when its content changes, so its id counts too.
        below = str(self._client.images.get(recipe.arguments["BASE"]).id)
        return hashlib.sha256(f"{recipe.digest()} {below}".encode()).hexdigest()[:12]

    def _run_build(self, recipe: Recipe, tag: str, detail: Detail) -> None:
        messages = self._client.api.build(
            fileobj=recipe.context(),
            custom_context=True,
            tag=tag,
            buildargs=dict(recipe.arguments),
            labels={LABEL: "image"},
            rm=True,
            forcerm=True,
            decode=True,
        )
        output: list[str] = []
        for message in messages:
            _follow(message, output, detail, recipe.name)

    def _prune(self, name: str) -> None:
        """Remove old images of NAME; those in use by a container stay."""
        repository, _, prefix = f"{IMAGE_PREFIX}/{name}-".partition(":")
        images = self._client.images.list(name=repository, filters={"label": f"{LABEL}=image"})
        ours = [
            (str(image.attrs["Created"]), tag)
            for image in images
            for tag in image.tags
            # The digest has no dash: debian-12 must not prune debian-12-something.
            if (found := tag.partition(f"{repository}:{prefix}")[2]) and "-" not in found
        ]
        for _, tag in sorted(ours, reverse=True)[KEEP_TAGS:]:
            try:
                self._client.images.remove(tag)
            except DockerException:
                continue


def _follow(message: dict[str, Any], output: list[str], detail: Detail, name: str) -> None:
    if error := message.get("error"):
        tail = "\n".join("    " + line for line in "".join(output).splitlines()[-25:])
        raise LabError(
            f"The image {name} does not build: {error}\n{tail}",
            "if a download failed, run again: what is built already is kept.",
        )
    text = str(message.get("stream", ""))
    output.append(text)
    if text.startswith("Step "):
        detail(text.strip())
