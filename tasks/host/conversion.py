"""Jobs of the old backend become jobs of the new one.

Exactly once, also when it is cut off anywhere and run again: a job's new id is fixed before the
job moves, and a mark that is set in one step with its arrival makes a repetition skip it.

Old workers may take jobs meanwhile. So a job leaves its list for a list of held ones first, which
no worker knows, and only who has taken it out of its list has it.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from tasks.host.jobs import OldJob, Rename, compact, is_id, named, new_id, new_record, old_job
from tasks.host.new_backend import Lock, truth
from tasks.host.old_backend import DELAYED, delayed_until, is_scheduled_task, old_lists
from tasks.host.queues import HELD, MARK_SECONDS, MOVED, SHELLS, Backend
from tasks.host.replies import PAGE, parsed, records
from tasks.host.waiting import Clock

POSTPONED = 600  # seconds: until a run has come to its end
Lists = Dict[str, List[str]]  # records by the name of their list, without prefix

# A script that fails is not undone. So what may fail (a key of another type, a full memory) comes
# before the first change, and a mark after the last one.
#
# KEYS: the list, the held ones, the times of delayed jobs. ARGV: the record, the held entry, its
# time. 0: a worker or the old scheduler was faster.
_HOLD = """
redis.call("LLEN", KEYS[2])
redis.call("ZCARD", KEYS[3])
if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if redis.call("LLEN", KEYS[1]) == 0 then redis.call("ZREM", KEYS[3], ARGV[3]) end
redis.call("RPUSH", KEYS[2], ARGV[2])
return 1
"""
# The way back of that: KEYS and ARGV with list and held ones exchanged.
_RELEASE = """
redis.call("LLEN", KEYS[2])
redis.call("ZCARD", KEYS[3])
if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if ARGV[3] ~= "" then redis.call("ZADD", KEYS[3], ARGV[3], ARGV[3]) end
redis.call("LPUSH", KEYS[2], ARGV[2])
return 1
"""
# KEYS: the list, one of delayed jobs, their times. ARGV: the record, the delayed one, its time.
_POSTPONE = """
redis.call("LLEN", KEYS[2])
redis.call("ZCARD", KEYS[3])
if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call("RPUSH", KEYS[2], ARGV[2])
redis.call("ZADD", KEYS[3], ARGV[3], ARGV[3])
return 1
"""
# KEYS: the mark, the job's state, the queue. ARGV: the record, the lives of its state and its mark.
_ARRIVE = """
if redis.call("EXISTS", KEYS[1]) == 1 then return 0 end
redis.call("SETEX", KEYS[2], ARGV[2], ARGV[1])
redis.call("RPUSH", KEYS[3], ARGV[1])
redis.call("SET", KEYS[1], "1", "EX", ARGV[3])
return 1
"""


class Moved(NamedTuple):
    """The result of a move of jobs."""

    moved: int
    left: List[str]  # what stays and why, one for each record


class Held(NamedTuple):
    """An entry of the held list."""

    entry: bytes
    name: str  # the list that its job came from
    record: bytes
    id: str  # the job's id on the new backend
    job: OldJob


def lists_of_old_jobs(old: Backend) -> Lists:
    """Return all jobs that no old worker has taken yet, to be written as JSON before any moves.

    A byte that is no UTF-8 becomes a lone surrogate, as in Python's own file names.
    """
    return {
        name: [record.decode("utf-8", "surrogateescape") for record in jobs]
        for name, jobs in old_lists(old).items()
    }


def convert(
    old: Backend,
    new: Backend,
    lists: Lists,
    rename: Rename,
    clock: Clock,
    *,
    postpones: bool = False,
) -> Moved:
    """Convert the jobs of some lists, and what an earlier conversion held when it was cut off.

    A job that is not in the lists stays where it is, and so do MISP's scheduled tasks, which the
    old scheduler would only enqueue again and again. With `postpones` those that wait already
    become delayed ones again: a hand-over is to find them there. A record that is no job of MISP's
    stays and is named.
    """
    left = []
    with Lock(new, clock) as lock:
        for name, jobs in lists.items():
            for text in jobs:
                record = text.encode("utf-8", "surrogateescape")
                is_task = is_scheduled_task(record)
                if is_task and delayed_until(name):
                    continue
                lock.renew()
                if is_task and postpones:
                    _postpone(old, name, record, clock.epoch())
                    continue
                if old_job(name, record) is None:
                    left.append(named(name, record, "no job of MISP's"))
                else:
                    hold(old, name, record)
        moved, odd = _move_held(old, new, rename, lock, clock)
    return Moved(moved, left + odd)


def hold(old: Backend, name: str, record: bytes) -> bool:
    """Take a job out of its list; False where somebody was faster."""
    entry = compact({"list": name, "record": record.decode("utf-8"), "id": new_id()})
    keys = (old.key(name), old.key(HELD), old.key(DELAYED))
    reply = old.redis.command("EVAL", _HOLD, 3, *keys, record, entry, delayed_until(name))
    return truth(reply, "a job to convert")


def _postpone(old: Backend, name: str, record: bytes, epoch: int) -> None:
    """Make a scheduled task that waits a delayed job again, with its own time in it.

    MISP asks for that time alone, so this one runs late where no hand-over comes.
    """
    job = old_job(name, record)
    if job is None:
        return
    when = epoch + POSTPONED
    arguments: Dict[str, Any] = {str(place): word for place, word in enumerate(job.args)}
    arguments.update(id=job.id, s_time=epoch)
    shell = SHELLS[job.command]
    delayed = {"class": shell, "args": [arguments], "queue": job.queue, "track": True}
    keys = (old.key(name), old.key(DELAYED + ":%d" % when), old.key(DELAYED))
    reply = old.redis.command("EVAL", _POSTPONE, 3, *keys, record, compact(delayed), when)
    truth(reply, "a scheduled task")


def held_jobs(old: Backend) -> Tuple[List[Held], List[str]]:
    """Return the held jobs, the oldest first, and what else is in their list and stays there."""
    found, odd = [], []
    for entry in records(old.redis, old.key(HELD)):
        held = _held(entry)
        if held is None:
            odd.append(named(HELD, entry, "no job of MISP's"))
        else:
            found.append(held)
    return found, odd


def _held(entry: bytes) -> Optional[Held]:
    value = parsed(entry)
    fields = value if isinstance(value, dict) else {}
    name, text, id_ = (fields.get(key) for key in ("list", "record", "id"))
    if not isinstance(name, str) or not isinstance(text, str) or not is_id(id_):
        return None
    record = text.encode("utf-8", "surrogatepass")
    job = old_job(name, record)
    return None if job is None else Held(entry, name, record, str(id_), job)


def release_held(old: Backend, new: Backend, rename: Rename, lock: Lock) -> Moved:
    """Put what a conversion held when it was cut off back into its lists.

    What had arrived on the new side is there, and nothing of it remains on this one.
    """
    found, odd = held_jobs(old)
    waiting: List[Held] = []
    arrived: List[Held] = []
    for held in found:
        lock.renew()
        (arrived if has_arrived(new, held.id) else waiting).append(held)
    # A row names its job by the id that this has on its side.
    rename([(held.job.id, held.id) for held in arrived])
    rename([(held.id, held.job.id) for held in waiting])
    for held in arrived:
        old.redis.command("LREM", old.key(HELD), 1, held.entry)
    for held in reversed(waiting):  # the oldest job comes to the head of its list
        lock.renew()
        keys = (old.key(HELD), old.key(held.name), old.key(DELAYED))
        words = (held.entry, held.record, delayed_until(held.name))
        truth(old.redis.command("EVAL", _RELEASE, 3, *keys, *words), "a held job")
    return Moved(len(waiting), odd)


def _move_held(
    old: Backend, new: Backend, rename: Rename, lock: Lock, clock: Clock
) -> Tuple[int, List[str]]:
    """Held jobs in slices: all of one arrive, then their rows follow, then they leave this side."""
    found, odd = held_jobs(old)
    for start in range(0, len(found), PAGE):
        some = found[start : start + PAGE]
        for held in some:
            lock.renew()
            arrive(new, held.job, held.id, clock)
        rename([(held.job.id, held.id) for held in some])
        for held in some:
            lock.renew()
            old.redis.command("DEL", old.key("job:" + held.job.id + ":status"))
            old.redis.command("LREM", old.key(HELD), 1, held.entry)
    return len(found), odd


def has_arrived(backend: Backend, id_: str) -> bool:
    """Return whether a job that moves is on its new side, by its id there."""
    return truth(backend.redis.command("EXISTS", backend.key(MOVED + id_)), "the mark of a job")


def arrive(new: Backend, job: OldJob, id_: str, clock: Clock) -> None:
    """Have a job on the new backend by this id, once however often it is called."""
    keys = (new.key(MOVED + id_), new.key("job_status:" + id_), new.key(job.queue))
    words = (new_record(job, id_, clock.epoch()), max(1, new.history_ttl), MARK_SECONDS)
    truth(new.redis.command("EVAL", _ARRIVE, 3, *keys, *words), "a converted job")
