"""Stopping the new backend's workers without cutting a job: each as it becomes idle.

EPEL's unit kills the children of a supervisord that is stopped, so jobs whose worker has ended
before them are waited for as well.
"""

from typing import Dict, List

from tasks.host.errors import DrainLimitError, HostError
from tasks.host.idle import Processes, Where, freeze_idle
from tasks.host.queues import Backend

_PAUSE = 1.0


class Group:
    """The worker group, as supervisord has it."""

    def live(self) -> Dict[str, int]:
        """Return PIDs by name; 0 between two attempts to start one, which has no job then."""
        raise NotImplementedError

    def stop(self, names: List[str], frozen: List[int]) -> None:
        """Have workers stopped; a frozen one is thawed when its TERM is pending, and not before."""
        raise NotImplementedError

    def start(self) -> None:
        """Start what does not run."""
        raise NotImplementedError

    def jobs(self) -> List[int]:
        """Return the PIDs of MISP's jobs that run, with or without a worker."""
        raise NotImplementedError


def stop_idle_workers(
    new: Backend, where: Where, group: Group, processes: Processes, limit: float
) -> None:
    """End all workers of the group, each when it has no job.

    Raises:
        DrainLimitError: jobs run on; the workers were started again.
        HostError: all have ended, but Redis does not take back the jobs that were set aside.
    """
    end = processes.now() + limit
    problem = ""
    while True:
        workers = group.live()
        starting = [name for name, pid in workers.items() if pid == 0]
        if starting:  # at once: PHP takes longer to ask for a job, and then it may have one
            group.stop(starting, [])
        result = freeze_idle(new, where, [pid for pid in workers.values() if pid], processes)
        problem = result.problem
        idle = [name for name, pid in workers.items() if pid and pid in result.pids]
        if idle:
            _stop(group, idle, result.pids, processes)
        left = group.live()
        if not left and not group.jobs():
            break
        if processes.now() >= end:
            group.start()
            freeze_idle(new, where, [], processes)
            raise DrainLimitError(
                f"drain limit: jobs still run after {limit:.0f} s, so the workers were not "
                f"restarted: {' '.join(sorted(left))}. Run again later, or raise drain_timeout"
            )
        if not idle:
            processes.sleep(_PAUSE)
    if problem:
        problem = freeze_idle(new, where, [], processes).problem
    if problem:
        raise HostError(
            f"{problem}. No job is lost, but run again when Redis is well: the workers are "
            "stopped, and none takes what is set aside"
        )


def _stop(group: Group, names: List[str], frozen: List[int], processes: Processes) -> None:
    try:
        group.stop(names, frozen)
    finally:  # whatever has happened, none stays frozen
        for pid in frozen:
            processes.cont(pid)
