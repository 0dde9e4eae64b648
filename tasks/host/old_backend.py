"""The old backend in Redis (php-resque-ex, CakeResque): its jobs, and its dead workers.

Which PIDs are living old workers of this MISP is the caller's knowledge (`living`): Redis has the
PIDs, and the web user can write any number there.
"""

import re
from typing import Any, Callable, Container, Dict, List, Set, Tuple

from tasks.host import job_names
from tasks.host.errors import WebUserError
from tasks.host.new_backend import Client, clients
from tasks.host.queues import HELD, QUEUES, Backend, OldBackend, RunningJob
from tasks.host.redis import RedisError
from tasks.host.replies import (
    LIST_BYTES,
    counter,
    escaped,
    matching,
    number,
    parsed,
    plain,
    records,
    text,
    texts,
)

DELAYED = "_schdlr_"  # sorted set: the times of delayed jobs
_QUEUES = 1000  # names in the set of queues
_WORKER_KEYS = 10000
# Scheduled tasks of MISP are delayed jobs that put themselves there again (Task.php): ServerShell's
# enqueuePull, enqueuePush, enqueueFeedFetch, enqueueFeedCache and EventShell's enqueueCaching.
_SCHEDULED = re.compile("enqueue[A-Z]")
_NAMED = 20  # running jobs that Redis is asked about


def any_client(found: List[Client]) -> bool:
    """Take every one of Redis's clients for another host's."""
    return bool(found)


def look(
    old: Backend,
    living: Container[int],
    host: str,
    epoch: int,
    has_others: Callable[[List[Client]], bool] = any_client,
    *,
    with_scheduled: bool = True,
) -> OldBackend:
    """Return what the old backend has.

    Args:
        host: this host's name, as `uname -n` says it.
        epoch: now.
        has_others: whether one of Redis's clients may be an old worker of another host.
        with_scheduled: False: MISP's scheduled tasks are somebody else's to look at.
    """
    waiting = {}
    for queue in queues(old):
        reply = old.redis.command("LLEN", old.key("queue:" + queue))
        waiting[queue] = number(reply, "the length of a queue")
    processed = old.redis.command("GET", old.key("stat:processed"))
    held = old.redis.command("LLEN", old.key(HELD))
    workers, jobs = _workers(old), running(old, living)
    stale = _stale(old, workers, living, host)
    entered = _elsewhere(workers, host)
    may_live = not entered or _may_live(old, workers, host, has_others)
    found = OldBackend(
        waiting=waiting,
        elsewhere=entered if may_live else {},
        dead_hosts=() if may_live else tuple(entered),
        running=len(jobs),
        jobs=tuple(jobs[:_NAMED]),
        first=tuple((name, job_names.first(old, name)) for name in waiting if waiting[name]),
        processed=counter(processed, "the number of jobs that ended"),
        held=number(held, "the jobs of a conversion"),
        stale=sum(len(members) for members in stale.values()),
    )
    return _with_delayed(found, old, epoch, with_scheduled)


def queues(old: Backend) -> List[str]:
    """Return the names of all queues: MISP's, and what else somebody has enqueued to."""
    reply = old.redis.command("SMEMBERS", old.key("queues"))
    names = texts(reply, "the names of its queues", most=_QUEUES)
    # A name that is no text is none of MISP's, and no worker can be asked to serve it.
    others = {name.decode("utf-8", "ignore") for name in names} - set(QUEUES)
    return [*QUEUES, *sorted(others)]


def delayed_lists(old: Backend) -> List[Tuple[str, int]]:
    """Return the names of the lists of delayed jobs and when each is due, the soonest first."""
    reply = old.redis.command("ZRANGE", old.key(DELAYED), 0, -1)
    lists = []
    for when in texts(reply, "the times of delayed jobs"):
        name = when.decode("utf-8", "replace")
        due = int(when) if when.isdigit() and len(when) < 12 else 0
        lists.append((DELAYED + ":" + name, due))
    return lists


def delayed_until(name: str) -> str:
    """Return the time in the name of a list of delayed jobs; empty for one of waiting jobs."""
    return name[len(DELAYED) + 1 :] if name.startswith(DELAYED + ":") else ""


def arguments(record: bytes) -> List[Any]:
    """Return what a job has to do, as its words; empty for what is no job."""
    job = parsed(record)
    found = job.get("args") if isinstance(job, dict) else None
    first = found[0] if isinstance(found, list) and found else None
    if isinstance(first, dict):  # PHP writes a list with further keys (id, s_time) as a map
        first = [first[key] for key in ("0", "1", "2", "3") if key in first]
    return first if isinstance(first, list) else []


def is_scheduled_task(record: bytes) -> bool:
    """Whether a job is one of MISP's scheduled tasks."""
    words = arguments(record)
    action = words[0] if words else None
    return isinstance(action, str) and _SCHEDULED.match(action) is not None


def _with_delayed(found: OldBackend, old: Backend, epoch: int, with_scheduled: bool) -> OldBackend:
    """Return a look, completed with how many jobs are delayed and when they are due."""
    delayed = scheduled = last_due = next_due = overdue = 0
    for name, when in delayed_lists(old):
        due = max(0, when - epoch)
        for record in records(old.redis, old.key(name)):
            if is_scheduled_task(record):
                if not with_scheduled:
                    continue
                scheduled += 1
            else:
                next_due = next_due if delayed else due
                delayed += 1
            last_due = due
            overdue = max(overdue, epoch - when)
    return found._replace(
        delayed=delayed,
        scheduled=scheduled,
        last_due=last_due,
        next_due=next_due,
        overdue=overdue,
    )


def running(old: Backend, living: Container[int]) -> List[RunningJob]:
    """Return the jobs that this host's old workers run; the first of them have names.

    `worker:HOST:PID:QUEUE` exists while a job runs, and for ever if its worker was killed, so only
    a process that lives counts. The key that ends in `:started` exists all the time.
    """
    start = old.key("worker:")
    jobs: List[RunningJob] = []
    for key in _job_keys(old, start):
        worker = key[len(start.encode()) :]
        pid = host_and_pid(worker)[1]
        if not key.endswith(b":started") and pid > 0 and pid in living:
            queue = plain(worker.rpartition(b":")[2])
            name = job_names.running(old, key) if len(jobs) < _NAMED else ""
            jobs.append(RunningJob(pid, queue, name))
    return jobs


def _job_keys(old: Backend, start: str) -> List[bytes]:
    try:
        return matching(old.redis, escaped(start) + "*", _WORKER_KEYS)
    except RedisError:  # no SCAN here: a worker that runs a job is also in the set of workers
        keys = [start.encode() + worker for worker in _workers(old)]
        return [key for key in keys if number(old.redis.command("EXISTS", key), "a worker's job")]


def host_and_pid(worker: bytes) -> Tuple[str, int]:
    """Split HOST:PID:QUEUE; a host's name may hold colons. ("", 0) is no worker."""
    parts = worker.decode("utf-8", "replace").rsplit(":", 2)
    if len(parts) < 3 or not re.match("[0-9]{1,9}$", parts[1]):
        return "", 0
    return parts[0], int(parts[1])


def left_behind(found: OldBackend) -> OldBackend:
    """Return of a look what is this MISP's to convert, where its CakeResque is gone.

    Another MISP's may have its queues there: what its workers serve is left alone. So are entries
    of dead workers, since this MISP has no page any more that shows them.
    """
    served = {queue for queues in found.elsewhere.values() for queue in queues}
    waiting = {
        queue: 0 if served & {queue, "*"} else count for queue, count in found.waiting.items()
    }
    found = found._replace(waiting=waiting, stale=0)
    return found._replace(delayed=0, scheduled=0, overdue=0) if found.elsewhere else found


def _may_live(
    old: Backend, workers: List[bytes], host: str, has_others: Callable[[List[Client]], bool]
) -> bool:
    """Whether another host's old workers may live: connected to Redis, or at work on a job.

    php-resque closes its connection before it forks, and the parent waits for the job without one.
    A worker may begin or end a job between two questions, so its job is asked for twice.
    """
    elsewhere = [one for one in workers if host_and_pid(one)[0] not in ("", host)]
    keys = [old.key("worker:").encode() + one for one in elsewhere]

    def have_jobs() -> bool:
        return number(old.redis.command("EXISTS", *keys), "the jobs of workers") > 0

    if have_jobs():
        return True
    found = clients(old)
    return found is None or has_others(found) or have_jobs()


def _elsewhere(workers: List[bytes], host: str) -> Dict[str, List[str]]:
    """Return the queues that workers of other hosts have, living or not.

    A host that was renamed or cloned finds its own former workers here, under the former name.
    """
    found: Dict[str, Set[str]] = {}
    for worker in workers:
        name = host_and_pid(worker)[0]
        if name not in ("", host):
            served = plain(worker.rpartition(b":")[2]).split(",")
            found.setdefault(plain(name.encode("utf-8", "replace")), set()).update(served)
    return {name: sorted(served) for name, served in sorted(found.items())}


def _stale(
    old: Backend, workers: List[bytes], living: Container[int], host: str
) -> Dict[str, List[bytes]]:
    """Return what dead old workers of this host left, as members by key.

    MISP's page lists them, and "Kill all workers" and `stop --all` signal whatever has these PIDs
    by now. A PID that a worker of another host has is left alone.
    """
    stale: Dict[str, List[bytes]] = {}
    others = set()
    for worker in workers:
        name, pid = host_and_pid(worker)
        if name != host:
            others.add(pid)
        elif pid not in living:
            stale.setdefault(old.key("workers"), []).append(worker)
    for key, members in _page_entries(old).items():
        for member in members:
            if key.endswith("PausedWorker"):
                name, pid = host_and_pid(member)
                is_ours = name == host
            else:
                pid = int(member) if member.isdigit() and len(member) < 10 else 0
                is_ours = pid not in others
            if is_ours and pid not in living:
                stale.setdefault(key, []).append(member)
    return stale


def forget_dead_workers(old: Backend, living: Container[int], host: str) -> int:
    """Remove what dead old workers of this host left in Redis; return how many entries."""
    count = 0
    for key, members in _stale(old, _workers(old), living, host).items():
        for member in members:
            _forget(old, key, member)
            count += 1
    return count


def _forget(old: Backend, key: str, member: bytes) -> None:
    kind = key.rpartition(":")[2]
    if kind == "workers":
        busy = old.key("worker:").encode() + member
        old.redis.command("DEL", busy, busy + b":started")
        old.redis.command("HDEL", old.key("workerLogger"), member)
    if kind == "ResqueSchedulerWorker":  # holds one PID
        old.redis.command("DEL", key)
    elif kind == "ResqueWorker":
        old.redis.command("HDEL", key, member)
    else:
        old.redis.command("SREM", key, member)


def _workers(old: Backend) -> List[bytes]:
    reply = old.redis.command("SMEMBERS", old.key("workers"))
    return texts(reply, "its workers", most=_WORKER_KEYS)


def _page_entries(old: Backend) -> Dict[str, List[bytes]]:
    """What MISP's page of workers reads (CakeResque's ResqueStatus), as members by key.

    The keys exist with or without the prefix (MISP #5283).
    """
    prefixes = sorted({old.prefix, ""})
    names = ("PausedWorker", "ResqueWorker", "ResqueSchedulerWorker")
    keys = [prefix + name for prefix in prefixes for name in names]
    if not number(old.redis.command("EXISTS", *keys), "the keys of MISP's page"):
        return {}
    found = {}
    for key in keys:
        if key.endswith("PausedWorker"):
            found[key] = texts(old.redis.command("SMEMBERS", key), "the paused workers")
        elif key.endswith("ResqueSchedulerWorker"):
            scheduler = text(old.redis.command("GET", key), "the scheduler")
            found[key] = [scheduler] if scheduler else []
        else:
            found[key] = texts(old.redis.command("HKEYS", key), "the workers of MISP's page")
    return found


def old_lists(old: Backend) -> Dict[str, List[bytes]]:
    """Return all lists that hold jobs, by name without prefix, as their records stand there.

    Raises:
        WebUserError: together they are too big to be jobs of MISP's.
    """
    names = ["queue:" + queue for queue in queues(old)]
    names += [name for name, _ in delayed_lists(old)]
    lists = {}
    size = 0
    for name in names:
        jobs = records(old.redis, old.key(name))
        size += sum(map(len, jobs)) + 64 * len(jobs)
        if size > LIST_BYTES:
            raise WebUserError("the old backend's lists in Redis hold more than half a gigabyte")
        if jobs:
            lists[name] = jobs
    return lists
