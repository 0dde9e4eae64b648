"""Stopping the new backend's workers without cutting a job: each as it becomes idle.

EPEL's unit kills the children of a supervisord that is stopped, so jobs whose worker has ended
before them are waited for as well.
"""

from typing import Dict, List

from tasks.host.clock import Clock
from tasks.host.errors import DrainLimitError, HostError
from tasks.host.idle import Frozen

_PAUSE = 1.0


class Group:
    """The worker group, as supervisord has it."""

    def live(self) -> Dict[str, int]:
        """Return PIDs by name; 0 between two attempts to start one, which has no job then."""
        raise NotImplementedError

    def freeze(self, pids: List[int]) -> Frozen:
        """Freeze those that have no job, as `idle.freeze_idle`; without PIDs take jobs back."""
        raise NotImplementedError

    def stop(self, names: List[str], frozen: List[int]) -> None:
        """Have workers stopped; a frozen one is thawed when its TERM is pending, and not before."""
        raise NotImplementedError

    def thaw(self, pids: List[int]) -> None:
        """Let workers go on."""
        raise NotImplementedError

    def start(self) -> None:
        """Start what does not run."""
        raise NotImplementedError

    def jobs(self) -> List[int]:
        """Return the PIDs of MISP's jobs that run, with or without a worker."""
        raise NotImplementedError


def stop_idle_workers(group: Group, clock: Clock, limit: float) -> None:
    """End all workers of the group, each when it has no job.

    Raises:
        DrainLimitError: jobs run on; the workers were started again.
        HostError: supervisord or the web user's processes do not answer; the workers were started
            again. Or all have ended, but Redis does not take back the jobs that were set aside.
    """
    try:
        problem = _stop_all(group, clock, limit)
    except HostError:
        _start_again(group)
        raise
    if problem:
        problem = group.freeze([]).problem
    if problem:
        raise HostError(
            f"{problem}. No job is lost, but run again when Redis is well: the workers are "
            "stopped, and none takes what is set aside"
        )


def _stop_all(group: Group, clock: Clock, limit: float) -> str:
    """Why jobs that were set aside are still there; empty: none is."""
    end = clock.now() + limit
    while True:
        workers = group.live()
        starting = [name for name, pid in workers.items() if pid == 0]
        if starting:  # at once: PHP takes longer to ask for a job, and then it may have one
            group.stop(starting, [])
        result = group.freeze([pid for pid in workers.values() if pid])
        problem = result.problem
        idle = [name for name, pid in workers.items() if pid and pid in result.pids]
        if idle:
            _stop(group, idle, result.pids)
        left = sorted(group.live()) or ["job of PID %d" % pid for pid in group.jobs()]
        if not left:
            return problem
        if clock.now() >= end:
            raise DrainLimitError(
                f"drain limit: jobs still run after {limit:.0f} s, so the workers were not "
                f"restarted: {', '.join(left)}. Run again later, or raise drain_timeout"
            )
        if not idle:
            clock.sleep(_PAUSE)


def _start_again(group: Group) -> None:
    """As far as that goes: the error that led here is the one to be told."""
    try:
        group.start()
        group.freeze([])
    except HostError:
        pass


def _stop(group: Group, names: List[str], frozen: List[int]) -> None:
    try:
        group.stop(names, frozen)
    finally:  # whatever has happened, none stays frozen
        group.thaw(frozen)
