"""Lists the labs in an engine, and removes them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from lab import directory, owner
from lab.console import step
from lab.engine import LABEL, OWNER_LABEL, Engine
from lab.errors import LabError
from lab.paths import state_dir

ENGINE_FILE = "engine"
"""In a lab's directory: the address of the engine that it runs in."""

OWNER_FILE = "owner"
"""In a lab's directory: what its containers have as `OWNER_LABEL`."""

STATE_FILE = "state"
"""In a lab's directory, where `lab.states` brought it into one: that state's name."""


@dataclass
class Known:
    """A lab as its directory in this checkout, its containers, or both show it.

    Attributes:
        engine: the address of its engine; empty for a lab of another checkout or user.
        containers: each container's state in the engine's words (`Up 3 minutes`), by its name.
    """

    id: str
    engine: str = ""
    owner: str = ""
    containers: dict[str, str] = field(default_factory=dict)

    def why_not_mine(self, engine: Engine) -> str:
        """Say why somebody who removes all labs of theirs does not mean it; else empty."""
        if not self.engine:
            return "another checkout or user started it"
        if self.engine != engine.url:
            return f"it is in the engine at {self.engine}"
        if self.owner == owner.KEPT or owner.is_gone(self.owner):
            return ""
        return "the command that started it is still at work"


def known(engine: Engine) -> dict[str, Known]:
    """Map the labs of the engine and those of this checkout by their ids.

    Raises:
        LabError: when the engine does not answer.
    """
    found = {path.parent.name: _read(path.parent.name) for path in _engine_files()}
    try:
        with contextlib.closing(engine.client()) as client:
            for container in _containers(client):
                labels = container["Labels"]
                lab = found.setdefault(labels[LABEL], Known(labels[LABEL]))
                lab.owner = labels[OWNER_LABEL]
                lab.containers[_name(container)] = str(container["Status"])
            for network in client.networks.list(filters={"label": OWNER_LABEL}):
                labels = network.attrs["Labels"]
                found.setdefault(labels[LABEL], Known(labels[LABEL])).owner = labels[OWNER_LABEL]
    except DockerException as error:
        raise LabError(f"{engine} does not list its containers: {error}") from error
    return dict(sorted(found.items()))


def _engine_files() -> list[Path]:
    return list(state_dir().glob(f"lab-*/{ENGINE_FILE}"))


def _read(lab: str) -> Known:
    return Known(lab, note_of(lab, ENGINE_FILE), note_of(lab, OWNER_FILE))


def note_of(lab: str, name: str) -> str:
    """Return what one of the files above says of a lab, nothing when it is not there."""
    try:
        return (state_dir() / lab / name).read_text()
    except FileNotFoundError:
        return ""


def inventory_of(lab: str) -> list[dict[str, Any]]:
    """Return the hosts of a lab's inventory, none when it has no inventory."""
    text = note_of(lab, directory.INVENTORY_FILE)
    hosts: list[dict[str, Any]] = json.loads(text)["hosts"] if text else []
    return hosts


def ready() -> dict[str, list[dict[str, Any]]]:
    """Map the labs of this checkout that came up to the hosts of their inventories."""
    labs = sorted(path.parent.name for path in _engine_files())
    return {lab: hosts for lab in labs if (hosts := inventory_of(lab))}


def _containers(client: docker.DockerClient, lab: str = "") -> list[dict[str, Any]]:
    """List the containers that a lab started, as the engine's API describes them.

    An image that somebody built or committed from a lab's own inherits its labels, and so do its
    containers. So a container counts by its name as well.
    """
    labels = [OWNER_LABEL, f"{LABEL}={lab}" if lab else LABEL]
    found = client.api.containers(all=True, filters={"label": labels})
    return [one for one in found if _name(one).startswith(f"{one['Labels'][LABEL]}-")]


def _name(container: Mapping[str, Any]) -> str:
    return str(container["Names"][0]).lstrip("/")


def sweep(engine: Engine) -> None:
    """Remove what crashed runs left; running and kept labs are left alone."""
    for lab in known(engine).values():
        if owner.is_gone(lab.owner) and lab.engine in ("", engine.url):
            with step(f"removing {lab.id}, which a crashed run left"):
                destroy(engine, lab)


def destroy(engine: Engine, lab: Known) -> list[str]:
    """Remove a lab with its directory; returns the names of its containers and networks.

    Raises:
        LabError: when it is in another engine.
    """
    if lab.engine not in ("", engine.url):
        raise LabError(
            f"{lab.id} is in the engine at {lab.engine}, and {engine.url} answered.",
            f"set DOCKER_HOST={lab.engine} and run again.",
        )
    removed = remove(engine, lab.id)
    directory.remove(state_dir() / lab.id)
    return removed


def remove(engine: Engine, lab: str) -> list[str]:
    """Remove every container and network of a lab; returns their names."""
    with contextlib.closing(engine.client()) as client:
        with ThreadPoolExecutor(max_workers=8) as pool:
            names = pool.map(partial(_remove_container, client.api), _containers(client, lab))
            removed = [name for name in names if name]
        for network in client.networks.list(filters={"label": f"{LABEL}={lab}"}):
            with contextlib.suppress(NotFound):
                network.remove()
                removed.append(str(network.name))
    return removed


def _remove_container(api: docker.APIClient, container: Mapping[str, Any]) -> str | None:
    try:
        api.remove_container(container["Id"], force=True, v=True)
    except NotFound:
        return None
    except APIError as error:
        # Another run is removing it at the same moment.
        if error.status_code != 409:
            raise
        return None
    return _name(container)
