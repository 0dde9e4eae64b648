"""What a run will do, step by step. Pure.

A step decides by what is true when its turn comes. So a forecast goes through the steps in order
and has each leave the host as it will be after it: a worker group that is started anew, a proof
that does not hold any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tasks import misp_rest, parse
from tasks.drain import LONGEST_WAIT
from tasks.host import libraries, packages, parts, selinux, settings, web, workers
from tasks.plan import decisions
from tasks.plan.decisions import Ask, Part
from tasks.target import JOB_TIMEOUT, Target

STARTED_SECONDS = 6  # past startsecs: before, supervisord and MISP call no worker running
STABLE_SECONDS = 8  # a worker that dies at its first look at Redis is gone by then
_DAEMON = 300  # for supervisord to stop, to start, to answer, and for its workers to run
_LITTLE = 120  # for a step that waits for nobody's job

Parts = dict[type, Any]


class Step(NamedTuple):
    """One operation of a deploy."""

    title: str  # as the deploy names it
    acts: Callable[[Target, Ask], list[str]]  # why it has something to do; empty: it has not
    leaves: Callable[[Target, Ask], Parts]  # parts that are others afterwards
    limit: Callable[[Target], int]  # seconds that it may take


class Foreseen(NamedTuple):
    """A step that will do something."""

    step: Step
    reasons: list[str]
    ask: Ask  # what the host is like when the step's turn comes


def foreseen(steps: Sequence[Step], target: Target, ask: Ask) -> list[Foreseen]:
    """Return the steps that will do something, in order.

    Args:
        ask: gives what is true on the host now.
    """
    found = []
    now = ask
    for step in steps:
        if reasons := step.acts(target, now):
            found.append(Foreseen(step, reasons, now))
            now = _changed(now, step.leaves(target, now))
    return found


def _changed(ask: Ask, changes: Parts) -> Ask:
    def changed(kind: type[Part], /) -> Part:
        found: Part = changes[kind] if kind in changes else ask(kind)
        return found

    return changed


# --- what each step leaves ----------------------------------------------------------------------


def _nothing(_target: Target, _ask: Ask) -> Parts:
    return {}


def _good_view(target: Target, _ask: Ask) -> Parts:
    """What changes MISP or its workers may mend MISP's view of them; the proof looks anew."""
    queues = {name: {"workers": [{"ok": True}] * n} for name, n in target.worker_counts.items()}
    view = parts.View("", {**queues, "supervisord_status": True})
    return {parts.View: view, misp_rest.View: None}


def _after_rpc(target: Target, ask: Ask) -> Parts:
    supervisor, group = ask(parts.Supervisor), ask(parts.Workers)
    unit = supervisor.unit._replace(active="active", enabled="enabled")
    if decisions.restarts_supervisord(target, ask):
        if not target.is_on:  # see `_hold_group` of tasks/host/rpc.py
            group = group._replace(digest="")
        elif group.digest == decisions.group_digest(target):
            supervisor = _with_group(target, supervisor)
    return {
        parts.Rpc: parts.Rpc(is_current=True, answer="ok", keeps_log_folders=True),
        parts.Supervisor: supervisor._replace(unit=unit),
        parts.Workers: group._replace(has_log_dir=True),
        **_good_view(target, ask),
    }


def _with_group(target: Target, seen: parts.Supervisor) -> parts.Supervisor:
    running = [parts.Worker(one, "RUNNING", 0, 0, "", "") for one in target.process_names]
    others = parse.foreign_programs(seen.workers)
    return seen._replace(workers=[one for one in seen.workers if one.name in others] + running)


def _after_settings(target: Target, ask: Ask) -> Parts:
    wrong = decisions.wrong_settings(target, ask(parts.Settings))
    return {**_good_view(target, ask), **_unproven(ask, any(map(settings.ends_proof, wrong)))}


def _after_workers(target: Target, ask: Ask) -> Parts:
    supervisor = _with_group(target, ask(parts.Supervisor))
    unproven = _unproven(ask, bool(decisions.group_faults(target, ask)))
    return {parts.Supervisor: supervisor, **_good_view(target, ask), **unproven}


def _unproven(ask: Ask, is_so: bool) -> Parts:
    return {parts.Proof: ask(parts.Proof)._replace(proven="")} if is_so else {}


def _after_backend_off(_target: Target, ask: Ask) -> Parts:
    """The call that turns the new backend off starts the old workers: `disable_backend`."""
    seen = ask(parts.Originals)
    back = seen._replace(units_now=seen.units_before, are_launchers_out=False, unserved=[])
    return {parts.Originals: back}


# --- how long each may take ---------------------------------------------------------------------


def _seconds(number: float) -> Callable[[Target], int]:
    return lambda _: int(number)


def _jobs_end(target: Target) -> int:
    """Running jobs are waited for, then what runs them is started anew."""
    return target.settings.drain_timeout + _DAEMON


def _drain_ends(target: Target) -> int:
    patience = {"stop": 1, "convert": 2}  # converted jobs are waited for once more
    times = patience.get(target.settings.on_leftover_jobs)
    return times * target.settings.drain_timeout if times else LONGEST_WAIT


def _proof_ends(target: Target) -> int:
    ages = STARTED_SECONDS + STABLE_SECONDS + 2 * workers.STABLE_LIMIT
    return int(ages) + max(JOB_TIMEOUT, target.settings.drain_timeout)


# --- the steps, in order ------------------------------------------------------------------------

PACKAGES = Step(
    "Packages: supervisor", decisions.packages, _nothing, _seconds(packages.INSTALL_SECONDS)
)
LIBRARIES = Step(
    "PHP libraries: Composer's five",
    decisions.libraries,
    _good_view,
    _seconds(libraries.COMPOSER_SECONDS),
)
RPC = Step("supervisord: running, RPC on the loopback only", decisions.rpc, _after_rpc, _jobs_end)
SELINUX = Step(
    "SELinux: module, label, boolean", decisions.selinux, _nothing, _seconds(selinux.BUILD_SECONDS)
)
SETTINGS = Step(
    "MISP: settings, and the web tier has read them",
    decisions.settings,
    _after_settings,
    _seconds(web.SECONDS + _LITTLE),
)
WORKERS = Step(
    "Workers: the group, exactly its processes", decisions.workers, _after_workers, _jobs_end
)
PROOF = Step("Proof: a job on every queue, MISP's own view", decisions.proof, _nothing, _proof_ends)
DRAIN = Step("Drain: the old workers finish their jobs", decisions.drain, _nothing, _drain_ends)
RETIRE = Step("Retire: the old workers stop for good", decisions.retire, _nothing, _jobs_end)
SCHEDULED_TASKS = Step(
    "Scheduled tasks: to cron or MISP's own scheduler",
    decisions.scheduled_tasks,
    _nothing,
    _seconds(_LITTLE),
)
DEPLOY = (
    PACKAGES,
    LIBRARIES,
    RPC,
    SELINUX,
    SETTINGS,
    WORKERS,
    PROOF,
    DRAIN,
    RETIRE,
    SCHEDULED_TASKS,
)

HEALTH_CHECK = Step(
    "Health check: a program for a monitor", decisions.health_check, _nothing, _seconds(_LITTLE)
)

BACKEND_OFF = Step("MISP: the new backend off", decisions.backend_on, _after_backend_off, _jobs_end)
OLD_WORKERS = Step("Old workers: started as before", decisions.old_workers, _nothing, _jobs_end)
JOBS_BACK = Step("New queues: their jobs moved back", decisions.migrated, _nothing, _jobs_end)
ALL_BACK = Step(
    "RPC, libraries, SELinux: as before",
    decisions.migrated,
    _nothing,
    _seconds(selinux.BUILD_SECONDS + _DAEMON),
)
ROLLBACK = (BACKEND_OFF, OLD_WORKERS, JOBS_BACK, ALL_BACK)
