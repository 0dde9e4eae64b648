"""Lists the labs in an engine, and removes them."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
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


def sweep(engine: Engine) -> None:
    """Remove what crashed runs left in the engine; running and kept labs are left alone."""
    with contextlib.closing(engine.client()) as client:
        owners = {
            str(labels.get(LABEL)): str(labels.get(OWNER_LABEL, ""))
            for labels in _labels_in_use(client)
        }
    for lab, started_by in owners.items():
        if owner.is_gone(started_by):
            with step(f"removing {lab}, which a crashed run left"):
                remove(engine, f"{LABEL}={lab}")
            directory.remove(state_dir() / lab)


def _labels_in_use(client: docker.DockerClient) -> list[dict[str, str]]:
    containers = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
    networks = client.networks.list(filters={"label": LABEL})
    return [c.labels for c in containers] + [n.attrs.get("Labels") or {} for n in networks]


def destroy(engine: Engine, lab: str | None = None) -> list[str]:
    """Remove one lab or, without LAB, every lab in the engine; returns what was removed."""
    removed = remove(engine, f"{LABEL}={lab}" if lab else LABEL)
    for file in state_dir().glob(f"{lab or 'lab-*'}/{ENGINE_FILE}"):
        if file.read_text() == engine.url:
            directory.remove(file.parent)
    return removed


def remove(engine: Engine, label: str) -> list[str]:
    """Remove every container and network with LABEL; returns their names."""
    with contextlib.closing(engine.client()) as client:
        containers = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        with ThreadPoolExecutor(max_workers=8) as pool:
            removed = [name for name in pool.map(_remove_container, containers) if name]
        for network in client.networks.list(filters={"label": label}):
            with contextlib.suppress(NotFound):
                network.remove()
                removed.append(str(network.name))
    return removed


def _remove_container(container: Any) -> str | None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return None
    except APIError as error:
        # Another run is removing it at the same moment.
        if error.status_code != 409:
            raise
        return None
    return str(container.name)


def running(engine: Engine) -> dict[str, list[str]]:
    """Map each lab in the engine to the names of its containers."""
    found: dict[str, list[str]] = {}
    try:
        with contextlib.closing(engine.client()) as client:
            for container in client.containers.list(filters={"label": LABEL}):
                found.setdefault(container.labels[LABEL], []).append(str(container.name))
    except DockerException as error:
        raise LabError(f"{engine} does not list its containers: {error}") from error
    return found


def inventory_of(lab: str) -> list[dict[str, Any]]:
    """Return the hosts of a lab's inventory, none when it has no inventory."""
    path = state_dir() / lab / "inventory.json"
    if not path.exists():
        return []
    hosts: list[dict[str, Any]] = json.loads(path.read_text())["hosts"]
    return hosts
