"""What a look at the old backend means, in numbers and in sentences for the operator. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tasks.host.queues import QUEUES, OldBackend
from tasks.host.remedies import as_web_user, names, quoted
from tasks.host.waiting import span

_LATE_SECONDS = 60  # the old scheduler looks every 5 s

OR_CONVERT = "or set on_leftover_jobs to convert, and run again"
# Task.php: each run of a scheduled task enqueues the next one, as a delayed job.
SCHEDULED = (
    "MISP's scheduled tasks (Administration, Scheduled Tasks) enqueue themselves again each time, "
    "so the old backend never becomes quiet: take `scheduled_tasks: leave` out of the inventory, "
    "or set on_leftover_jobs to convert, and run again"
)


class Look(NamedTuple):
    """The old backend at one moment."""

    old: OldBackend
    workers: Sequence[Sequence[str]]  # the queues of each living old worker; "*": all of them
    can_return: bool  # old workers live, or something would start them
    at: float  # seconds since some moment
    misp_root: str = "MISP_ROOT"  # for commands, as the next one; none: not known
    web_user: str = ""
    converts: bool = False  # on_leftover_jobs is convert already, so no remedy names it

    @property
    def or_convert(self) -> str:
        """The end of a sentence with a remedy."""
        return "then run again" if self.converts else OR_CONVERT


def arrived(before: OldBackend, now: OldBackend) -> int:
    """How many jobs were enqueued between two looks, but not by old jobs.

    Only known where the first look saw no work: then no old job can have enqueued another one.
    """
    return 0 if before.backlog else came(before, now)


def came(before: OldBackend, now: OldBackend) -> int:
    """How many jobs were enqueued between two looks, by whatever."""
    if before.error or now.error:
        return 0
    return max(0, _ever(now) - _ever(before))


def _ever(old: OldBackend) -> int:
    return old.waits + old.running + old.processed


def renews(before: OldBackend, now: OldBackend) -> bool:
    """Whether a scheduled task has enqueued itself again: there are as many, due later."""
    is_same = 0 < before.scheduled <= now.scheduled and before.delayed == now.delayed
    return is_same and now.last_due > before.last_due


def worth_waiting(look: Look, seconds: float) -> bool:
    """Whether old workers have something to do within that time, MISP's scheduled tasks aside."""
    old = look.old
    is_late = old.overdue > _LATE_SECONDS
    is_due = bool(old.delayed) and old.next_due <= seconds
    served = old.waits - sum(unserved(look).values())
    return bool(served or old.running or (is_due and not is_late))


def never_quiet(old: OldBackend, limit: int) -> str:
    """Why the old backend cannot be quiet within `limit` seconds; empty: it can."""
    if old.last_due <= limit:
        return ""
    advice = SCHEDULED if old.scheduled else f"raise drain_timeout, {OR_CONVERT}"
    return (
        f"the old backend has {old.backlog}, the last of them due in {span(old.last_due)}, and "
        f"the drain limit is {span(limit)}. {advice[0].upper()}{advice[1:]}"
    )


def left_behind(old: OldBackend, *, converts: bool = False) -> str:
    """What a CakeResque that is gone has left behind, or that nobody can tell; empty: nothing."""
    if old.is_installed or not (old.error or old.convertible):
        return ""
    if old.error:
        return (
            f"this MISP has no CakeResque any more, and whether jobs stayed behind "
            f"({quoted(old.at) or 'in Redis'}) cannot be told: {quoted(old.error)}. Start that "
            "Redis, then run again"
        )
    tasks = old._replace(scheduled=0)  # no scheduler reads them, and the new one has its own
    sets = "" if converts else "set on_leftover_jobs to convert, and "
    return (
        f"the old backend ({quoted(old.at)}) has {tasks.backlog}, and this MISP has no CakeResque "
        f"any more, so no old worker can do them: {sets}run the deploy again, which makes jobs of "
        "the new backend of them"
    )


def unasked(old: OldBackend) -> str:
    """Why it is not known what the old backend has, and the remedy."""
    at = f" ({quoted(old.at)})" if old.at else ""
    return (
        f"the old workers' Redis{at} cannot be asked: {quoted(old.error)}. Start it, or correct "
        "app/Plugin/CakeResque/Config/config.php, then run again"
    )


def unserved(look: Look) -> dict[str, int]:
    """How many jobs wait in each queue that no old worker takes from, here or elsewhere."""
    served = {queue for queues in look.old.elsewhere.values() for queue in queues}
    return {name: count for name, count in _not_here(look).items() if not served & {name, "*"}}


def _not_here(look: Look) -> dict[str, int]:
    served = {queue for queues in look.workers for queue in queues}
    if "*" in served:
        return {}
    return {name: count for name, count in look.old.waiting.items() if count and name not in served}


def elsewhere(look: Look) -> str:
    """Which jobs only workers of another host can do, if these live; empty: none."""
    queues = sorted(_not_here(look).keys() - unserved(look).keys())
    if not queues:
        return ""
    hosts = [host for host, served in look.old.elsewhere.items() if {*queues, "*"} & set(served)]
    at = names(sorted(hosts))
    return (
        f"only workers of {at} are entered for {names(queues)}, and whether these live "
        f"cannot be seen from here. If {at} is a former name of this host or gone, start an old "
        "worker here, and remove these entries from Redis (SREM of the set of workers, "
        "at redis-cli's prompt and never on a shell's line: who writes there chose these names), "
        f"{look.or_convert}"
    )


def nobody_there(look: Look) -> str:
    """What the old backend has that nobody there will do, and the remedy; empty: nothing."""
    if not look.old.is_installed:
        return ""  # see `left_behind`
    queues = sorted(unserved(look))
    if queues:
        # The names are Redis's, where the web user may write what a shell would run.
        known = next((name for name in queues if name in QUEUES), "")
        dead = names(look.old.dead_hosts)
        entered = (
            f" (those entered for {dead} are dead: none is connected to Redis)" if dead else ""
        )
        return (
            f"no old worker lives for {names(queues)}{entered}: start one by "
            f"`{_resque(look, 'start', '--queue', known or 'QUEUE')}`, {look.or_convert}"
        )
    if look.old.overdue > _LATE_SECONDS:
        return (
            "nothing brings delayed jobs to their queues when they are due: start the old "
            f"scheduler by `{_resque(look, 'startscheduler')}` (since MISP 2.5.0 it ends at once), "
            f"{look.or_convert}"
        )
    return ""


def _resque(look: Look, *words: str) -> str:
    cake = f"{look.misp_root}/app/Console/cake"
    options = ("CakeResque.CakeResque", words[0], "--interval", "5", *words[1:])
    return as_web_user(look.web_user, cake, *options, shows=False)
