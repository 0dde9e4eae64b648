"""MISP's scheduled tasks go from the old backend to cron or to MISP's own scheduler, and back.

Before 2.5.18 such a task is a row in MISP's table `tasks` and a delayed job, which enqueues the
next one when it runs. The job counts only while it names the time that the row has (ServerShell's
enqueuePull and so on): row and job together say what would run, and when.

Nothing runs twice or is left out, but for what docs/limits.md names: the hand-over is made when the
old workers have gone and nobody touches the delayed jobs. A run that is due by then, or before cron
can have read its file, becomes a job of the new backend, once.

Root's record is on disk first. Then cron gets its file, and each delayed job goes in one step to a
list of held ones. Until all are there a hand-over that fails can be undone, and from there on it
can be finished.
"""

import hashlib
from contextlib import suppress
from typing import Dict, List, Optional

from tasks.host import conversion, cron, files, handed_over, old_tasks, originals, programs, systemd
from tasks.host.cron import Task
from tasks.host.done import Done
from tasks.host.errors import HostError
from tasks.host.handed_over import Kept
from tasks.host.jobs import OldJob, compact, new_id
from tasks.host.misp import Misp
from tasks.host.new_backend import Lock, takes_scripts
from tasks.host.parts import ScheduledTasks
from tasks.host.queues import Backend
from tasks.host.site import LEAVE, Desired, Site
from tasks.host.waiting import Clock

SOON = 120  # seconds: cron looks for changed files once a minute
_NOBODYS = "Scheduled tasks are nobody's until the next run: run again, or run the rollback"
_JUST_BEGUN = 5  # seconds of a minute in which cron may be about to start what is due in it
_RETURN_ROW = "UPDATE tasks SET next_execution_time = ?, process_id = ? WHERE id = ?"


class TaskError(HostError):
    """A scheduled task cannot be handed over."""


def look(one: Misp) -> ScheduledTasks:
    """Tell which tasks are to be handed over, and the lines that cron gets; none with `leave`."""
    nothing = ScheduledTasks(0, [], "", [], [])
    if one.site.scheduled_tasks == LEAVE:
        return nothing
    kept = handed_over.load(one.site)
    try:
        old = one.old()
        delayed = [] if old is None else old_tasks.entries(old)
        if old is None or (kept.is_done and not delayed):
            return nothing
        moving = _moving(old, kept)
        refuses_scripts = bool(delayed) and not takes_scripts(old)
    except old_tasks.OddTasksError as error:
        return nothing._replace(left=1, odd=str(error))
    except HostError:
        return nothing  # the look at the old backend says why
    unfinished = 0 if kept.is_done else 1
    try:
        found = old_tasks.find(one, delayed, kept.tasks)
    except HostError as error:
        seen = nothing._replace(left=len(delayed) + unfinished)
        is_odd = isinstance(error, old_tasks.OddTasksError)
        return seen._replace(odd=str(error)) if is_odd else seen._replace(error=str(error))
    tasks = _with_new(kept, moving, found.tasks, Clock().epoch())
    lines = cron.described(tasks.values(), one.user.name, one.site.misp_root)
    left = len(found.entries) + unfinished
    lacks = _lacks(tasks)
    return ScheduledTasks(
        left, lines, "", found.unfit, lacks, refuses_scripts=bool(left) and refuses_scripts
    )


def _lacks(tasks: Dict[str, Task]) -> List[str]:
    """Return the programs that cron's lines need and that this host lacks."""
    if all(task.is_native for task in tasks.values()):
        return []
    units = systemd.show(["cron.service", "crond.service"])
    runs = any(unit.active == "active" for unit in units)
    return [*([] if runs else ["cron"]), *([] if programs.find("flock") else ["flock"])]


def hand_over_tasks(site: Site, desired: Desired) -> Done:
    """Hand the scheduled tasks over where a run was cut off before it, or no old worker lives."""
    with Misp(site, desired) as one:
        try:
            return hand_over(one)
        except HostError as error:
            if _is_crons(site):
                raise
            raise TaskError("%s. %s" % (error, _NOBODYS)) from None


def hand_over(one: Misp, *, workers_return: bool = False) -> Done:
    """Have cron, or MISP's own scheduler, run the scheduled tasks, and the old backend not.

    To be called while no old worker lives.

    Args:
        workers_return: they start again if this fails, and then the old backend keeps its tasks.

    Raises:
        HostError: nothing can take over a task, or the hand-over failed.
    """
    old = one.old()
    if one.site.scheduled_tasks == LEAVE or old is None:
        return Done([])
    if handed_over.load(one.site).is_done and not old_tasks.entries(old):
        return Done([])
    new, clock = one.new(), Clock()
    with Lock(new, clock):  # another host may share the Redis: the first one gets a task
        try:
            return _hand_over(one, old, new, clock)
        except Exception as error:  # the old workers come back whatever it is
            if not workers_return or _undo(one, old, new, clock):
                raise
            why = str(error) or type(error).__name__
            raise TaskError("%s. %s" % (why, _NOBODYS)) from error


def _hand_over(one: Misp, old: Backend, new: Backend, clock: Clock) -> Done:
    kept = handed_over.load(one.site)
    if not kept.is_done and kept.is_removed:
        kept = _finish(one, old, new, clock, [])
    found = old_tasks.find(one, old_tasks.entries(old), kept.tasks)
    if found.unfit:
        raise TaskError("nothing can take over MISP's scheduled task " + found.unfit[0])
    if kept.is_done and not found.entries:
        return Done([])
    tasks = tasks_after(old, kept, found.tasks, clock.epoch())
    if kept.is_done:
        kept = Kept({}, False, kept.tasks, files.read(cron.FILE), new_id(), False)
    kept = kept._replace(tasks=tasks)
    handed_over.keep(one.site, kept)
    _write_crontab(one, kept)
    _finish(one, old, new, clock, found.entries)
    taken = [tasks[kind] for kind in found.tasks]
    lines = cron.described(taken, one.user.name, one.site.misp_root)
    return Done([cron.told(task) for task in taken], tasks=tuple(lines))


def tasks_after(old: Backend, kept: Kept, found: Dict[str, Task], now: int) -> Dict[str, Task]:
    """All tasks that will have been handed over, by kind, with what a hand-over makes of them.

    Args:
        found: those that are handed over now.
        now: seconds since 1970.
    """
    return _with_new(kept, _moving(old, kept), found, now)


def _moving(old: Backend, kept: Kept) -> Dict[str, Task]:
    """Return the tasks that a hand-over which was cut off has still to hand over.

    The old backend may have worked since. It has run the tasks that are neither delayed nor held
    any more.
    """
    if kept.is_removed:
        return kept.moving
    entries = [*old_tasks.entries(old), *old_tasks.held(old, kept.token)]
    there = {(entry.kind, entry.time) for entry in entries}
    return {kind: task for kind, task in kept.moving.items() if (kind, task.was) in there}


def _finish(
    one: Misp, old: Backend, new: Backend, clock: Clock, entries: List[old_tasks.Entry]
) -> Kept:
    """Remove the delayed jobs; when all have gone, do the runs that are due. It may be repeated."""
    kept = handed_over.load(one.site)
    for entry in entries:
        old_tasks.hold(old, entry, kept.token)
    handed_over.keep(one.site, kept._replace(is_removed=True))
    for task in kept.tasks.values():
        if task.job:
            conversion.arrive(new, _job(task), task.job, clock)
    done = handed_over.done(kept.tasks)
    handed_over.keep(one.site, done)
    with suppress(HostError):
        old_tasks.forget_held(old, kept.token)
    return done


def _undo(one: Misp, old: Backend, new: Backend, clock: Clock) -> bool:
    """Have the old backend keep the tasks of a hand-over that failed; False: they are nobody's.

    Where it is too late for that, all of them are handed over.
    """
    kept = handed_over.load(one.site)
    if kept.is_done:
        return True
    try:
        if kept.is_removed or _has_cron_run(kept, clock.epoch()):
            moving = {(kind, task.was) for kind, task in kept.moving.items()}
            delayed = old_tasks.entries(old)
            entries = [entry for entry in delayed if (entry.kind, entry.time) in moving]
            _finish(one, old, new, clock, entries)
            return True
        _restore_crontab(one.site, kept)
        for entry in old_tasks.held(old, kept.token):
            old_tasks.release(old, entry, kept.token)
        if kept.earlier:
            handed_over.keep(one.site, handed_over.done(kept.earlier))
        else:
            handed_over.forget(one.site)
    except Exception:
        return False  # the caller tells why the hand-over failed
    return True


def _has_cron_run(kept: Kept, now: int) -> bool:
    """Whether the time of one of cron's lines has come since they were written."""
    text = _crontab()
    return any(0 < task.due <= now and cron.has(text, task) for task in kept.moving.values())


def _is_crons(site: Site) -> bool:
    """Whether cron has all that a hand-over that failed is about, and nothing of it was due."""
    kept, text = handed_over.load(site), _crontab()
    return not kept.is_done and all(
        not task.job and (task.is_native or cron.has(text, task)) for task in kept.moving.values()
    )


def _crontab() -> str:
    return (files.read(cron.FILE) or b"").decode("ascii", "replace")


def _restore_crontab(site: Site, kept: Kept) -> None:
    """Have cron's file as it was before the hand-over."""
    if files.read(cron.FILE) == kept.crontab:
        return
    if kept.crontab is None:
        files.remove(files.real_path(cron.FILE))
        return
    original = originals.kept(site, cron.FILE)
    mode = original.mode if original is not None and original.existed else 0o644
    files.write(cron.FILE, kept.crontab, mode)


def _with_new(
    kept: Kept, moving: Dict[str, Task], found: Dict[str, Task], now: int
) -> Dict[str, Task]:
    """Merge the tasks handed over earlier with those found now.

    Of a hand-over that was cut off, cron has done what it had a line for. A job keeps its id, so
    it comes once.
    """
    crontab = _crontab()
    tasks = dict(kept.tasks if kept.is_done else kept.earlier)
    for kind, task in {**moving, **found}.items():
        known = kept.tasks.get(kind, task)
        is_known = kind in kept.tasks and known.as_handed_over == task.as_handed_over
        if task.is_native:
            tasks[kind] = task
        elif is_known and cron.has(crontab, known):
            tasks[kind] = known
        else:
            job = known.job if is_known else ""
            if task.was <= now + SOON:
                job = job or new_id()
            due = cron.next_due(task, task.was, now + SOON)
            tasks[kind] = task._replace(due=due, job=job)
    return tasks


def _write_crontab(one: Misp, kept: Kept) -> None:
    data = cron.file_of(kept.tasks.values(), one.user.name, one.site.misp_root)
    if data is None:
        _restore_crontab(one.site, kept)
        return
    originals.keep(one.site, cron.FILE)
    files.write(cron.FILE, data, 0o644)


def _job(task: Task) -> OldJob:
    command, scope = cron.COMMANDS[task.kind]
    return OldJob("default", task.job, "server", [command, str(task.user), scope])


def revoke(site: Site) -> None:
    """Have cron's file as it was before the migration."""
    if originals.is_kept(site, cron.FILE):
        originals.restore(site, cron.FILE)


def give_back(one: Misp) -> List[str]:
    """Have the old backend run the tasks again, at their next times, and cron not.

    Cron has run the task at times that have passed. A task that was changed in MISP since has a
    delayed job of its own there.
    """
    site, clock, old = one.site, Clock(), one.old()
    kept = handed_over.load(site)
    if not kept.tasks or old is None:
        return []
    # All that may fail to be read comes first, or cron would run nothing meanwhile.
    is_cron = not all(task.is_native for task in kept.tasks.values())
    rows = old_tasks.rows(one) if is_cron else {}
    tasks = kept.tasks if kept.is_done else {**kept.earlier, **_moving(old, kept)}
    there = {(entry.kind, entry.time) for entry in old_tasks.entries(old)}
    overdue = _overdue(one, kept)
    second = clock.epoch() % 60
    if second < _JUST_BEGUN:
        clock.sleep(_JUST_BEGUN - second)
    revoke(site)
    given = []
    for kind, task in tasks.items():
        start = task.was if task.is_native else task.due
        due = task.was if kind in overdue else cron.next_due(task, start, clock.epoch())
        row = rows.get(kind)
        is_there = (kind, due) in there and (row is None or row.time == due)
        if due and not is_there and (task.is_native or _is_unchanged(task, row)):
            _give_back(one, old, task, due)
            given.append(kind)
    handed_over.forget(site)
    with suppress(HostError):
        old_tasks.forget_held(old, kept.token)
    return ["MISP's scheduled task %s is the old backend's again" % kind for kind in given]


def _overdue(one: Misp, kept: Kept) -> List[str]:
    """Tasks that were due, and whose job a hand-over that was cut off has not brought."""
    due = [] if kept.is_done else [task for task in kept.tasks.values() if task.job]
    new = one.new() if due else None
    return [task.kind for task in due if new and not conversion.has_arrived(new, task.job)]


def _give_back(one: Misp, old: Backend, task: Task, due: int) -> None:
    id_ = hashlib.md5(("%s %d" % (task.kind, due)).encode()).hexdigest()  # noqa: S324
    if not task.is_native:
        one.bridge.sql(_RETURN_ROW, due, id_, task.row)
    old_tasks.add(old, due, _record(task, due, id_))


def _is_unchanged(task: Task, row: Optional[old_tasks.Row]) -> bool:
    """Whether the row has the rhythm that was handed over, at any of its times."""
    if row is None or (row.id, row.hours) != (task.row, task.hours):
        return False
    return (row.time - task.was) % max(1, task.hours * 3600) == 0


def _record(task: Task, due: int, id_: str) -> str:
    """A delayed job as MISP's TasksController writes it."""
    action = next(action for action, kind in old_tasks.ACTIONS.items() if kind == task.kind)
    numbers = [task.row, task.user] if task.kind == "push_all" else [task.user, task.row]
    words = dict(zip("0123", [action, due, *numbers]))
    arguments = dict(words, id=id_, s_time=due)
    return compact({"class": "ServerShell", "args": [arguments], "queue": "default", "track": True})
