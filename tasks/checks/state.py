"""What a host is like now, as one typed value: its state, what there is, and what comes next."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from tasks import parse
from tasks.checks import old_workers
from tasks.checks.seen import Seen, SeenForStatus
from tasks.report.events import program
from tasks.report.status import Fault, Jobs, State, Status, Workers
from tasks.target import Target

# Kinds of faults that say already why a host is between the two backends.
_BETWEEN = {"busy", "interrupted", "leftover", "old_workers"}


def status(host: str, target: Target, seen: SeenForStatus, faults: list[Fault]) -> Status:
    """Return all that is to be told of a host, its faults among it."""
    seen = old_workers.without_programs(seen)
    found, unit = state(seen), seen.supervisor.unit
    return Status(
        host=host,
        state=found,
        faults=faults,
        next_step=_next_step(found, faults),
        lines=[f"state: {found}", *_lines(target, seen)],
        versions=versions(target, seen),
        backend=_backend(seen),
        workers=_workers(target, seen),
        old_workers=None if seen.tree.error else len(seen.old_workers.processes),
        new_jobs=_new_jobs(seen),
        old_jobs=_old_jobs(seen),
        supervisord={"unit": unit.name, "active": unit.active, "enabled": unit.enabled},
        health_check=_health_check(target, seen),
        last_run=seen.run_state.last_run,
    )


def failed(host: str, problems: Sequence[str]) -> Status:
    """Return what is to be told of a host that gave no answer, or none that can be trusted."""
    faults = [Fault.of("answer", problem) for problem in problems]
    return Status(host, faults=faults, next_step=_next_step("unknown", faults))


def expected(status: Status, expect: str) -> Status:
    """Return the status with a fault if the host is in another state than it is to be; empty: any.

    A state that is unknown, or between the two for a reason that is named, has its fault already.
    """
    is_said = status.state == "mixed" and any(one.kind in _BETWEEN for one in status.faults)
    if expect in ("", status.state) or status.state == "unknown" or is_said:
        return status
    found = {"old": "on its old workers", "mixed": "between both backends"}
    deploy = program("deploy" if expect == "migrated" else "rollback")
    fault = Fault.of(
        "expected",
        f"the host is {found.get(status.state, status.state)}, but expect says {expect}: run "
        f"{deploy}, or correct expect",
    )
    faults = [*status.faults, fault]
    return replace(status, faults=faults, next_step=_next_step(status.state, faults))


def state(seen: SeenForStatus) -> State:
    """Return where a host is between the two backends."""
    if seen.settings.error or seen.tree.error or seen.tree.config_mode < 0:
        return "unknown"
    has_group = bool(parse.group_workers(seen.supervisor.workers))
    if not seen.settings.is_on:
        return "mixed" if has_group or seen.run_state.has_state else "old"
    # Without a proof of ours it was done by hand, or a run was cut off.
    is_between = seen.old_workers.live or seen.libraries.is_unfinished or seen.settings.is_pending
    return "migrated" if seen.proof.proven and not is_between else "mixed"


def _next_step(state: State, faults: Sequence[Fault]) -> str:
    if not faults:
        return {
            "old": "plan the migration of this host",
            "mixed": f"run {program('deploy')}, which takes the host to the end and proves it",
        }.get(state, "nothing is to be done")
    if any(fault.kind == "busy" for fault in faults):
        return "wait until the run that is at work there has ended, then run status again"
    if all(fault.command for fault in faults):
        commands = " && ".join(fault.command for fault in faults)
        return f"run `{commands}` there as root, then run status again"
    for deploy in ("deploy", "rollback"):
        ways = (f"un the {deploy}", f"un {program(deploy)}")
        if any(way in fault.sentence for way in ways for fault in faults):
            return f"run {program(deploy)}"
    return "mend what is named, then run status again"


def _lines(target: Target, seen: SeenForStatus) -> Iterator[str]:
    version = parse.dotted(target.version) if any(target.version) else "unknown"
    yield f"MISP {version}, new backend {_backend(seen)}"
    group = parse.group_workers(seen.supervisor.workers).values()
    running = sum(one.state == "RUNNING" for one in group)
    yield f"workers: {running} RUNNING, {len(target.process_names)} wanted"
    yield f"new queues: {_new_queues(seen)}"
    if not seen.old_backend.is_installed:
        left = f", but it left {seen.old_backend.backlog}" if seen.old_backend.backlog else ""
        yield f"old backend: not in this MISP any more{left}"
    else:
        alive = len(seen.old_workers.processes)
        jobs = seen.old_backend.backlog or "nothing waiting, running or delayed"
        yield f"old backend: {alive} worker process{'' if alive == 1 else 'es'}, {jobs}"
    checked = _health_check(target, seen)
    again = f", of another version or for another setup: run {program('healthcheck')} again"
    yield f"health check: {checked}{again if checked == 'outdated' else ''}"


def _health_check(target: Target, seen: SeenForStatus) -> Literal["none", "current", "outdated"]:
    if not seen.health_check.digest:
        return "none"
    text = target.health_check(seen.supervisor.unix_socket)
    is_current = seen.health_check.digest == hashlib.sha256(text.encode()).hexdigest()
    return "current" if is_current else "outdated"


def _new_queues(seen: SeenForStatus) -> str:
    backend = seen.new_backend
    if backend.error:
        return f"unknown: {backend.error}"
    parts = [f"{count} waiting in {queue}" for queue, count in backend.waiting.items() if count]
    return ", ".join([*(parts or ["0 waiting"]), f"{len(seen.workers.busy)} running"])


def _backend(seen: SeenForStatus) -> Literal["on", "off", "unknown"]:
    if seen.settings.error:
        return "unknown"
    return "on" if seen.settings.is_on else "off"


def versions(target: Target, seen: Seen) -> dict[str, str]:
    """Return what runs on the host, as far as it is known."""
    found = {
        "misp": parse.dotted(target.version) if any(target.version) else "",
        "php": seen.php.version_text,
        "redis": seen.new_backend.version,
        "supervisor": seen.packages.supervisor_version,
    }
    return {name: version for name, version in found.items() if version}


def _workers(target: Target, seen: SeenForStatus) -> dict[str, Workers]:
    group = parse.group_workers(seen.supervisor.workers).values()
    if not seen.settings.is_on and not group:
        return {}
    running = Counter(parse.program_of(one.name) for one in group if one.state == "RUNNING")
    return {one.name: Workers(running[one.name], one.count) for one in target.programs}


def _new_jobs(seen: SeenForStatus) -> Jobs:
    backend = seen.new_backend
    if backend.error:
        return Jobs()
    return Jobs(sum(backend.waiting.values()) + backend.aside, len(seen.workers.busy), 0)


def _old_jobs(seen: SeenForStatus) -> Jobs:
    old = seen.old_backend
    return Jobs() if old.error else Jobs(old.waits + old.held, old.running, old.delayed)
