"""What is wrong with a host's workers: each cause is one fault, one sentence with its remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tasks import parse
from tasks.checks import misp, old_workers, redis, supervisor, system
from tasks.checks.seen import SeenForStatus
from tasks.host.parts import MissingFolder, Worker
from tasks.host.remedies import word
from tasks.host.site import GROUP, LOG_DIR
from tasks.misp_rest import OVER_REST
from tasks.report.events import program
from tasks.report.status import Fault
from tasks.target import Target

DISK_KB = 100_000  # a worker that cannot write its log or a job's file is of no use
_VIEW_REMEDY = (
    "If the workers themselves are well, the password, the libraries or the view on /proc are "
    "wrong: run the deploy again"
)
# States through which supervisord takes a worker that ends at its start, again and again.
_IN_VAIN = {"STARTING", "BACKOFF", "EXITED", "FATAL"}

_Check = Callable[[Target, SeenForStatus], Iterator[str]]


def of(target: Target, seen: SeenForStatus, rest_faults: Sequence[str] = ()) -> list[Fault]:
    """Return the faults of this host; `rest_faults` are those that MISP's web tier shows."""
    seen = old_workers.without_programs(seen)
    found: list[Fault] = []
    for kind, check, causes in _checks(rest_faults):
        if not {fault.kind for fault in found} & {*causes}:
            found += [Fault.of(kind, sentence) for sentence in check(target, seen)]
    return found


def _checks(rest_faults: Sequence[str]) -> Iterator[tuple[str, _Check, tuple[str, ...]]]:
    """Each kind of fault, and the kinds that cause it: if one of these is there, it is not said."""
    run = ("busy", "interrupted")
    unseen = (
        "misp",
        *run,
        "settings",
        "other_misp",
        "disk",
    )  # MISP's own view is wrong for each of these, too
    yield "misp", _misp, ()
    yield "busy", _busy, ()
    yield "interrupted", _interrupted, run
    yield "settings", _settings, run
    yield "supervisord", _daemon, ("busy",)
    yield "redis", _redis, ()
    yield "other_misp", _other_misps, ()
    yield "leftover", _leftover, (*run, "other_misp")
    yield "worker_set", _worker_set, (*run, "other_misp")
    yield "unmanaged", _unmanaged, ()
    yield "workers", _by_state, ("busy", "other_misp")
    yield "disk", _disk, ()
    yield "view", partial(_view, rest_faults=rest_faults), unseen
    yield "web", partial(_web, rest_faults=rest_faults), unseen
    yield "old_workers", old_workers.faults, (*run, "leftover")
    yield (
        *("proof", _stale_proof),
        (*unseen, "leftover", "worker_set", "workers", "view", "old_workers"),
    )


def shows_in_view(seen: SeenForStatus) -> bool:
    """Whether MISP's own view tells anything: without its Redis MISP sees no workers."""
    return seen.settings.is_on and not seen.new_backend.error


def _misp(target: Target, seen: SeenForStatus) -> Iterator[str]:
    at = f"{target.settings.misp_root}/app/Config/config.php"
    if problem := misp.root(target, seen) or seen.tree.error:
        yield problem
    elif seen.tree.config_mode < 0:
        yield f"{at} is missing: finish MISP's own installation first"
    elif seen.php.version == (0, 0, 0):
        yield from system.php(target, seen)
    elif seen.settings.error:
        yield f"{at} {seen.settings.error}: mend the file"
    elif problem := misp.cake(target, seen):
        yield problem


def _settings(target: Target, seen: SeenForStatus) -> Iterator[str]:
    """Workers keep the settings they began with: a broken one shows when the next job is queued."""
    if not seen.settings.is_on:
        return
    if away := list(misp.workers_on_another_host(seen.settings)):
        yield from away
        return
    if moved := list(redis.moves(seen.settings)):
        yield from moved
        return
    strict = not target.database_mode
    if wrong := parse.wrong_settings(seen.settings, target.misp_settings(), strict=strict):
        yield (
            f"MISP's settings are not as the migration leaves them ({', '.join(wrong)}): run "
            "the deploy again, which sets them"
        )


def _busy(_: Target, seen: SeenForStatus) -> Iterator[str]:
    if seen.system.busy:
        yield f"{seen.system.busy}: wait until that run has ended"
    elif seen.run_state.is_at_work:
        yield "a step of an earlier run is still at work here: wait a little, then look again"


def _interrupted(_: Target, seen: SeenForStatus) -> Iterator[str]:
    if not seen.run_state.has_state or seen.tree.error:  # then nothing is known of the proof
        return
    reasons = (
        (seen.settings.is_pending, "MISP does not have its new password yet"),
        (seen.libraries.is_unfinished, "Composer was cut off"),
        (any(unit.is_held for unit in seen.old_workers.units), "old workers are half stopped"),
        (not seen.proof.proven, "no proof"),
    )
    if found := [words for is_so, words in reasons if is_so]:
        last = f" (last run: {seen.run_state.last_run})" if seen.run_state.last_run else ""
        yield (
            f"a migration of this host was interrupted or failed{last}: {', '.join(found)}. Run "
            f"the deploy again to finish it, or {program('rollback')} to go back"
        )


def _stale_proof(_: Target, seen: SeenForStatus) -> Iterator[str]:
    if seen.run_state.has_state and seen.proof.evidence not in (seen.proof.proven, ""):
        yield (
            "the proof is for another state than this one (workers' file, Redis settings, MISP's "
            "or PHP's version): run the deploy again, which proves this state"
        )


def _daemon(target: Target, seen: SeenForStatus) -> Iterator[str]:
    unit, name = seen.supervisor.unit, word(seen.supervisor.identity.supervisor_unit)
    if not seen.settings.is_on:
        return
    if seen.supervisor.other_daemon:
        yield seen.supervisor.other_daemon
        return
    faults = [] if unit.active == "active" else [f"is {unit.active or 'absent'}"]
    lost = [MissingFolder(folder, "", "") for folder in seen.supervisor.lost_folders]
    lacking = [*lost, *seen.supervisor.missing_folders] if faults else []
    if lacking:
        faults.append(f"cannot start without {supervisor.listed(lacking)}")
    elif faults and seen.supervisor.error:
        yield (
            f"supervisord {faults[0]}, and there is a fault in its files: {seen.supervisor.error}. "
            f"Correct that, then run `systemctl start {name}`"
        )
        return
    verb = "start" if faults else ""
    if not unit.starts_at_boot:
        verb = "enable --now" if faults else "enable"
        faults.append(f"does not start at boot ({unit.enabled or 'no unit'})")
    if faults:
        first = f"{supervisor.makes(lacking)}, then " if lacking else ""
        if unit.enabled.startswith("masked"):
            first += f"`systemctl unmask {name}`, then "
        why = _why_it_ended(name, is_up=unit.active == "active", lacking=lacking)
        yield f"supervisord {' and '.join(faults)}: run {first}`systemctl {verb} {name}`{why}"
    if unit.active == "active" and (problem := supervisor.unknown_programs(seen.supervisor)):
        yield problem


def _why_it_ended(unit: str, *, is_up: bool, lacking: list[MissingFolder]) -> str:
    if lacking:
        return ". After a run of the deploy the unit makes supervisord's own and our workers'"
    return "" if is_up else f". `journalctl -u {word(unit)}` says why it ended"


def _redis(_: Target, seen: SeenForStatus) -> Iterator[str]:
    is_elsewhere = any(redis.moves(seen.settings))  # by the inventory, which has a sentence already
    if seen.settings.is_on and seen.new_backend.error and not is_elsewhere:
        yield _without_redis(seen)
    elif seen.settings.is_on and (fault := parse.impatience(seen.settings)):
        yield fault
    if seen.new_backend.aside and not seen.run_state.is_at_work:
        yield (
            f"{seen.new_backend.aside} job(s) were set aside by a step that was cut off, and no "
            "worker takes them: run the deploy again, which puts them back (or "
            f"{program('rollback')})"
        )


def _without_redis(seen: SeenForStatus) -> str:
    group = parse.group_workers(seen.supervisor.workers).values()
    workers = "The workers come back by themselves"
    if any(one.state == "FATAL" for one in group):
        workers = f"supervisord has given workers up, so then run `supervisorctl start '{GROUP}:*'`"
    return (
        f"{redis.place(seen.settings.wanted)}, cannot be used: "
        f"{seen.new_backend.error.rstrip('.')}. Start it, or correct MISP's SimpleBackgroundJobs "
        f"settings. {workers}"
    )


def _other_misps(target: Target, seen: SeenForStatus) -> Iterator[str]:
    yield from supervisor.other_misps(target, seen.supervisor)


def _leftover(_: Target, seen: SeenForStatus) -> Iterator[str]:
    if seen.settings.error or seen.settings.is_on:
        return  # where that is not known there is a sentence already
    if parse.group_workers(seen.supervisor.workers):
        idle = "" if seen.old_workers.processes else ", and no old worker runs, so no job is done"
        yield (
            f"workers of the new backend run, but MISP does not use it{idle}: run "
            f"{program('deploy')} to finish, or {program('rollback')} to take them away"
        )


def _is_known(seen: SeenForStatus) -> bool:
    """Whether it is known which workers MISP's new backend has."""
    daemon = seen.supervisor
    is_told = daemon.unit.active == "active" and not supervisor.unknown_programs(daemon)
    return seen.settings.is_on and is_told


def _worker_set(target: Target, seen: SeenForStatus) -> Iterator[str]:
    """Report workers too few or too many."""
    if not _is_known(seen):
        return
    group = parse.group_workers(seen.supervisor.workers)
    if missing := [name for name in target.process_names if name not in group]:
        yield f"{parse.listed(missing)} {parse.are(missing)} missing: run the deploy again"
    if extra := sorted(set(group) - set(target.process_names)):
        yield (
            f"{parse.listed(extra)} {parse.are(extra)} not wanted: run the deploy again, or "
            "correct misp_workers"
        )
    if strays := seen.workers.strays:
        yield (
            f"{len(strays)} worker(s) of a supervisord that was killed run on beside the group, "
            "and nobody counts or stops them: run the deploy again, which ends each after its job"
        )


def _unmanaged(_: Target, seen: SeenForStatus) -> Iterator[str]:
    """Report this MISP's workers that the group does not have."""
    yield from supervisor.root_strays(seen.workers)
    yield from supervisor.elsewhere(seen.workers)


def _by_state(target: Target, seen: SeenForStatus) -> Iterator[str]:
    group = parse.group_workers(seen.supervisor.workers)
    fine = {"RUNNING"}
    if seen.new_backend.error:  # then they start in vain, which is no fault of their own
        fine |= _IN_VAIN
    bad = [
        group[name]
        for name in target.process_names
        if name in group and group[name].state not in fine
    ]
    if bad and _is_known(seen):
        names = [worker.name for worker in bad]
        yield f"{parse.listed(names)} {parse.are(names)} {_states(bad)}: {_remedy(bad)}"


def _states(bad: list[Worker]) -> str:
    """Return the state that they share with what supervisord notes of it, or how many have each."""
    counts = Counter(worker.state for worker in bad)
    if len(counts) > 1:
        shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        return f"not running ({shown})"
    # A moment is the note of other states: it would tell hosts apart that have one cause.
    notes = {worker.note for worker in bad if worker.state in ("FATAL", "BACKOFF") and worker.note}
    return f"{bad[0].state} ({notes.pop()})" if len(notes) == 1 else bad[0].state


def _remedy(bad: list[Worker]) -> str:
    """Return one command that starts them all, whatever their states are."""
    programs = {parse.program_of(worker.name) for worker in bad}
    log = f"{LOG_DIR}/{programs.pop() if len(programs) == 1 else ''}*.log"
    name = word(bad[0].name if len(bad) == 1 else f"{GROUP}:*")
    states = {worker.state for worker in bad}
    if states <= {"STARTING", "BACKOFF"}:
        return f"supervisord tries again. If this stays so, see {log}"
    start = f"run `supervisorctl start {name}`"
    if states <= {"STOPPED"}:
        return start
    return f"see {log}, mend the cause, then {start}"


def _view(target: Target, seen: SeenForStatus, rest_faults: Sequence[str]) -> Iterator[str]:
    if not shows_in_view(seen) or seen.supervisor.unit.active != "active":
        return  # what MISP cannot see then has a sentence already
    # MISP cannot see as good what is not: that is the workers' fault, reported as such.
    group = parse.group_workers(seen.supervisor.workers)
    bad = {
        parse.program_of(name)
        for name in {*target.process_names, *group}
        if name not in group or group[name].state != "RUNNING" or name not in target.process_names
    }
    counts = {queue: count for queue, count in target.worker_counts.items() if queue not in bad}
    faults = [*parse.wrong_misp_view(seen.view, counts)]
    for one in rest_faults:
        said = one.removeprefix(OVER_REST)
        # What is wrong with the workers themselves shows over REST as well.
        if said != one and said not in faults and not (bad and "as good:" in one):
            faults.append(one)
    if faults:
        yield (
            f"MISP's own view (cake Admin getWorkers) is wrong: {'; '.join(faults)}. {_VIEW_REMEDY}"
        )


def _web(_: Target, __: SeenForStatus, rest_faults: Sequence[str]) -> Iterator[str]:
    for one in rest_faults:
        if not one.startswith(OVER_REST):  # the web tier gave no view at all
            yield (
                f"MISP's web tier shows no workers: {one}. Check the web server, PHP-FPM and "
                "misp_url"
            )


def _disk(target: Target, seen: SeenForStatus) -> Iterator[str]:
    lacking = list(system.lack_of_disk(target, seen, DISK_KB))
    yield from lacking
    if seen.system.inodes == 0 and not lacking:
        yield "no inode is free in /var/log or /var/lib: remove files there"
