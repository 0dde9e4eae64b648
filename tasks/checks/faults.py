"""What is wrong with a host's workers: each fault one sentence for one cause, with its remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tasks import parse
from tasks.backlog import left_behind, nobody_there
from tasks.checks import misp, old_workers, redis, supervisor, system
from tasks.checks.seen import SeenForStatus
from tasks.host.parts import MissingFolder, Worker
from tasks.host.remedies import word
from tasks.host.site import GROUP, LOG_DIR
from tasks.target import Target

DISK_KB = 100_000  # a worker that cannot write its log or a job's file is of no use
_LIVING = ("active", "activating", "reloading")
_VIEW_REMEDY = (
    "If the workers themselves are well, the password, the libraries or the view on /proc are "
    "wrong: run deploy.py again"
)


def of(target: Target, seen: SeenForStatus, rest_faults: Sequence[str] = ()) -> Iterator[str]:
    """Return the faults of this host; `rest_faults` are those that MISP's web tier shows."""
    seen = old_workers.without_programs(seen)
    for check in _CHECKS:
        yield from check(target, seen)
    yield from _view(target, seen, rest_faults)
    for check in _LAST_CHECKS:
        yield from check(target, seen)


def shows_in_view(seen: SeenForStatus) -> bool:
    """Whether MISP's own view tells anything: without its Redis MISP sees no workers."""
    return seen.settings.is_on and not seen.new_backend.error


def described(target: Target, seen: SeenForStatus) -> Iterator[str]:
    """Return what there is, right or wrong."""
    seen = old_workers.without_programs(seen)
    version = parse.dotted(target.version) if any(target.version) else "unknown"
    state = "unknown" if seen.settings.error else "on" if seen.settings.is_on else "off"
    yield f"MISP {version}, new backend {state}"
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


def _new_queues(seen: SeenForStatus) -> str:
    backend = seen.new_backend
    if backend.error:
        return f"unknown: {backend.error}"
    parts = [f"{count} waiting in {queue}" for queue, count in backend.waiting.items() if count]
    return ", ".join([*(parts or ["0 waiting"]), f"{len(seen.workers.busy)} running"])


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
            "deploy.py again, which sets them"
        )


def _run(target: Target, seen: SeenForStatus) -> Iterator[str]:
    """Report a migration that was interrupted, or one that is under way."""
    if seen.system.busy:
        yield f"{seen.system.busy}: wait until that run has ended"
        return
    if seen.run_state.is_at_work:
        yield "a step of an earlier run is still at work here: wait a little, then look again"
        return
    if not seen.run_state.has_state:
        return
    found = (
        (seen.settings.is_pending, "MISP does not have its new password yet"),
        (seen.libraries.is_unfinished, "Composer was cut off"),
        (any(unit.is_held for unit in seen.old_workers.units), "old workers are half stopped"),
        (not seen.proof.proven, "no proof"),
    )
    reasons = [words for is_so, words in found if is_so]
    if reasons:
        last = f" (last run: {seen.run_state.last_run})" if seen.run_state.last_run else ""
        yield (
            f"a migration of this host was interrupted or failed{last}: {', '.join(reasons)}. Run "
            "deploy.py again to finish it, or rollback.py to go back"
        )
    elif seen.proof.evidence not in (seen.proof.proven, ""):
        yield (
            "the proof is for another state than this one (workers' file, Redis settings, MISP's "
            "or PHP's version): run deploy.py again, which proves this state"
        )


def _daemon(target: Target, seen: SeenForStatus) -> Iterator[str]:
    unit, name = seen.supervisor.unit, word(seen.supervisor.identity.supervisor_unit)
    if not seen.settings.is_on:
        return
    lost = [MissingFolder(folder, "", "") for folder in seen.supervisor.lost_folders]
    lacking = [*lost, *seen.supervisor.missing_folders]
    if unit.active != "active" and lacking:
        yield (
            f"supervisord is {unit.active or 'absent'} and cannot start without "
            f"{supervisor.listed(lacking)}: run {supervisor.makes(lacking)}, then `systemctl start "
            f"{name}`. After a run of deploy.py the unit makes supervisord's own and our workers'"
        )
    elif unit.active != "active" and seen.supervisor.error:
        yield (
            f"supervisord is {unit.active or 'absent'}, and there is a fault in its files: "
            f"{seen.supervisor.error}. Correct that, then run `systemctl start {name}`"
        )
    elif unit.active != "active":
        yield (
            f"supervisord is {unit.active or 'absent'}: run `systemctl start {name}`. `journalctl "
            f"-u {name}` says why it ended"
        )
    if not unit.starts_at_boot:
        yield (
            f"supervisord does not start at boot ({unit.enabled or 'no unit'}): run `systemctl "
            f"enable {name}`"
        )


def _redis(_: Target, seen: SeenForStatus) -> Iterator[str]:
    if seen.settings.is_on and seen.new_backend.error:
        yield (
            f"{redis.place(seen.settings.wanted)}, cannot be used: {seen.new_backend.error}. Start "
            "it, or correct MISP's SimpleBackgroundJobs settings. The workers come back by "
            "themselves, unless they are FATAL"
        )
    if seen.new_backend.aside:
        yield (
            f"{seen.new_backend.aside} job(s) were set aside by a step that was cut off, and no "
            "worker takes them: run deploy.py again, which puts them back (or rollback.py)"
        )
    if seen.settings.is_on and (fault := parse.impatience(seen.settings)):
        yield fault


def _workers(target: Target, seen: SeenForStatus) -> Iterator[str]:
    group = parse.group_workers(seen.supervisor.workers)
    others = list(supervisor.other_misps(target, seen.supervisor))
    yield from others
    yield from supervisor.root_strays(seen.workers)
    yield from supervisor.elsewhere(seen.workers)
    if strays := seen.workers.strays:
        yield (
            f"workers of a supervisord that was killed take jobs ({', '.join(map(str, strays))}), "
            "and nothing counts, logs or stops them: run deploy.py again, which ends them"
        )
    if seen.settings.error:
        return  # there is a sentence already: it is not known which backend MISP uses
    if others:
        return  # their group's file has the place of ours, so ours are missing
    if not seen.settings.is_on:
        if group:
            yield (
                "workers of the new backend run, but MISP does not use it: run deploy.py to "
                "finish, or rollback.py to take them away"
            )
        return
    if seen.supervisor.unit.active != "active":
        return  # there is a sentence already
    if problem := supervisor.unknown_programs(seen.supervisor):
        yield problem
        return
    missing = [name for name in target.process_names if name not in group]
    if missing:
        yield f"{parse.listed(missing)} {parse.are(missing)} missing: run deploy.py again"
    yield from _by_state(target, seen, group)
    if extra := sorted(set(group) - set(target.process_names)):
        yield (
            f"{parse.listed(extra)} {parse.are(extra)} not wanted: run deploy.py again, or correct "
            "misp_workers"
        )


def _by_state(target: Target, seen: SeenForStatus, group: dict[str, Worker]) -> Iterator[str]:
    fine = {"RUNNING"}
    if seen.new_backend.error:  # then they start in vain and end, which is no fault of their own
        fine |= {"STARTING", "BACKOFF", "EXITED"}
    bad = [
        group[name]
        for name in target.process_names
        if name in group and group[name].state not in fine
    ]
    if bad:
        names = [worker.name for worker in bad]
        yield f"{parse.listed(names)} {parse.are(names)} {_states(bad)}: {_remedy(bad)}"


def _states(bad: list[Worker]) -> str:
    """Return the state that they share with what supervisord notes of it, or how many have each."""
    counts = Counter(worker.state for worker in bad)
    if len(counts) > 1:
        shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        return f"not running ({shown})"
    notes = {worker.note for worker in bad if worker.note}
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
    if misp.cake(target, seen) or any(supervisor.other_misps(target, seen.supervisor)):
        return
    # MISP cannot see as good what is not: that is the workers' fault, reported as such.
    group = parse.group_workers(seen.supervisor.workers)
    bad = {
        parse.program_of(name)
        for name in {*target.process_names, *group}
        if name not in group or group[name].state != "RUNNING" or name not in target.process_names
    }
    counts = {queue: count for queue, count in target.worker_counts.items() if queue not in bad}
    faults = [*parse.wrong_misp_view(seen.view, counts)]
    web = []
    for one in rest_faults:
        said = one.removeprefix("over REST, ")
        if said == one:
            web.append(one)  # the web tier gave no view at all
        # What is wrong with the workers themselves shows over REST as well.
        elif said not in faults and not (bad and "as good:" in one):
            faults.append(one)
    if faults:
        yield (
            f"MISP's own view (cake Admin getWorkers) is wrong: {'; '.join(faults)}. {_VIEW_REMEDY}"
        )
    for one in web:
        yield f"MISP's web tier shows no workers: {one}. Check the web server, PHP-FPM and misp_url"


def _old_workers(target: Target, seen: SeenForStatus) -> Iterator[str]:
    old, backend = seen.old_workers, seen.old_backend
    if not seen.settings.is_on:
        yield from _old_backend_alone(target, seen)
        return
    programs = list(old_workers.programs(target, seen))
    yield from programs
    units = [unit.name for unit in old.units if unit.active in _LIVING or unit.starts_at_boot]
    back = [*units, *(launcher.path for launcher in old.launchers)]
    alive = len(old.processes)
    if back or (alive and not programs):
        what = f"{alive} old worker process(es) run" if alive else "the old workers are stopped"
        how = f", and {', '.join(back)} can start them again" if back else ""
        again = ""
        if alive and not back and (where := " and ".join(one.words for one in old.origins)):
            how = f", in {where}"
            again = f". If they come back, look what starts them in {where} and take it out"
        yield f"{what}{how}: run deploy.py again, which drains and retires them{again}"
        yield from _stuck(target, seen)
    if problem := left_behind(backend):
        yield problem
    elif not (back or alive) and (left := backend.convertible):
        yield (
            f"{left} job(s) wait in the old backend, and no worker does them: run rollback.py, "
            f"which takes the old workers back, or start them by {old_workers.starts(target)} and "
            "run deploy.py again"
        )


def _old_backend_alone(target: Target, seen: SeenForStatus) -> Iterator[str]:
    if seen.tree.error or seen.tree.config_mode < 0 or seen.settings.error:
        return  # there is a sentence already: it is not known which backend MISP uses
    if not seen.old_workers.processes:
        yield (
            "MISP uses its old backend, but no old worker runs, so no job is done: start the old "
            f"workers (their unit, or {old_workers.starts(target)}), or run deploy.py"
        )
    elif seen.old_backend.error:
        yield (
            f"the old workers' Redis cannot be asked: {seen.old_backend.error}. Start it, or "
            "correct app/Plugin/CakeResque/Config/config.php"
        )
    else:
        yield from _stuck(target, seen)


def _stuck(target: Target, seen: SeenForStatus) -> Iterator[str]:
    look = old_workers.look(target, seen)
    if look.workers and (problem := nobody_there(look)):
        yield f"the old backend has {seen.old_backend.backlog}, and {problem}"


def _disk(target: Target, seen: SeenForStatus) -> Iterator[str]:
    yield from system.lack_of_disk(target, seen, DISK_KB)
    if seen.system.inodes == 0:
        yield "no inode is free in /var/lib: remove files there"


_Check = Callable[[Target, SeenForStatus], Iterator[str]]
_CHECKS: tuple[_Check, ...] = (_misp, _settings, _run, _daemon, _redis, _workers)
_LAST_CHECKS: tuple[_Check, ...] = (_old_workers, _disk)
