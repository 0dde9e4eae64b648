"""What a check may look at: the parts that one command asks a host for, in one round trip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from tasks.host import parts


@dataclass(frozen=True)
class Seen:
    """The parts that every command asks for."""

    system: parts.System
    tree: parts.Tree
    php: parts.Php
    settings: parts.Settings
    new_backend: parts.NewBackend
    old_backend: parts.OldBackend
    old_workers: parts.OldWorkers
    packages: parts.Packages
    libraries: parts.Libraries
    supervisor: parts.Supervisor
    selinux: parts.Selinux


@dataclass(frozen=True)
class SeenToMigrate(Seen):
    """For deploy.py: also what its steps ask next, so that a migrated host needs one look."""

    web: parts.Web
    rpc: parts.Rpc
    own_rpc: parts.OwnRpc
    workers: parts.Workers
    proof: parts.Proof
    view: parts.View
    job: parts.Job
    scheduled_tasks: parts.ScheduledTasks


@dataclass(frozen=True)
class SeenToReturn(Seen):
    """For rollback.py."""

    originals: parts.Originals


@dataclass(frozen=True)
class SeenForStatus(Seen):
    """For status.py. A run at work shows in `run_state`; the look does not wait for it."""

    workers: parts.Workers
    proof: parts.Proof
    view: parts.View
    health_check: parts.HealthCheck
    run_state: parts.RunState


AnySeen = TypeVar("AnySeen", bound=Seen)


def kinds(seen: type[Seen]) -> tuple[type, ...]:
    """Return the classes of the parts that `seen` needs."""
    hints = get_type_hints(seen)
    return tuple(hints[field.name] for field in fields(seen))


def gathered(seen: type[AnySeen], ask: Callable[[type], Any]) -> AnySeen:
    """Return `seen` with each part from `ask`, which takes the part's class."""
    hints = get_type_hints(seen)
    return seen(**{field.name: ask(hints[field.name]) for field in fields(seen)})
