"""The old workers leave, and no job stays behind with nobody to do it.

QUIT lets an old worker finish its job (php-resque-ex), but not the next one in its queue. So the
queues are looked at again when all have left, and where a job came meanwhile they are started
again.
"""

from typing import Callable, List, Optional

from tasks.host.clock import Clock
from tasks.host.errors import DrainLimitError, HostError
from tasks.host.queues import OldBackend

_SOURCES = (
    " If that happens again and again, something enqueues there with settings from before: a PHP "
    "of the web tier with a cached config.php, another host's MISP on the same Redis, or a cake "
    "command that ran all along"
)


class OldWorkers:
    """The old workers as processes, and what starts them."""

    def hold(self) -> None:
        """Take away what would start them again, and remember it."""
        raise NotImplementedError

    def quit(self) -> None:
        """Send each QUIT: it leaves when it has finished its job."""
        raise NotImplementedError

    def left(self) -> List[str]:
        """Return those that still live, in words."""
        raise NotImplementedError

    def start_again(self) -> None:
        """Start what ran before, and undo `hold`."""
        raise NotImplementedError


def retire(
    look: Callable[[], OldBackend],
    convert: Optional[Callable[[], object]],
    workers: OldWorkers,
    limit: float,
    clock: Clock,
) -> None:
    """End the old workers. Afterwards none lives, and the old backend has nothing left to do.

    Args:
        look: asks the old backend.
        convert: converts its jobs; None where that is not wanted. MISP's scheduled tasks stay
            behind where it is.
        workers: the processes.
        limit: seconds for a job that runs.
        clock: the time.

    Raises:
        DrainLimitError: there is work, or a worker does not finish its job.
    """
    with_scheduled = convert is None
    before = look()
    if before.has_work(with_scheduled=with_scheduled):
        raise DrainLimitError(
            f"the old backend has work again: {before.backlog}. Nothing was stopped; run again to "
            f"wait for it.{_sources(before)}"
        )
    workers.hold()
    workers.quit()
    wait_until_gone(workers, limit, clock)
    after = look()
    if convert is not None and after.has_work(with_scheduled=False):
        try:
            convert()
        except HostError:
            workers.start_again()  # else nobody would do what still comes
            raise
        after = look()
    if after.has_work(with_scheduled=with_scheduled):
        workers.start_again()
        raise DrainLimitError(
            f"a job reached the old backend while its workers stopped: {after.backlog}. They were "
            f"started again; run again to wait for it.{_sources(after)}"
        )


def wait_until_gone(workers: OldWorkers, limit: float, clock: Clock) -> None:
    """Wait until the last old worker has finished its job.

    Raises:
        DrainLimitError: that takes longer than `limit` seconds.
    """
    end, nap = clock.now() + limit, 0.05
    while True:
        left = workers.left()
        if not left:
            return
        if clock.now() >= end:
            raise DrainLimitError(
                f"drain limit of {limit:.0f} s reached, old workers still run: {'; '.join(left)}. "
                "They leave after their job; run again then"
            )
        clock.sleep(nap)
        nap = min(nap * 1.3, 0.5)


def _sources(old: OldBackend) -> str:
    return "" if old.error else _SOURCES
