"""What each step will change, from the parts of a look and the host's preview. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tasks import parse, render
from tasks.host import cron, libraries, old_workers, parts, preview, selinux
from tasks.host.diffs import FileChange
from tasks.host.site import LOG_DIR
from tasks.plan import decisions, forecast
from tasks.plan.decisions import Ask
from tasks.plan.document import Change, Kind
from tasks.plan.forecast import Foreseen
from tasks.target import Target

NEWEST = "the newest that is offered"
HIDDEN = "***"
_OTHER = "*** (another one)"
_RUNS, _STOPPED = "running", "stopped"


class Shown(NamedTuple):
    """What the changes of a host are made from."""

    target: Target
    ask: Ask  # what the host is like when the step's turn comes
    files: Mapping[str, list[FileChange]] = {}  # by the names of preview.py
    digests: Mapping[str, str] = {}
    tasks: Sequence[cron.Task] = ()
    packages: Mapping[str, str] = {}  # versions of all that would come, by name; empty: not asked
    libraries: Mapping[str, str] = {}  # the same of Composer's
    back: preview.PreviewBack | None = None


def of(step: Foreseen, shown: Shown) -> list[Change]:
    """The changes of a step that will do something."""
    make = _MAKERS.get(step.step.title)
    return [*make(shown._replace(ask=step.ask))] if make else []


def _files(shown: Shown, step: str) -> Iterator[Change]:
    for one in shown.files.get(step, ()):
        yield Change(
            kind="file",
            name=one.path,
            before=one.before,
            after=one.after,
            diff=one.diff,
            volatile=one.is_volatile,
        )


def _note(name: str, after: str, *, volatile: bool = False) -> Change:
    return Change(kind="note", name=name, after=after, volatile=volatile)


def _at_times(name: str, after: str) -> Change:
    """What is there by chance, or left by a run that was cut off: no other plan because of it."""
    return _note(name, after, volatile=True)


# --- a migration --------------------------------------------------------------------------------


def _packages(shown: Shown) -> Iterator[Change]:
    seen = shown.ask(parts.Packages)
    missing = [name for name in shown.target.wanted(seen) if name not in seen.installed]
    yield from _new("package", dict.fromkeys(missing, NEWEST), shown.packages)
    if seen.is_masked:
        unit = shown.target.site().unit
        yield _at_times(f"{unit}, which an install that was cut off has masked", "unmasked")


def _new(kind: Kind, wanted: Mapping[str, str], offered: Mapping[str, str]) -> Iterator[Change]:
    """What is installed, with its version: what is wanted, then what comes with it.

    Args:
        kind: Composer's libraries are none of the system's packages: the web user's Composer says
            what they are called, and root installs a package by the name that was approved.
    """
    for name, version in {**wanted, **offered}.items():
        yield Change(kind=kind, name=name, after=version)


def _libraries(shown: Shown) -> Iterator[Change]:
    pairs = (package.partition(":") for package in libraries.LIBRARIES)
    # After a run that was cut off nobody can ask Composer, so no version is known to be another.
    is_asked = not shown.ask(parts.Libraries).is_unfinished
    wanted = {name: version or NEWEST for name, _, version in pairs}
    for one in _new("library", wanted, shown.libraries):
        yield one.model_copy(update={"volatile": not is_asked})
    app = shown.target.site().app
    for path in [f"{app}/{name}" for name in libraries.NAMES]:
        before = shown.digests.get(path, "")
        yield Change(kind="file", name=path, before=before, after="written by Composer")


def _rpc(shown: Shown) -> Iterator[Change]:
    target = shown.target
    supervisor = shown.ask(parts.Supervisor)
    name, unit = target.site().unit, supervisor.unit
    yield from _files(shown, preview.RPC)
    if unit.active != "active":
        yield Change(kind="unit", name=name, before=_STOPPED, after=_RUNS)
    elif decisions.restarts_supervisord(target, shown.ask):
        after = "restarted, each worker when it has no job"
        yield Change(kind="unit", name=name, before=_RUNS, after=after)
        for program in parse.foreign_programs(supervisor.workers):
            yield Change(kind="process", name=program, before=_RUNS, after="restarted")
    if unit.enabled != "enabled":
        yield _at_boot(name, "not enabled", "enabled")
    yield from _log_folder(shown)


def _at_boot(unit: str, before: str, after: str) -> Change:
    return Change(kind="unit", name=f"{unit} at boot", before=before, after=after)


def _log_folder(shown: Shown) -> Iterator[Change]:
    if not shown.ask(parts.Workers).has_log_dir:
        after = f"a folder, root:{shown.target.web_group} 0750"
        yield Change(kind="file", name=LOG_DIR, after=after)


def _selinux(shown: Shown) -> Iterator[Change]:
    target, seen = shown.target, shown.ask(parts.Selinux)
    cake = f"{target.settings.misp_root}/app/Console/cake"
    is_built = seen.built == decisions.selinux_digest()
    diff = [] if is_built else [f"+{line}" for line in render.selinux_module().splitlines()]
    loads = target.selinux == "load"
    before = "loaded" if seen.is_loaded else "built" if is_built else "absent"
    wanted = [
        (f"SELinux module {selinux.MODULE}", before, "loaded" if loads else "built", diff),
        (f"file context of {cake}", seen.cake_rule, selinux.CAKE_TYPE, []),
        (f"label of {cake}", seen.cake_label, selinux.CAKE_TYPE, []),
        (selinux.BOOLEAN, "on" if seen.has_network else "off", "on", []),
    ]
    for name, now, after, lines in wanted if loads else wanted[:1]:
        if now != after or lines:
            yield Change(kind="setting", name=name, before=now, after=after, diff=lines)


def _settings(shown: Shown) -> Iterator[Change]:
    target, seen = shown.target, shown.ask(parts.Settings)
    wrong = decisions.wrong_settings(target, seen)
    password = "SimpleBackgroundJobs.supervisor_password"  # noqa: S105 - its name
    if decisions.has_new_password(target, seen) and password not in wrong:
        wrong.append(password)
    wanted = target.misp_settings()
    for name in wrong:
        if isinstance(wanted[name], dict):
            yield Change(kind="setting", name=name, before=HIDDEN, after=_OTHER)
            continue
        before = _value(seen.block, name.partition(".")[2])
        yield Change(kind="setting", name=name, before=before, after=json.dumps(wanted[name]))
    if wrong:
        path = target.site().config_php
        before = shown.digests.get(path, "")
        yield Change(kind="file", name=path, before=before, after="written by MISP")
    units = shown.ask(parts.Web).units
    for unit in units:
        yield Change(kind="unit", name=unit, before="older settings", after="reloaded")
    if not units:
        yield _note("PHP processes of the web tier", "reloaded")


def _value(block: Mapping[str, Any], key: str) -> str:
    return json.dumps(block[key])[:300] if key in block else "not set"


def _workers(shown: Shown) -> Iterator[Change]:
    target, seen = shown.target, shown.ask(parts.Workers)
    yield from _files(shown, preview.WORKERS)
    yield from _log_folder(shown)
    yield from _programs(target, shown.ask(parts.Supervisor).workers)
    has_workers = bool(parse.group_workers(shown.ask(parts.Supervisor).workers))
    if has_workers and seen.applied != decisions.group_digest(target):
        yield _at_times("workers that run already", "restarted, each when it has no job")
    for pid in seen.strays:
        yield _at_times(f"PID {pid}, a worker of a killed supervisord", "ended")
    if aside := shown.ask(parts.NewBackend).aside:
        yield _at_times(f"{aside} job(s) that were set aside", "back in their queues")


def _programs(target: Target, workers: Iterable[parts.Worker]) -> Iterator[Change]:
    group = parse.group_workers(workers).values()
    running = Counter(parse.program_of(one.name) for one in group if one.state == "RUNNING")
    wanted = Counter(map(parse.program_of, target.process_names))
    others = [one for one in sorted(running | wanted) if running[one] != wanted[one]]
    for program in others:
        yield Change(kind="process", name=f"workers {program}", after=f"{wanted[program]} running")
    if others:  # a run that is cut off leaves some of them running
        now = ", ".join(f"{running[one]} {one}" for one in others)
        yield Change(kind="process", name="workers that run", before=now, volatile=True)


def _jobs(name: str, before: str, after: str = "") -> Change:
    return Change(kind="jobs", name=name, before=before, after=after, volatile=True)


def _proof(shown: Shown) -> Iterator[Change]:
    queues = ", ".join(shown.target.worker_counts)
    yield Change(kind="jobs", name="admin redisReady", after=f"one on each of {queues}")


def _drain(shown: Shown) -> Iterator[Change]:
    old, settings = shown.ask(parts.OldBackend), shown.target.settings
    leftovers = {
        "stop": "both backends run on, and the host fails",
        "wait": "they are waited for, up to a day",
        "convert": "they become jobs of the new backend",
    }
    limit = f"if old jobs are left after {settings.drain_timeout} s"
    yield _note(limit, leftovers[settings.on_leftover_jobs])
    counts = {f"waiting in {queue}": count for queue, count in sorted(old.waiting.items())}
    counts |= {"running": old.running, "delayed": old.delayed, "scheduled": old.scheduled}
    for name, count in counts.items():
        if count:
            yield _jobs(f"old jobs {name}", str(count))


def _retire(shown: Shown) -> Iterator[Change]:
    seen, stale = shown.ask(parts.OldWorkers), shown.ask(parts.OldBackend).stale
    if seen.live:
        yield from _units(seen.units)
        yield from _files(shown, preview.LAUNCHERS)
        yield _note("old workers", "each ends after its job (QUIT)")
        pids = ", ".join(f"{one.pid} ({', '.join(one.queues)})" for one in seen.processes)
        yield Change(kind="process", name="PIDs of old workers", before=pids, volatile=True)
        yield from _tasks(shown)
    if stale:
        yield _at_times("entries of dead old workers in Redis", "removed")


def _units(units: Iterable[parts.Unit]) -> Iterator[Change]:
    for unit in units:
        if unit.is_held or unit.active not in ("inactive", "failed", "unknown", ""):
            yield Change(kind="unit", name=unit.name, before=_RUNS, after=_STOPPED)
        if unit.starts_at_boot:
            yield _at_boot(unit.name, unit.enabled, "disabled")


def _tasks(shown: Shown) -> Iterator[Change]:
    yield from _files(shown, preview.TASKS)
    for task in shown.tasks:
        rhythm = f"every {task.hours} h" if task.hours else "once"
        after = "MISP's own scheduler" if task.is_native else f"cron or a new job, {rhythm}"
        name = f"{task.kind} of user {task.user}"
        yield Change(kind="task", name=name, before="the old backend", after=after)


# --- the way back -------------------------------------------------------------------------------


def _backend_off(shown: Shown) -> Iterator[Change]:
    if shown.back and shown.back.is_config_kept:
        path = shown.target.site().config_php
        yield Change(kind="file", name=path, after="as before the migration")
    name = "SimpleBackgroundJobs.enabled"
    yield Change(kind="setting", name=name, before="true", after="false, or as before")
    yield _note("PHP processes of the web tier", "reloaded")
    yield from _old_workers(shown)


def _old_workers(shown: Shown) -> Iterator[Change]:
    seen = shown.ask(parts.Originals)
    now = {unit.name: unit for unit in seen.units_now}
    for unit in seen.units_before:
        there = now.get(unit.name, unit._replace(active="", enabled=""))
        if there.active != unit.active:
            before, after = there.active or "gone", unit.active
            yield Change(kind="unit", name=unit.name, before=before, after=after)
        if there.enabled != unit.enabled:
            yield _at_boot(unit.name, there.enabled or "gone", unit.enabled)
    yield from _files(shown, preview.LAUNCHERS)
    for queue in seen.unserved:
        name = "old scheduler" if queue == old_workers.SCHEDULER else f"old worker of {queue}"
        yield Change(kind="process", name=name, before="none", after=_RUNS)


def _jobs_back(shown: Shown) -> Iterator[Change]:
    yield from _files(shown, preview.JOBS)
    yield _note("jobs of the new queues", "moved to the old ones")
    for queue, count in sorted(shown.ask(parts.NewBackend).waiting.items()):
        if count:
            yield _jobs(f"new jobs waiting in {queue}", str(count))
    yield _note("workers of the new backend", "stopped, each when it has no job")


def _all_back(shown: Shown) -> Iterator[Change]:
    yield from _files(shown, preview.REST)
    app = shown.target.site().app
    for name in libraries.NAMES:
        yield _note(f"{app}/{name}", "as before, unless others have changed it")
    before = shown.back.selinux if shown.back else {}
    if before and not before.get("is_loaded"):
        name = f"SELinux module {selinux.MODULE}"
        yield Change(kind="setting", name=name, before="loaded", after="removed")
    if before and before.get("network") != "on":
        yield Change(kind="setting", name=selinux.BOOLEAN, before="on", after="off")
    daemon, name = shown.ask(parts.Originals).daemon_before, shown.target.site().unit
    if daemon:
        after = "restarted" if daemon == "active" else _STOPPED
        yield Change(kind="unit", name=name, before=_RUNS, after=after)
    if shown.back and shown.back.at_boot not in ("enabled", ""):
        yield _at_boot(name, "enabled", shown.back.at_boot)
    yield _note("the record of the migration", "removed")


_MAKERS: dict[str, Callable[[Shown], Iterator[Change]]] = {
    forecast.PACKAGES.title: _packages,
    forecast.LIBRARIES.title: _libraries,
    forecast.RPC.title: _rpc,
    forecast.SELINUX.title: _selinux,
    forecast.SETTINGS.title: _settings,
    forecast.WORKERS.title: _workers,
    forecast.PROOF.title: _proof,
    forecast.DRAIN.title: _drain,
    forecast.RETIRE.title: _retire,
    forecast.SCHEDULED_TASKS.title: _tasks,
    forecast.BACKEND_OFF.title: _backend_off,
    forecast.OLD_WORKERS.title: _old_workers,
    forecast.JOBS_BACK.title: _jobs_back,
    forecast.ALL_BACK.title: _all_back,
}
