"""Compares a host's typed parts with what is wanted. Pure: values in, words out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from typing import Any

from tasks.host.parts import Settings, View, Worker
from tasks.host.remedies import quoted
from tasks.host.site import GROUP
from tasks.host.versions import Version

_POP_SECONDS = 30
_SHOWN_NAMES = 6


def dotted(version: Version) -> str:
    """Return `2.5.18` of (2, 5, 18)."""
    return ".".join(str(part) for part in version)


def group_workers(workers: Iterable[Worker]) -> dict[str, Worker]:
    """Return this MISP's workers by name. Another MISP's group has the same name."""
    ours = (one for one in workers if one.name.startswith(f"{GROUP}:") and not one.other_misp)
    return {one.name: one for one in ours}


def foreign_programs(workers: Iterable[Worker]) -> list[str]:
    """Return the programs under the same supervisord that are not in a MISP's group, sorted."""
    return sorted(worker.name for worker in workers if not worker.name.startswith(f"{GROUP}:"))


def wrong_workers(workers: Iterable[Worker], wanted: Iterable[str]) -> list[str]:
    """Say what keeps the group from being exactly the wanted set, all RUNNING.

    Workers with the same fault share one sentence. An empty list means that the group is right.
    """
    found, expected = group_workers(workers), set(wanted)
    faults: dict[str, list[str]] = {}
    for name in sorted(expected):
        if name not in found:
            faults.setdefault("missing", []).append(name)
        elif found[name].state != "RUNNING":
            faults.setdefault(_state(found[name]), []).append(name)
    for name in sorted(set(found) - expected):
        faults.setdefault("not wanted", []).append(name)
    return [f"{listed(names)} {are(names)} {fault}" for fault, names in faults.items()]


def _state(worker: Worker) -> str:
    # A moment is part of EXITED's and STOPPED's notes: it would tell apart what has one cause.
    note = worker.note if worker.state in ("FATAL", "BACKOFF") else ""
    return f"{worker.state} ({note})" if note else worker.state


def listed(names: list[str]) -> str:
    """Return the workers' names, or how many of each program where they are many."""
    if len(names) <= _SHOWN_NAMES:
        return ", ".join(names)
    counts = Counter(map(program_of, names))
    programs = ", ".join(f"{count} {program}" for program, count in sorted(counts.items()))
    return f"{len(names)} workers ({programs})"


def program_of(name: str) -> str:
    """Return `default` of `misp-workers:default_00`."""
    return name.partition(":")[2].rpartition("_")[0]


def are(some: Sized) -> str:
    """Return the verb for so many of them."""
    return "are" if len(some) > 1 else "is"


def wrong_settings(stored: Settings, wanted: Mapping[str, Any], *, strict: bool) -> list[str]:
    """Return the names of MISP's settings that are absent or differ in value or type, in order.

    A mapping stands for a secret: of that only "is it the wanted one" is known.
    """
    secrets = {
        "supervisor_password": stored.is_supervisor_password_right,
        "redis_password": stored.is_redis_password_right,
    }
    wrong = []
    for name, value in wanted.items():
        key = name.partition(".")[2]
        if isinstance(value, dict):
            is_right = secrets[key]
        else:
            is_right = _same(stored.block.get(key), value, strict=strict)
        if not is_right:
            wrong.append(name)
    return wrong


def _same(stored: Any, wanted: str | int | bool, *, strict: bool) -> bool:
    """Whether both are equal in value and, in the file, in type.

    MISP compares with `=== true` (BackgroundJobsTool.php). The database keeps text, and MISP's
    command line may show text as well.
    """
    if strict:
        return type(stored) is type(wanted) and bool(stored == wanted)
    if isinstance(wanted, bool):
        return stored in (wanted, int(wanted), str(int(wanted)), str(wanted).lower())
    return isinstance(stored, str | int) and str(stored) == str(wanted)


def wrong_misp_view(view: View, wanted: Mapping[str, int]) -> list[str]:
    """Say where MISP's own view (`getWorkers`) differs from the wanted counts of workers.

    The web user's code makes the view, so any part of it may be of any type. Only
    `supervisord_status` proves that MISP's stored password and its libraries work: workers run
    jobs without either (observed on MISP 2.5.1).
    """
    if view.error:
        return [f"getWorkers: {view.error}"]
    faults = []
    if "supervisord_status" not in view.workers:
        faults.append("getWorkers speaks of the old backend")
    elif view.workers["supervisord_status"] is not True:
        faults.append("MISP cannot reach supervisord (supervisord_status is not true)")
    differing = []
    for queue, count in wanted.items():
        seen, good = _workers_in(view.workers.get(queue))
        if seen != count or good != count:
            differing.append(f"{queue} {good} of {count}" + (f", {seen} seen" * (seen != good)))
    if differing:
        faults.append(f"MISP does not see the wanted workers as good: {'; '.join(differing)}")
    return faults + _blind_spots(view.workers)


def _blind_spots(queues: Mapping[str, Any]) -> list[str]:
    """Say why MISP may see good workers as bad: its own process cannot look at them."""
    if queues.get("proc_accessible") is False:
        return ["MISP's process sees no /proc: add it to PHP's open_basedir, or see SELinux's log"]
    workers = [one for queue in queues.values() for one in _listed(queue) if isinstance(one, dict)]
    users = {
        quoted(str(one.get("user")), 40) for one in workers if one.get("correct_user") is False
    }
    if not users:
        return []
    seen = ", ".join(f"'{user}'" for user in sorted(users)[:3])
    return [
        f"MISP's process takes {seen} for the workers' user: MISP runs as another user itself, or "
        "it cannot read /proc/PID (SELinux)"
    ]


def _listed(queue: Any) -> list[Any]:
    workers = queue.get("workers") if isinstance(queue, dict) else None
    return workers if isinstance(workers, list) else []  # the key is absent when there are none


def _workers_in(queue: Any) -> tuple[int, int]:
    """Return how many workers MISP lists for a queue, and how many of them are good."""
    workers = _listed(queue)
    good = [one for one in workers if isinstance(one, dict) and one.get("ok") is True]
    return len(workers), len(good)


def impatience(stored: Settings) -> str:
    """Say why idle workers would end all the time; empty: they would not.

    A worker waits for a job by a BLPOP of 30 s (StartWorkerShell.php), and PHP may give up before
    (MISP #8155). RUNNING and the test jobs do not show it.
    """
    if not 0 < stored.read_timeout <= _POP_SECONDS:
        return ""
    return (
        f"PHP's command line gives up on Redis after {stored.read_timeout:g} s, but an idle worker "
        f"waits {_POP_SECONDS} s for a job, so idle workers would end all the time: set "
        "default_socket_timeout = 60 in the php.ini of the command line"
    )
