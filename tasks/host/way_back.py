"""Jobs of the new backend become jobs of the old one, for a rollback or a proof that failed.

Exactly once, also when it is cut off anywhere and run again. Workers of another host may take jobs
from the same queues meanwhile, so a job leaves its queue for a list that no worker knows, and only
who has taken it out of its queue has it. Its old id follows from its new one, and a mark that is
set in one step with its arrival makes a repetition skip it.
"""

from typing import Callable, Dict, List, Optional, Tuple

from tasks.host.conversion import Moved, has_arrived, release_held
from tasks.host.errors import WebUserError
from tasks.host.jobs import NewJob, Rename, named, new_job, old_record
from tasks.host.new_backend import Lock, exists, take_back, truth
from tasks.host.queues import MARK_SECONDS, MOVED, MOVING, NEW_QUEUES, Backend
from tasks.host.replies import PAGE, number, page, records, text
from tasks.host.waiting import Clock

# Writes input of a job into a file of the web user's, whole, over one of that name if need be, and
# returns its absolute path. MISP's old workers read and remove it (FileAccessTool::readAndDelete).
Store = Callable[[str, bytes], str]
# Removes such a file, if it is there.
Discard = Callable[[str], None]

DATA_BYTES = 64 * 1024 * 1024
_PASSES = 20  # over a queue that another host's MISP goes on filling

# See conversion.py for the order of things in a script. KEYS: the list, the other list. ARGV: the
# record, and RPUSH to take it from its queue to the moving ones, or LPUSH to return it.
_MOVE = """
redis.call("LLEN", KEYS[2])
if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call(ARGV[2], KEYS[2], ARGV[1])
return 1
"""
# KEYS: the mark, the queues' names, the queue. ARGV: its name, the record, the mark's life.
_ARRIVE = """
if redis.call("EXISTS", KEYS[1]) == 1 then return 0 end
redis.call("SADD", KEYS[2], ARGV[1])
redis.call("RPUSH", KEYS[3], ARGV[2])
redis.call("SET", KEYS[1], "1", "EX", ARGV[3])
return 1
"""


class _Move:
    """One move of all jobs; holds what its steps share."""

    def __init__(
        self, old: Backend, new: Backend, store: Store, rename: Rename, lock: Lock
    ) -> None:
        self.old, self.new = old, new
        self._store, self._rename, self._lock = store, rename, lock
        self._left: Dict[Tuple[str, bytes], str] = {}
        self.moved = 0

    @property
    def left(self) -> List[str]:
        return list(self._left.values())

    def empty(self, queue: str) -> None:
        """Move a queue's jobs, first those that a move which was cut off had taken."""
        self._finish(queue)
        for _ in range(_PASSES):
            if not self._pass(queue):
                return

    def _pass(self, queue: str) -> int:
        """Take slices from the head on; return how many jobs were taken."""
        start = taken = 0
        while True:
            some = page(self.new.redis, self.new.key(queue), start)
            if not some or taken > 10**6:
                return taken
            mine = [record for record in some if self._take(queue, record)]
            taken += len(mine)
            start += len(some) - len(mine)
            if mine:
                self._finish(queue)

    def _take(self, queue: str, record: bytes) -> bool:
        if (queue, record) in self._left:
            return False
        job = new_job(record)
        problem = "no job of MISP's" if job is None else self._missing(job)
        if problem:
            self._left[queue, record] = named(queue, record, problem)
            return False
        self._lock.renew()
        return _moved(self.new, queue, MOVING + queue, record, "RPUSH")

    def _missing(self, job: NewJob) -> str:
        """Why a job's input that is in Redis cannot go with it; empty: it can."""
        for id_ in job.data.values():
            reply = self.new.redis.command("STRLEN", _data(self.new, id_))
            size = number(reply, "the size of a job's input")
            if not size:
                return "its input in Redis is gone (MISP keeps it for a day)"
            if size > DATA_BYTES:
                return "its input in Redis is larger than 64 MB"
        return ""

    def _finish(self, queue: str) -> None:
        """Move the jobs that were taken: all of a slice arrive, then they leave this side."""
        taken = records(self.new.redis, self.new.key(MOVING + queue))
        for start in range(0, len(taken), PAGE):
            arrived = []
            for record in taken[start : start + PAGE]:
                self._lock.renew()
                job = self._arrived(queue, record)
                if job is not None:
                    arrived.append((record, job))
            _leave(self.new, queue, arrived, self._rename, self._lock)
            self.moved += len(arrived)

    def _arrived(self, queue: str, record: bytes) -> Optional[NewJob]:
        """The job, if it is on the old side now; else its record is back in its queue."""
        job = new_job(record)
        if job is not None and has_arrived(self.old, job.old_id):
            return job
        args = None if job is None else self._args(job)
        if job is None or args is None:
            _return(self.new, queue, record)
            reason = "no job of MISP's" if job is None else "its input in Redis cannot be used"
            self._left[queue, record] = named(queue, record, reason)
            return None
        keys = (
            self.old.key(MOVED + job.old_id),
            self.old.key("queues"),
            self.old.key("queue:" + queue),
        )
        words = (queue, old_record(job, args), MARK_SECONDS)
        truth(self.old.redis.command("EVAL", _ARRIVE, 3, *keys, *words), "a job moved back")
        return job

    def _args(self, job: NewJob) -> Optional[List[object]]:
        """The job's arguments for the old backend, which reads input from a file.

        The file's name follows from the job's id, so that a repetition writes the same one.
        """
        args, stored = list(job.args), {}
        for position, id_ in job.data.items():
            reply = self.new.redis.command("GET", _data(self.new, id_))
            data = text(reply, "a job's input", DATA_BYTES)
            # As JSON, an array or a map; MISP's other serializer begins with a zero byte.
            if data is None or data[:1] not in (b"[", b"{"):
                return None
            stored[position] = data
        for position, data in stored.items():
            path = self._store(_file_name(job, position), data)
            if not path.startswith("/"):
                raise WebUserError(f"the input of a job was stored, but not at a full path: {path}")
            args[position] = path
        return args


def move_back(old: Backend, new: Backend, store: Store, rename: Rename, clock: Clock) -> Moved:
    """Move every job that waits on the new backend to the old one's lists.

    So are jobs that a step which was cut off had set aside, had held or was moving. A job whose
    input is gone, and what is no job of MISP's, stays where it is and is named.
    """
    with Lock(new, clock) as lock:
        released = release_held(old, new, rename, lock)
        take_back(new)
        move = _Move(old, new, store, rename, lock)
        if exists(new, *NEW_QUEUES, *(MOVING + queue for queue in NEW_QUEUES)):
            for queue in NEW_QUEUES:
                move.empty(queue)
    return Moved(move.moved, released.left + move.left)


def settle(old: Backend, new: Backend, discard: Discard, rename: Rename, clock: Clock) -> int:
    """End a move back that was cut off, for a deploy: its jobs return to their queues.

    Those that have arrived on the old side are done there. To be called before new workers start.
    Returns how many jobs returned.
    """
    returned = 0
    with Lock(new, clock) as lock:
        for queue in NEW_QUEUES:
            arrived: List[Tuple[bytes, NewJob]] = []
            # The oldest job comes to the head.
            for record in reversed(records(new.redis, new.key(MOVING + queue))):
                lock.renew()
                job = new_job(record)
                if job is not None and has_arrived(old, job.old_id):
                    arrived.append((record, job))
                else:
                    for name in _files(job):
                        discard(name)
                    returned += _return(new, queue, record)
            _leave(new, queue, arrived, rename, lock)
    return returned


def _leave(
    new: Backend, queue: str, arrived: List[Tuple[bytes, NewJob]], rename: Rename, lock: Lock
) -> None:
    """What is on the old side by now leaves this one; its record at last, or nobody would."""
    rename([(job.id, job.old_id) for _, job in arrived])
    for record, job in arrived:
        lock.renew()
        keys = [_data(new, id_) for id_ in job.data.values()]
        new.redis.command("DEL", new.key("job_status:" + job.id), *keys)
        new.redis.command("LREM", new.key(MOVING + queue), 1, record)


def _return(new: Backend, queue: str, record: bytes) -> bool:
    return _moved(new, MOVING + queue, queue, record, "LPUSH")


def _moved(new: Backend, name: str, other: str, record: bytes, push: str) -> bool:
    keys = (new.key(name), new.key(other))
    return truth(new.redis.command("EVAL", _MOVE, 2, *keys, record, push), "a job to move")


def _files(job: Optional[NewJob]) -> List[str]:
    return [] if job is None else [_file_name(job, position) for position in job.data]


def _file_name(job: NewJob, position: int) -> str:
    return f"misp-workers-{job.old_id}-{position}"


def _data(new: Backend, id_: str) -> str:
    return new.key("data_content:" + id_)
