"""One harmless job (`admin redisReady`) through every queue of the new backend, and its outcome.

Every version of MISP has it, it touches no database, and its output is known.
"""

from typing import Any, Dict, NamedTuple, Optional

from tasks.host.done import ProofJob
from tasks.host.jobs import OldJob, new_id, new_record
from tasks.host.queues import Backend
from tasks.host.replies import RECORD_BYTES, escaped, matching, number, parsed, text
from tasks.host.waiting import Clock

READY = "Successfully connected to Redis"
_STATUS_SECONDS = 3600  # of a test job's state, should nobody be there to remove it
_ABANDONED = 30.0  # without a sign of life; a worker gives one every 5 s
_AGAIN = 5.0
_PAUSE = 0.05
_RUNNING, _COMPLETED = 2, 4  # BackgroundJob.php
_SHOWN = 2000


class Limits(NamedTuple):
    """How long is waited for a test job, in seconds."""

    timeout: float  # with a worker free for it
    longest: float  # while it runs, or all workers of its queue have a job


class Outcome(NamedTuple):
    """How a test job ended."""

    problem: str  # empty: it came through
    job: ProofJob


class _TestJob:
    def __init__(
        self, new: Backend, queue: str, workers: int, limits: Limits, clock: Clock
    ) -> None:
        self._new, self.queue, self._workers = new, queue, workers
        self._limits, self._clock = limits, clock
        self._id, self._epoch = new_id(), clock.epoch()
        self._state_key = new.key("job_status:" + self._id)
        self._record = new_record(OldJob(queue, "", "admin", ["redisReady"]), self._id, self._epoch)
        self._began = self._alive = clock.now()  # and when it was last known not to be abandoned
        self._end = self._began + limits.timeout
        # Not MISP's order: with the state first, a fast worker's "completed" is never overwritten.
        # And the head of the list: it waits for the first worker that is free, not for a backlog.
        new.redis.command("SETEX", self._state_key, _STATUS_SECONDS, self._record)
        new.redis.command("LPUSH", new.key(queue), self._record)

    def outcome(self, marks_running: bool) -> Optional[Outcome]:
        """Return how it ended; None while it waits or runs."""
        problem = self._problem(marks_running)
        if problem is None:
            return None
        seconds = round(self._clock.now() - self._began, 3)
        return Outcome(problem, ProofJob(self.queue, self._id, self._epoch, seconds))

    def _problem(self, marks_running: bool) -> Optional[str]:
        """Empty where it was completed, else what went wrong; None while it waits or runs."""
        state = self._state()
        problem = _verdict(state)
        if problem is None and self._is_abandoned(state, marks_running):
            problem = "failed: its worker died over it"
        if problem is None and self._is_over(state):
            self.take_back()
            problem = f"not done after {self._clock.now() - self._began:.0f} s"
        if problem is not None:
            self._new.redis.command("DEL", self._state_key)
        return problem

    def take_back(self) -> None:
        """If no worker has it yet, so that no later one runs it."""
        self._new.redis.command("LREM", self._new.key(self.queue), 1, self._record)

    def _state(self) -> Dict[str, Any]:
        reply = self._new.redis.command("GET", self._state_key)
        state = parsed(text(reply, "the state of a test job", RECORD_BYTES) or b"")
        return state if isinstance(state, dict) else {}

    def _is_abandoned(self, state: Dict[str, Any], marks_running: bool) -> bool:
        """A worker that dies over a job leaves it "running" for ever.

        While a job runs its worker renews a key every few seconds (StartWorkerShell.php, from MISP
        2.4.184 on).
        """
        key = self._new.key("running:" + self.queue + ":" + self._id)
        is_running = state.get("status") == _RUNNING
        if not is_running or number(self._new.redis.command("EXISTS", key), "a sign of life"):
            self._alive = self._clock.now()
        patience = _ABANDONED if marks_running else self._limits.timeout
        return self._clock.now() - self._alive > patience

    def _is_over(self, state: Dict[str, Any]) -> bool:
        """At its limit it may run, or all of its queue's workers have a job, by the same keys.

        That these jobs are long is no fault of theirs.
        """
        now = self._clock.now()
        if now < self._end:
            return False
        if state.get("status") == _RUNNING:
            return now > self._began + self._limits.longest
        pattern = escaped(self._new.key("running:" + self.queue + ":")) + "*"
        running = len(matching(self._new.redis, pattern, self._workers))
        self._end = now + _AGAIN
        return running < self._workers or now > self._began + self._limits.longest


def prove(
    new: Backend, workers: Dict[str, int], limits: Limits, marks_running: bool, clock: Clock
) -> Dict[str, Outcome]:
    """Put a test job into every queue and wait for their ends.

    Returns how each ended by its queue, in the order of the ends.

    Args:
        workers: how many each queue has.
        marks_running: whether this MISP marks running jobs (2.4.184 and newer).
    """
    pending = [_TestJob(new, queue, count, limits, clock) for queue, count in workers.items()]
    outcomes: Dict[str, Outcome] = {}
    try:
        while pending:
            for job in list(pending):
                outcome = job.outcome(marks_running)
                if outcome is not None:
                    outcomes[job.queue] = outcome
                    pending.remove(job)
            if pending:
                clock.sleep(_PAUSE)
    except BaseException:
        for job in pending:
            job.take_back()
        raise
    return outcomes


def _verdict(state: Dict[str, Any]) -> Optional[str]:
    status, output, error = state.get("status"), state.get("output"), state.get("error")
    if isinstance(status, bool) or not isinstance(status, int) or status <= _RUNNING:
        return None
    if status == _COMPLETED and READY in str(output):
        return ""
    said = " ".join(str(part).strip() for part in (error, output) if part)[:_SHOWN]
    return f"failed: {said}" if said else "failed without a word"
