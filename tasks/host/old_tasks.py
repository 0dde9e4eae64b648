"""MISP's scheduled tasks as the old backend's delayed jobs and MISP's table `tasks` have them.

All of that is the web user's word and becomes root's crontab. Here it becomes numbers, and words
of `cron`; no text goes further.
"""

import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from tasks.host import cron, old_backend
from tasks.host.cron import Task
from tasks.host.errors import WebUserError
from tasks.host.jobs import compact
from tasks.host.misp import Misp
from tasks.host.new_backend import truth
from tasks.host.queues import HELD_TASKS, Backend
from tasks.host.replies import PAGE, page, parsed, records
from tasks.host.site import CRON

ACTIONS = {
    "enqueuePull": "pull_all",
    "enqueuePush": "push_all",
    "enqueueFeedCache": "cache_feeds",
    "enqueueFeedFetch": "fetch_feeds",
    "enqueueCaching": "cache_exports",  # MISP's CLI has no command for it
}
# Type and action of the row that MISP's own scheduler has (SchedulerWorkerShell.php, 2.5.18). Its
# params begin with the number of one server or feed, or with "all".
_NATIVE = {
    "pull_all": ("Server", "pull"),
    "push_all": ("Server", "push"),
    "cache_feeds": ("Feed", "cache"),
    "fetch_feeds": ("Feed", "fetch"),
}
_UNKNOWN = "of an unknown type"
# MISP has five types, and a record of some 200 bytes for each.
_RECORD_BYTES = 1 << 16
_HELD_BYTES = 4 * _RECORD_BYTES  # JSON in JSON takes up to three times as much, and has its list
_MOST = 1000
# A text that begins as a task's action does, also by escapes, which PHP has for no letter.
_MAY_BE_TASK = re.compile(rb'"(?:enqueue[A-Z]|[enqu]{0,7}\\u00[4-7])')
_TOO_MUCH = (
    "the old backend's delayed jobs hold more than 1000 scheduled tasks, or one of more than 64 "
    "KiB. They are not MISP's"
)
_ANOTHER_TIME = " (none of them counts once the task has another time in MISP)"
_TOO_MUCH_HELD = (
    "the old backend's list of scheduled tasks that a hand-over holds (misp-workers-tasks:...) has "
    "more than 1000 entries, or one of more than 256 KiB. They are not a hand-over's"
)
_ROWS = "SELECT id, type, timer, next_execution_time FROM tasks"
_NATIVE_ROWS = "SELECT type, action, params FROM tasks WHERE enabled"
# KEYS: the list, the times of delayed jobs, the held ones. ARGV: the record, its time, the held
# entry. It returns 0 if somebody else has taken the record. Commands that may fail come before the
# first change.
_HOLD = """
redis.call("ZCARD", KEYS[2])
redis.call("LLEN", KEYS[3])
if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if redis.call("LLEN", KEYS[1]) == 0 then redis.call("ZREM", KEYS[2], ARGV[2]) end
redis.call("RPUSH", KEYS[3], ARGV[3])
return 1
"""
# The way back of that.
_RELEASE = """
redis.call("LLEN", KEYS[1])
redis.call("ZCARD", KEYS[2])
if redis.call("LREM", KEYS[3], 1, ARGV[3]) == 0 then return 0 end
redis.call("ZADD", KEYS[2], ARGV[2], ARGV[2])
redis.call("RPUSH", KEYS[1], ARGV[1])
return 1
"""
# KEYS: the list, the times of delayed jobs. ARGV: the record, its time.
_ADD = """
redis.call("LREM", KEYS[1], 0, ARGV[1])
redis.call("ZADD", KEYS[2], ARGV[2], ARGV[2])
redis.call("RPUSH", KEYS[1], ARGV[1])
return 1
"""
_DIGITS = re.compile(r"[0-9]{1,12}\Z")


class OddTasksError(WebUserError):
    """Delayed jobs that look like scheduled tasks cannot be MISP's."""


class Entry(NamedTuple):
    """A delayed job that is a scheduled task."""

    name: str  # the list that it is in
    record: bytes
    kind: str
    time: int  # when it is due
    numbers: Tuple[int, int]  # the user's and the row's, in either order


class Row(NamedTuple):
    """A row of MISP's table."""

    id: int
    hours: int
    time: int  # when it is due


class Found(NamedTuple):
    """The tasks that are to be handed over."""

    entries: List[Entry]
    tasks: Dict[str, Task]  # by kind
    unfit: List[str]  # kinds that nothing can take over


def entries(old: Backend) -> List[Entry]:
    """The delayed jobs that are scheduled tasks.

    Raises:
        OddTasksError: they are more or longer than MISP's can be.
    """
    return _entries(
        (name, record)
        for name, _ in old_backend.delayed_lists(old)
        for record in records(old.redis, old.key(name))
    )


def held(old: Backend, token: str) -> List[Entry]:
    """The delayed jobs that an unfinished hand-over has taken out of their lists.

    Raises:
        OddTasksError: they are more or longer than a hand-over holds.
    """
    return _entries(_held(old, token))


def _held(old: Backend, token: str) -> Iterator[Tuple[str, bytes]]:
    """List and record of each, read little by little: the web user may have filled that list."""
    key, count = old.key(HELD_TASKS + token), 0
    while True:
        some = page(old.redis, key, count)
        count += len(some)
        if count > _MOST or any(len(text) > _HELD_BYTES for text in some):
            raise OddTasksError(_TOO_MUCH_HELD)
        for value in map(parsed, some):
            fields = value if isinstance(value, dict) else {}
            name, record = fields.get("list"), fields.get("record")
            if isinstance(name, str) and isinstance(record, str):
                yield name, record.encode("utf-8", "surrogatepass")
        if len(some) < PAGE:
            return


def _entries(jobs: Iterable[Tuple[str, bytes]]) -> List[Entry]:
    found: List[Entry] = []
    for name, record in jobs:
        if len(record) > _RECORD_BYTES:  # too long to be parsed only to be told from MISP's
            if _MAY_BE_TASK.search(record):
                raise OddTasksError(_TOO_MUCH)
        elif old_backend.is_scheduled_task(record):
            found.append(_entry(name, record))
        if len(found) > _MOST:
            raise OddTasksError(_TOO_MUCH)
    return found


def hold(old: Backend, entry: Entry, token: str) -> None:
    """Take a job out of its list, if it is there, and keep it in that of the hand-over."""
    _move(old, _HOLD, entry, token)


def release(old: Backend, entry: Entry, token: str) -> None:
    """Undo `hold`."""
    _move(old, _RELEASE, entry, token)


def _move(old: Backend, script: str, entry: Entry, token: str) -> None:
    keys = (old.key(entry.name), old.key(old_backend.DELAYED), old.key(HELD_TASKS + token))
    text = compact({"list": entry.name, "record": entry.record.decode("utf-8", "surrogatepass")})
    words = (entry.record, old_backend.delayed_until(entry.name), text)
    truth(old.redis.command("EVAL", script, 3, *keys, *words), "a scheduled task")


def add(old: Backend, due: int, record: str) -> None:
    """Have a job delayed until then, once however often it is called."""
    keys = (old.key("%s:%d" % (old_backend.DELAYED, due)), old.key(old_backend.DELAYED))
    truth(old.redis.command("EVAL", _ADD, 2, *keys, record, due), "a scheduled task")


def forget_held(old: Backend, token: str) -> None:
    """Remove what a hand-over that is done has held."""
    old.redis.command("DEL", old.key(HELD_TASKS + token))


def _entry(name: str, record: bytes) -> Entry:
    action, time, *rest = [*old_backend.arguments(record), *[None] * 4][:4]
    first, second = (number(value, cron.HIGHEST_ID) for value in rest)
    kind = ACTIONS.get(str(action), _UNKNOWN)
    return Entry(name, record, kind, number(time, cron.HIGHEST_TIME), (first, second))


def find(one: Misp, delayed: List[Entry], known: Mapping[str, Task]) -> Found:
    """Tell which of these jobs count, and for whom.

    Args:
        known: tasks by kind that have been handed over, at least in part.

    Raises:
        OddTasksError: one of MISP's tasks is there for two users.
        WebUserError: MISP's table cannot be read.
    """
    is_cron = one.tasks_owner == CRON
    by_kind = rows(one) if is_cron else {}
    native = set() if is_cron else _native_rows(one)
    found = Found([], {}, [])
    for entry in delayed:
        row = by_kind.get(entry.kind)
        if is_cron and entry.kind != _UNKNOWN and (row is None or row.time != entry.time):
            continue  # MISP takes no notice of it
        task = _task(entry, row) if is_cron else _native_task(entry, native)
        if task is None:
            found.unfit.append(entry.kind)
        else:
            _refuse_two_users(found.tasks.get(entry.kind) or known.get(entry.kind), task)
            found.entries.append(entry)
            found.tasks[entry.kind] = task
    return found


def _refuse_two_users(one: Optional[Task], other: Task) -> None:
    """Leave it to the operator which of two users runs a task: a copy of a job may name another."""
    if one is not None and one.was == other.was and one.user != other.user:
        raise OddTasksError(
            "the old backend's delayed jobs hold MISP's scheduled task %s at one time for two MISP "
            "users, %d and %d, and MISP makes only one%s"
            % (one.kind, one.user, other.user, "" if one.is_native else _ANOTHER_TIME)
        )


def _task(entry: Entry, row: Optional[Row]) -> Optional[Task]:
    if entry.kind not in cron.COMMANDS or row is None:
        return None
    first, second = entry.numbers  # their order differs by kind, and by who enqueued the task
    user = second if first == row.id else first
    if min(user, entry.time, row.id) < 1 or row.hours < 0:
        return None
    return Task(entry.kind, user, row.hours, entry.time, row.id)


def _native_task(entry: Entry, native: Set[Tuple[str, str]]) -> Optional[Task]:
    first, second = entry.numbers
    user, row = (second, first) if entry.kind == "push_all" else (first, second)
    if _NATIVE.get(entry.kind) not in native or min(user, entry.time, row) < 1:
        return None
    return Task(entry.kind, user, 0, entry.time, row, is_native=True)


def _native_rows(one: Misp) -> Set[Tuple[str, str]]:
    """Type and action of the tasks for all servers or feeds that MISP's own scheduler has on."""
    rows = [row for row in one.bridge.sql(_NATIVE_ROWS) if len(row) == 3]
    return {
        (str(type_), str(action))
        for type_, action, params in rows
        if str(params).split(",")[0] == "all"
    }


def rows(one: Misp) -> Dict[str, Row]:
    """MISP's table by type."""
    found = {}
    for row in one.bridge.sql(_ROWS):
        if len(row) != 4 or not isinstance(row[1], str):
            raise WebUserError("MISP's table of scheduled tasks is not as it should be")
        if row[1] in ACTIONS.values():
            id_, hours = number(row[0], cron.HIGHEST_ID), number(row[2], cron.MOST_HOURS)
            found[row[1]] = Row(id_, hours, number(row[3], cron.HIGHEST_TIME))
    return found


def number(value: Any, most: int) -> int:
    """A number from 0 to `most` of the web user's, which may be text; -1: it is none."""
    if isinstance(value, str) and _DIGITS.match(value):
        value = int(value)
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    return int(value) if is_one else -1
