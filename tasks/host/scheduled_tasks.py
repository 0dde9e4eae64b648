"""MISP's scheduled tasks go from the old backend to cron or to MISP's own scheduler, and back.

Before 2.5.18 such a task is a row in MISP's table `tasks` and a delayed job, which enqueues the
next one when it runs. The job counts only while it names the time that the row has (ServerShell's
enqueuePull and so on): row and job together say what would run, and when.

Nothing runs twice or is left out: the hand-over is made when the old workers have gone and nobody
touches the delayed jobs. A run that is due by then, or before cron can have read its file, becomes
a job of the new backend, once, also when the hand-over is cut off and repeated.
"""

import hashlib
import json
from typing import Dict, List, NamedTuple, Optional

from tasks.host import conversion, cron, files, old_tasks, originals, programs, systemd
from tasks.host.cron import Task
from tasks.host.errors import HostError
from tasks.host.jobs import OldJob, compact, new_id
from tasks.host.misp import Misp
from tasks.host.new_backend import Lock, takes_scripts, truth
from tasks.host.old_backend import DELAYED, delayed_until
from tasks.host.parts import ScheduledTasks
from tasks.host.queues import Backend
from tasks.host.site import LEAVE, Desired, Site
from tasks.host.waiting import Clock

SOON = 120  # seconds: cron looks for changed files once a minute
_JUST_BEGUN = 5  # seconds of a minute in which cron may be about to start what is due in it
_RETURN_ROW = "UPDATE tasks SET next_execution_time = ?, process_id = ? WHERE id = ?"
# KEYS: the list, the times of delayed jobs. ARGV: the record, its time.
_REMOVE = """
redis.call("ZCARD", KEYS[2])
if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if redis.call("LLEN", KEYS[1]) == 0 then redis.call("ZREM", KEYS[2], ARGV[2]) end
return 1
"""
_RETURN = """
redis.call("LREM", KEYS[1], 0, ARGV[1])
redis.call("ZADD", KEYS[2], ARGV[2], ARGV[2])
redis.call("RPUSH", KEYS[1], ARGV[1])
return 1
"""


class TaskError(HostError):
    """A scheduled task cannot be handed over; it stays where it is."""


class _Kept(NamedTuple):
    """What was handed over, in a file of root's."""

    tasks: Dict[str, Task]  # by kind
    is_done: bool  # False: it was cut off


def look(one: Misp) -> ScheduledTasks:
    """What is to be handed over, and the lines that cron gets; nothing with `leave`."""
    nothing = ScheduledTasks(0, [], "", [], [])
    if one.site.scheduled_tasks == LEAVE:
        return nothing
    try:
        old = one.old()
        delayed = [] if old is None else old_tasks.entries(old)
        refuses_scripts = old is not None and bool(delayed) and not takes_scripts(old)
    except old_tasks.OddTasksError as error:
        return nothing._replace(left=1, odd=str(error))
    except HostError:
        return nothing  # the look at the old backend says why
    kept = _kept(one.site)
    if kept.is_done and not delayed:
        return nothing
    unfinished = 0 if kept.is_done else 1
    try:
        found = old_tasks.find(one, delayed)
        tasks = _with_new(one, kept, found.tasks, Clock().epoch())
    except HostError as error:
        return nothing._replace(left=len(delayed) + unfinished, error=str(error))
    names = one.user.name, one.site.misp_root
    lines = cron.lines(tasks.values(), *names) if cron.can_name(*names) else []
    lines += [_told(task) for task in tasks.values() if task.job or task.is_native]
    left = len(found.entries) + unfinished
    lacks = _lacks(tasks)
    return ScheduledTasks(
        left, lines, "", found.unfit, lacks, refuses_scripts=bool(left) and refuses_scripts
    )


def _lacks(tasks: Dict[str, Task]) -> List[str]:
    """What cron's lines need and this host does not have."""
    if all(task.is_native for task in tasks.values()):
        return []
    units = systemd.show(["cron.service", "crond.service"])
    runs = any(unit.active == "active" for unit in units)
    return [*([] if runs else ["cron"]), *([] if programs.find("flock") else ["flock"])]


def hand_over_tasks(site: Site, desired: Desired) -> List[str]:
    """As `hand_over`, where a run was cut off before it, or no old worker lives."""
    with Misp(site, desired) as one:
        return hand_over(one)


def hand_over(one: Misp) -> List[str]:
    """Have cron, or MISP's own scheduler, run the scheduled tasks, and the old backend not.

    To be called while no old worker lives.

    Raises:
        TaskError: nothing can take over a task; all stay as they are.
    """
    old = one.old()
    if one.site.scheduled_tasks == LEAVE or old is None:
        return []
    if _kept(one.site).is_done and not old_tasks.entries(old):
        return []
    new, clock = one.new(), Clock()
    with Lock(new, clock):  # another host may share the Redis: the first one gets a task
        found = old_tasks.find(one, old_tasks.entries(old))
        if found.unfit:
            raise TaskError("nothing can take over MISP's scheduled task " + found.unfit[0])
        tasks = _with_new(one, _kept(one.site), found.tasks, clock.epoch())
        _keep(one.site, _Kept(tasks, is_done=False))
        _write_crontab(one, tasks)
        for task in tasks.values():
            if task.job:
                conversion.arrive(new, _job(task), task.job, clock)
        for entry in found.entries:
            keys = (old.key(entry.name), old.key(DELAYED))
            words = (entry.record, delayed_until(entry.name))
            truth(old.redis.command("EVAL", _REMOVE, 2, *keys, *words), "a scheduled task")
        _keep(one.site, _Kept(tasks, is_done=True))
    return [_told(tasks[kind]) for kind in found.tasks]


def _told(task: Task) -> str:
    if task.is_native:
        return "MISP's scheduled task %s: MISP's own scheduler has it" % task.kind
    due = ["is due, and a job of the new backend does it"] if task.job else []
    later = ["is cron's (%s)" % cron.FILE] if task.due else []
    return "MISP's scheduled task %s %s" % (task.kind, "; then it ".join(due + later))


def _with_new(one: Misp, kept: _Kept, found: Dict[str, Task], now: int) -> Dict[str, Task]:
    """Merge the tasks handed over earlier with those found now.

    Of a hand-over that was cut off, cron has done what it had a line for. A job keeps its id, so
    it comes once.
    """
    crontab = (files.read(cron.FILE) or b"").decode("ascii", "replace")
    tasks = dict(kept.tasks)
    for kind, task in {**({} if kept.is_done else kept.tasks), **found}.items():
        known = kept.tasks.get(kind, task)
        is_known = kind in kept.tasks and known.as_handed_over == task.as_handed_over
        if task.is_native:
            tasks[kind] = task
        elif not (is_known and cron.has(crontab, known)):
            job = known.job if is_known else ""
            if task.was <= now + SOON:
                job = job or new_id()
            due = cron.next_due(task, task.was, now + SOON)
            tasks[kind] = task._replace(due=due, job=job)
    return tasks


def _write_crontab(one: Misp, tasks: Dict[str, Task]) -> None:
    if any(task.due for task in tasks.values()):
        text = cron.crontab(tasks.values(), one.user.name, one.site.misp_root)
        originals.keep(one.site, cron.FILE)
        files.write(cron.FILE, text.encode("ascii"), 0o644)


def _job(task: Task) -> OldJob:
    command, scope = cron.COMMANDS[task.kind]
    return OldJob("default", task.job, "server", [command, str(task.user), scope])


def revoke(site: Site) -> None:
    """Have cron run nothing, as the old workers do so again."""
    if originals.is_kept(site, cron.FILE):
        originals.restore(site, cron.FILE)


def give_back(one: Misp) -> List[str]:
    """Have the old backend run the tasks again, at their next times, and cron not.

    Cron has run the task at times that have passed. A task that was changed in MISP since has a
    delayed job of its own there.
    """
    site, clock, old = one.site, Clock(), one.old()
    tasks = _kept(site).tasks
    if not tasks or old is None:
        return []
    second = clock.epoch() % 60
    if second < _JUST_BEGUN:
        clock.sleep(_JUST_BEGUN - second)
    revoke(site)
    rows = {} if all(task.is_native for task in tasks.values()) else old_tasks.rows(one)
    given = [
        task
        for task in tasks.values()
        if _give_back(one, old, task, rows.get(task.kind), clock.epoch())
    ]
    files.remove(_file(site))
    return ["MISP's scheduled task %s is the old backend's again" % task.kind for task in given]


def _give_back(one: Misp, old: Backend, task: Task, row: Optional[old_tasks.Row], now: int) -> bool:
    due = cron.next_due(task, task.was if task.is_native else task.due, now)
    if not due or not (task.is_native or _is_unchanged(task, row)):
        return False
    id_ = hashlib.md5(("%s %d" % (task.kind, due)).encode()).hexdigest()  # noqa: S324
    if not task.is_native:
        one.bridge.sql(_RETURN_ROW, due, id_, task.row)
    keys = (old.key("%s:%d" % (DELAYED, due)), old.key(DELAYED))
    reply = old.redis.command("EVAL", _RETURN, 2, *keys, _record(task, due, id_), due)
    return truth(reply, "a scheduled task")


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


def _file(site: Site) -> str:
    return site.state_dir + "/scheduled-tasks"


def _kept(site: Site) -> _Kept:
    data = files.read(_file(site))
    if data is None:
        return _Kept({}, is_done=True)
    kept = json.loads(data.decode())
    return _Kept({one[0]: Task(*one) for one in kept["tasks"]}, kept["is_done"])


def _keep(site: Site, kept: _Kept) -> None:
    originals.begin(site)
    text = json.dumps({"tasks": list(kept.tasks.values()), "is_done": kept.is_done})
    files.write(_file(site), text.encode())
