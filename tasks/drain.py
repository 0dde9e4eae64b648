"""When the wait for a backend's jobs is over: decisions from looks, without a host or a clock."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from tasks.backlog import (
    OR_CONVERT,
    SCHEDULED,
    Look,
    arrived,
    came,
    elsewhere,
    left_behind,
    never_quiet,
    nobody_there,
    renews,
    unasked,
    worth_waiting,
)
from tasks.host.queues import OldBackend
from tasks.host.remedies import start_old_workers
from tasks.host.waiting import span

# From one look to the next: more than a second, or what enqueues once a second would slip through.
LOOK_SECONDS = 1.25
# How many looks have to find it quiet: a job may enqueue another one as its last act. By how often
# jobs arrived from elsewhere: the first of these may be a job that a worker had taken, but had not
# yet noted, at the look before.
QUIET_LOOKS = (2, 6, 30)
REPORT_SECONDS = 30
CHANGE_SECONDS = 10  # where the jobs are other ones than in the line before
# And how many have to find that nobody is there for a job: a unit with RestartSec=10, or somebody
# at the keyboard, may be about to bring the worker back.
STUCK_LOOKS = 30
LONGEST_WAIT = 86_400  # seconds of on_leftover_jobs: wait, as no wait is without end
CONVERSIONS = 100  # each takes all that waits; a running old job may enqueue more meanwhile

_BOTH_RUN = "Both backends run, the old service is untouched and nothing is lost"
# MISP decides where a job goes each time, by the settings that its process has (AppModel.php).
_STALE = (
    "something still uses the old backend, with settings from before: a PHP of the web tier with "
    "a cached config.php that this run does not know of, another host's MISP on the same Redis, "
    "or a cake command that ran all along"
)
ARRIVED = f"jobs arrive that no old job can have enqueued: {_STALE}"
KEPT_COMING = f"jobs kept coming: if its own jobs do not enqueue them, {_STALE}"


class Wait(NamedTuple):
    """Look again after LOOK_SECONDS."""

    says: str = ""  # for the operator, now and then
    warns: str = ""
    waits: str = ""  # what is waited for, as it is now
    elapsed: float = 0  # seconds of the limit
    limit: float = 0


class Convert(NamedTuple):
    """Convert the old backend's jobs, tell `converted` what stayed, and look again."""

    only_held: bool = False  # only what an earlier conversion held when it was cut off


class Done(NamedTuple):
    """The old workers may go."""

    says: str = ""


class Stuck(NamedTuple):
    """No wait would help."""

    reason: str


class Limit(NamedTuple):
    """The wait was too long."""

    reason: str


Decision = Wait | Convert | Done | Stuck | Limit


class Phase(Enum):
    """What is waited for."""

    QUIET = "nothing left to do"
    WORKED_OFF = "nothing left that old workers will do"  # before a conversion
    RUN_OUT = "no job running"  # after one


class Drain:
    """The drain of one host, as it goes on. `see` takes one look after the other."""

    def __init__(self, on_leftover_jobs: str, drain_timeout: int) -> None:
        self._converts = on_leftover_jobs == "convert"
        is_patient = on_leftover_jobs == "wait"
        self._limit = LONGEST_WAIT if is_patient else drain_timeout
        self._wait: _Waiting | None = None
        self._conversions = 0
        self._has_begun = self._has_finished = False
        self._left: list[str] = []

    def converted(self, left: Sequence[str]) -> None:
        """Take note of a conversion; `left` names records that it could not convert."""
        self._left = list(left)

    def see(self, look: Look) -> Decision:
        """Decide what to do now."""
        if look.old.held and not self._has_finished:
            self._has_finished = True
            return Convert(only_held=True)
        if not self._has_begun:
            self._has_begun = True
            first = self._first(look)
            if first is not None:
                return first
        return self._between(look) if self._wait is None else self._waited(self._wait, look)

    def _waited(self, wait: _Waiting, look: Look) -> Decision:
        decision = wait.see(look)
        if wait.phase is Phase.QUIET or isinstance(decision, Wait):
            return decision
        self._wait = None
        if isinstance(decision, Limit) and wait.phase is Phase.RUN_OUT:
            return Limit(f"all waiting jobs are converted, but then: {decision.reason}")
        if isinstance(decision, Limit) and ARRIVED in decision.reason:
            return decision  # no conversion would be the last one
        return self._between(look)

    def _first(self, look: Look) -> Decision | None:
        """What the first look decides; None: it does not end the drain."""
        if not (look.can_return or look.old.convertible or look.old.error):
            return Done("no old worker is left to wait for")
        if self._converts:
            if look.workers:
                self._wait = _Waiting(Phase.WORKED_OFF, self._limit, look.at)
            return None
        if self._left:
            return Stuck(_not_jobs(self._left))
        if problem := left_behind(look.old) or _undone(look):
            return Stuck(problem)
        if problem := never_quiet(look.old, self._limit):
            return Limit(f"{problem}. {_BOTH_RUN}")
        self._wait = _Waiting(Phase.QUIET, self._limit, look.at)
        return None

    def _between(self, look: Look) -> Decision:
        """Whether to convert, to wait for running jobs, or to end."""
        old = look.old
        if old.error:
            return Stuck(f"{unasked(old)}. {_BOTH_RUN}")
        if self._conversions > CONVERSIONS:
            return Limit(f"{KEPT_COMING}. They come as fast as they are converted. {_BOTH_RUN}")
        if old.convertible > len(self._left):
            self._conversions += 1
            return Convert()
        if old.running:
            self._wait = _Waiting(Phase.RUN_OUT, self._limit, look.at, len(self._left))
            return self.see(look)
        if self._left:
            return Stuck(_not_jobs(self._left))
        return Done()


def _undone(look: Look) -> str:
    if look.workers or not look.old.backlog:
        return ""
    return (
        f"the old backend has {look.old.backlog}, and no old worker lives to do them: start the "
        f"old workers (their unit, or `{start_old_workers(look.misp_root, look.web_user)}`), "
        f"{OR_CONVERT}"
    )


def _not_jobs(left: Sequence[str]) -> str:
    return (
        f"the old backend has {len(left)} record(s) that are no jobs of MISP's, so they cannot be "
        f"converted; the first one is in {left[0]}. See what they are, remove them from Redis "
        "(LREM, at redis-cli's prompt and never on a shell's line: the web user may have written "
        f"them), and run again. {_BOTH_RUN}"
    )


class _Waiting:
    """One wait: until it was over for long enough, or cannot be, or has lasted too long."""

    def __init__(self, phase: Phase, limit: int, start: float, odd: int = 0) -> None:
        self.phase = phase
        self._limit, self._start, self._end, self._odd = limit, start, start + limit, odd
        self._standstill = _Standstill()
        self._told, self._told_at = "", start
        self._seen = self._arrivals = self._came = 0
        self._before: OldBackend | None = None

    def see(self, look: Look) -> Decision:
        before, self._before = self._before, look.old
        warns = self._note(before, look)
        self._seen = self._seen + 1 if not look.old.error and self._is_over(look) else 0
        if self._seen >= QUIET_LOOKS[self._arrivals]:
            return Done()
        if self.phase is Phase.QUIET:
            is_endless = before is not None and renews(before, look.old)
            if reason := SCHEDULED if is_endless else self._standstill.reason:
                return Stuck(f"the old backend has {look.old.backlog}, and {reason}. {_BOTH_RUN}")
        if look.at >= self._end and (self._arrivals > 1 or not self._seen):
            return Limit(f"{self._too_long(look)}. {_BOTH_RUN}")
        waits = look.old.backlog or "the old backend is quiet, and has to stay so"
        return Wait(self._says(look), warns, waits, look.at - self._start, self._limit)

    def _says(self, look: Look) -> str:
        """A line for the operator where there is something new, and now and then."""
        now = look.old.aged({}).backlog
        pause = CHANGE_SECONDS if now != self._told else REPORT_SECONDS
        if not now or (self._told and look.at < self._told_at + pause):
            return ""
        self._told, self._told_at = now, look.at
        gone = f"{span(look.at - self._start)} of {span(self._limit)} gone"
        return f"drain: {look.old.backlog}; {gone}"

    def _note(self, before: OldBackend | None, look: Look) -> str:
        """Compare with the look before; what to warn of."""
        warns = self._standstill.note(look)
        if before is None:
            return warns
        self._came += came(before, look.old)
        if arrived(before, look.old) and self._arrivals < len(QUIET_LOOKS) - 1:
            self._arrivals += 1
            if self._arrivals > 1:
                return f"old backend: {ARRIVED}"
        return warns

    def _is_over(self, look: Look) -> bool:
        if self.phase is Phase.QUIET:
            return not look.old.backlog
        if self.phase is Phase.WORKED_OFF:
            return not worth_waiting(look, self._end - look.at)
        return not look.old.running or look.old.convertible > self._odd

    def _too_long(self, look: Look) -> str:
        source = ARRIVED if self._arrivals > 1 else KEPT_COMING if self._came else ""
        left = ", and ".join(filter(None, [look.old.backlog, source, elsewhere(look)]))
        return f"drain limit of {self._limit} s reached with {left or 'work'}. {self._advice(look)}"

    def _advice(self, look: Look) -> str:
        if look.old.error:
            return "Start that Redis, then run again"
        ways = ["run again later"]
        ways += [] if self._limit == LONGEST_WAIT else ["raise drain_timeout"]
        ways += [] if look.converts else ["set on_leftover_jobs to convert (for waiting jobs)"]
        return f"Now {', or '.join(ways)}"


class _Standstill:
    """Whether the same jobs have waited for half a minute for somebody who is not there."""

    def __init__(self) -> None:
        self._seen = ""
        self._looks = 0
        self._has_warned = False
        self.reason = ""

    def note(self, look: Look) -> str:
        """Take the next look; what to warn of."""
        stuck, others = nobody_there(look), elsewhere(look)
        seen = f"{look.old.waits} {stuck} {others}" if stuck or others else ""
        self._looks = self._looks + 1 if seen == self._seen else 1
        self._seen = seen
        is_long = self._looks >= STUCK_LOOKS
        self.reason = stuck if is_long else ""
        if not is_long or stuck or not others or self._has_warned:
            return ""
        self._has_warned = True
        return f"old backend: {others}"
