"""The queues of both backends: their names, their keys in Redis, and what a look at them finds.

Here are values only; `old_backend` and `new_backend` ask Redis for them.
"""

from typing import Dict, List, NamedTuple, Tuple

from tasks.host.redis import Redis
from tasks.host.remedies import MOST_OF_A_NAME, quoted
from tasks.host.waiting import span

# THE list of queues. MISP's code has these names as constants (BackgroundJobsTool.php).
QUEUES = ("default", "prio", "email", "cache", "update")
# The new backend takes jobs for its scheduler as well; nothing served that queue before 2.5.18.
NEW_QUEUES = (*QUEUES, "scheduler")

# MISP's commands, and the shells that they were on the old backend (CMD_TO_SHELL_DICT there).
SHELLS = {
    "event": "EventShell",
    "server": "ServerShell",
    "admin": "AdminShell",
    "workflow": "WorkflowShell",
}

# Keys of ours. A host may be half-way with an older version of the tool, so they stay as they are.
HELD = "misp-workers-held"  # old side, list: jobs on their way to the new backend
HELD_TASKS = "misp-workers-tasks:"  # old side, lists: scheduled tasks on their way to cron
ASIDE = "misp-workers-aside:"  # new side, lists: jobs that no worker shall take for a moment
MOVED = "misp-workers-moved:"  # both sides: marks of jobs that have arrived there
MOVING = "misp-workers-moving:"  # new side, lists: jobs on their way back to the old backend
LOCK = MOVING + "lock"  # new side: hosts may share a Redis, and one at a time moves jobs

MARK_SECONDS = 604800  # a week: longer than anybody leaves a move that was cut off
_SHOWN = 3  # running jobs that a sentence names


class Backend(NamedTuple):
    """The connection to a backend's database, and what its keys begin with."""

    redis: Redis
    prefix: str  # with the colon; MISP's keys begin with it even where the namespace is empty
    history_ttl: int = 86400  # new backend: how long a job's state is kept

    def key(self, name: str) -> str:
        """A key by its name without the prefix."""
        return self.prefix + name


class RunningJob(NamedTuple):
    """A job that an old worker of this host has."""

    pid: int  # of the worker
    queue: str
    name: str  # as in "ServerShell pull"; empty: not known
    seconds: int = -1  # since it began; -1: not known

    @property
    def words(self) -> str:
        """For a sentence, as in "ServerShell pull, PID 4711, prio, 12 min"."""
        known = [self.name or "a job", "PID %d" % self.pid, quoted(self.queue, MOST_OF_A_NAME)]
        return ", ".join(known + ([span(self.seconds)] if self.seconds >= 0 else []))


class OldBackend(NamedTuple):
    """The old backend's jobs. Seconds are from now."""

    waiting: Dict[str, int]  # by queue
    elsewhere: Dict[str, List[str]]  # queues of workers that may live on other hosts, by host
    error: str = ""  # why Redis cannot be asked; nothing else is known then
    # False: there is no CakeResque. What it left behind is in the other fields, as far as no other
    # host serves it.
    is_installed: bool = True
    running: int = 0  # on this host
    processed: int = 0  # jobs that ended, ever
    held: int = 0  # jobs that a conversion had taken when it was cut off
    delayed: int = 0
    scheduled: int = 0  # delayed ones that are MISP's own scheduled tasks
    last_due: int = 0  # until the last of both is due
    next_due: int = 0  # until the first that is no scheduled task; 0: due, or there is none
    overdue: int = 0  # since the first of both was due
    stale: int = 0  # entries of dead workers
    at: str = ""  # its Redis, database and namespace, in words
    dead_hosts: Tuple[str, ...] = ()  # with workers entered, none of them connected to Redis
    jobs: Tuple[RunningJob, ...] = ()  # those that run, the first of them where they are many
    first: Tuple[Tuple[str, str], ...] = ()  # queues, and the name of the job that waits first

    def aged(self, seconds: Dict[int, int]) -> "OldBackend":
        """The same with the ages of jobs, by their workers' PIDs."""
        jobs = [job._replace(seconds=seconds.get(job.pid, -1)) for job in self.jobs]
        return self._replace(jobs=tuple(jobs))

    @property
    def waits(self) -> int:
        """How many jobs wait; delayed ones are not due yet."""
        return sum(self.waiting.values())

    @property
    def convertible(self) -> int:
        """How many jobs a conversion takes: MISP's scheduled tasks stay."""
        return self.waits + self.delayed + self.held

    @property
    def backlog(self) -> str:
        """What is left to do, in words; empty when the backend is quiet."""
        if self.error:
            return "a Redis that cannot be asked: " + quoted(self.error)
        waiting = [
            f"{count} waiting in {quoted(name, MOST_OF_A_NAME)}{self._first_of(name)}"
            for name, count in sorted(self.waiting.items())
            if count
        ]
        kinds = (
            (self.running, f"running{self._which_run()}"),
            (self.delayed, "delayed"),
            (self.scheduled, "scheduled by MISP itself"),
            (self.held, "in a conversion that was cut off"),
        )
        return ", ".join(waiting + [f"{count} {words}" for count, words in kinds if count])

    def _first_of(self, queue: str) -> str:
        name = dict(self.first).get(queue, "")
        return f" (first: {quoted(name, MOST_OF_A_NAME)})" if name else ""

    def _which_run(self) -> str:
        shown = "; ".join(job.words for job in self.jobs[:_SHOWN])
        more = self.running - _SHOWN
        return f" ({shown}{f'; {more} more' if more > 0 else ''})" if shown else ""

    def has_work(self, *, with_scheduled: bool) -> bool:
        """Whether something is left to do. No answer is no reason to call it done."""
        if self.error:
            return True
        tasks = self.scheduled if with_scheduled and self.is_installed else 0
        return bool(self.convertible or self.running or tasks)


class NewBackend(NamedTuple):
    """The new backend's jobs, and whether its Redis is fit for them."""

    waiting: Dict[str, int]  # by queue
    foreign_keys: List[str]  # the first of those that MISP does not make
    error: str = ""  # why Redis cannot be asked; nothing else is known then
    aside: int = 0  # jobs that a step which was cut off has set aside
    blocked_clients: int = 0  # workers of somebody's that wait for a job
    eviction: str = ""  # maxmemory-policy
    version: str = ""  # of Redis
    refused: Tuple[str, ...] = ()  # commands that Redis refuses; what they would tell is unknown
