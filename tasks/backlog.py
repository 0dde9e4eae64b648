"""Says what the old backend still has to do, and what nobody there will do. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.host.parts import OldBackend, OldWorker

LONGEST_WAIT = 86_400  # seconds of on_leftover_jobs: wait, since no wait is endless
LATE_SECONDS = 60  # the old scheduler looks every 5 s
_START = "app/Console/cake CakeResque.CakeResque"


def backlog(old: OldBackend) -> str:
    """Return the old backend's jobs in words; empty when there are none."""
    if old.error:
        return f"jobs that cannot be counted (Redis: {old.error})"
    parts = [f"{count} waiting in {queue}" for queue, count in sorted(old.waiting.items()) if count]
    kinds = (
        (old.running, "running"),
        (old.delayed, "delayed"),
        (old.scheduled, "scheduled by MISP itself"),
        (old.held, "in a conversion that was cut off"),
    )
    parts += [f"{count} {words}" for count, words in kinds if count]
    return ", ".join(parts)


def waiting(old: OldBackend) -> int:
    """Return how many jobs wait; delayed ones are not counted."""
    return sum(old.waiting.values())


def never_drained(old: OldBackend, limit: int) -> str:
    """Say why the old backend cannot be quiet within `limit` seconds; empty: it can."""
    if (
        old.scheduled
    ):  # MISP's scheduled tasks put themselves into the delayed jobs again (Task.php)
        return (
            f"the old backend has {backlog(old)}. MISP's scheduled tasks renew themselves, so it "
            "never gets empty: move them to cron, then set on_leftover_jobs to convert"
        )
    if old.last_due <= limit:
        return ""
    return (
        f"the old backend has {backlog(old)}. The last job is due in {_span(old.last_due)}, but "
        f"this run waits for {_span(limit)} at most: raise drain_timeout, or set on_leftover_jobs "
        "to convert"
    )


def unserved(workers: Iterable[OldWorker], old: OldBackend) -> dict[str, int]:
    """Return how many jobs wait in each queue that no old worker takes from, by queue."""
    served = set(old.elsewhere)
    for worker in workers:
        served.update(worker.queues)
    if "*" in served:
        return {}
    return {name: count for name, count in old.waiting.items() if count and name not in served}


def stuck(workers: Iterable[OldWorker], old: OldBackend) -> str:
    """Say which jobs no old worker will do, with the remedy; empty: there are none."""
    queues = sorted(unserved(workers, old))
    if queues:
        return (
            f"no old worker takes jobs from {', '.join(queues)}: start one as the web user "
            f"({_START} start --interval 5 --queue {queues[0]})"
        )
    if old.overdue > LATE_SECONDS:
        return (
            "no old scheduler moves delayed jobs to their queues when they are due: start it as "
            f"the web user ({_START} startscheduler --interval 5; since MISP 2.5.0 it ends at once)"
        )
    return ""


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} minutes"
