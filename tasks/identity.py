"""What a run is about: the operator's data, joined to what the host says of itself. Pure."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tasks import parse
from tasks.checks.seen import Seen, SeenToMigrate
from tasks.errors import RefusedError
from tasks.host.parts import Supervisor
from tasks.host.supervisor_files import port_of
from tasks.host.versions import version_of
from tasks.platforms import Platform, detect, parse_os_release
from tasks.settings import Settings
from tasks.target import Target

OLDEST_PYTHON = (3, 6, 0)  # RHEL 8's own
NO_ROOT = (
    "no command runs as root here; the lines above are the host's own words. Give the login user "
    "sudo (or log in as root), set _sudo = True in the inventory, and use --same-sudo-password or "
    "--use-sudo-password if sudo asks for one"
)


def system_of(lines: list[str] | None) -> tuple[Platform, str]:
    """Return the host's platform and the Python that host functions run by.

    Args:
        lines: what the fact `Identity` found; nothing when its command failed.

    Raises:
        RefusedError: this deploy cannot work on the host.
    """
    if not lines:
        raise RefusedError(NO_ROOT)
    said: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition("\t")
        said.setdefault(key, []).append(value)
    if said.get("user") != ["0"]:
        raise RefusedError("the login is not root: set _sudo = True in the inventory")
    platform = detect(parse_os_release(said.get("os-release", [])))
    return platform, _python(said.get("python", []))


def _python(lines: list[str]) -> str:
    """Return the path of the first Python that is new enough; each line is "PATH X.Y"."""
    found = [(path, version_of(text)) for path, _, text in (line.partition(" ") for line in lines)]
    for path, number in found:
        if number >= OLDEST_PYTHON:
            return path
    old = ", ".join(f"{path} is {number[0]}.{number[1]}" for path, number in found)
    raise RefusedError(
        f"this host has no Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer, which the "
        f"deploy's functions need ({old or 'there is none in /usr/bin'}): install the "
        "distribution's python3"
    )


def with_answers(target: Target, seen: Seen) -> Target:
    """Return the target completed with what the host says of itself."""
    mode, reason = _selinux(target.settings, seen.selinux.mode)
    changed = dataclasses.replace(
        target,
        web_user=seen.tree.web_user,
        web_group=seen.tree.web_group,
        composer=seen.tree.composer,
        supervisor=seen.supervisor.identity,
        version=seen.tree.version,
        redis=seen.settings.wanted,
        database_mode=seen.settings.is_in_database,
        is_on=seen.settings.is_on,
        selinux=mode,
        selinux_reason=reason,
    )
    changed = _with_rpc(changed, seen.supervisor)
    return dataclasses.replace(changed, is_proven=_is_proven(changed, seen))


def _is_proven(target: Target, seen: Seen) -> bool:
    """Whether there is nothing to prove. A run that mends something proves the set anew.

    Said of the first look alone, so that a dry run says what the run will do.
    """
    if not isinstance(seen, SeenToMigrate) or not seen.proof.proven:
        return False
    faults = parse.wrong_workers(seen.supervisor.workers, target.process_names)
    faults += parse.wrong_misp_view(seen.view, target.worker_counts)
    return seen.proof.proven == seen.proof.evidence and not faults


def _with_rpc(target: Target, supervisor: Supervisor) -> Target:
    """Return the target with the place where supervisord is asked."""
    if target.settings.supervisor_transport == "unix":
        # Before the package is there, its file is not either; the RPC step needs the real path.
        socket = supervisor.unix_socket or target.platform.supervisor_socket
        return dataclasses.replace(target, rpc_socket=socket)
    if not supervisor.inet_file:
        return target
    return dataclasses.replace(
        target,
        rpc_elsewhere=supervisor.inet_file,
        rpc_port=port_of(supervisor.inet_address),
        rpc_user=supervisor.inet_user,
    )


def _selinux(settings: Settings, mode: str) -> tuple[Literal["load", "build", "none"], str]:
    if settings.selinux == "off":
        return "none", "selinux is off in the inventory"
    if settings.selinux == "build":
        return "build", f"built but not loaded, as the inventory says (SELinux here: {mode})"
    if mode in ("Enforcing", "Permissive"):
        return "load", f"SELinux is {mode}"
    return "none", f"SELinux is {mode.lower() or 'absent'} on this host"
