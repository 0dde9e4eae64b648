"""The old workers' end, without cutting a job.

A worker that was told to leave does not do the next job in its queue. So the queues are looked at
again when all have left, and where a job came meanwhile they are started again.
"""

from typing import Callable, Dict, List, Optional

from tasks.host import (
    launchers,
    moves,
    old_units,
    old_workers,
    proof,
    scheduled_tasks,
)
from tasks.host.done import Done
from tasks.host.errors import DrainLimitError, HostError, RefusedError
from tasks.host.misp import Misp
from tasks.host.old_workers_stop import OldWorkers, wait_until_gone
from tasks.host.processes import Process, Table
from tasks.host.queues import OldBackend
from tasks.host.site import Desired, Site
from tasks.host.waiting import Clock
from tasks.host.web_user import WebUser

_LEAVING = (
    "Old workers that were told to leave end after their job. Start their unit again then, or run "
    "again"
)
_SOURCES = (
    " If that happens again and again, something enqueues there with settings from before: a PHP "
    "of the web tier with a cached config.php, another host's MISP on the same Redis, or a cake "
    "command that ran all along"
)


def retire(site: Site, desired: Desired) -> Done:
    """Have no old worker live, and nothing that starts one.

    Raises:
        RefusedError: something is in the way; nothing was stopped.
        DrainLimitError: there is work on the old backend, or a job runs for too long.
    """
    with Misp(site, desired) as one:
        user = one.user
        _refuse_unproven(one)
        _check(site, user)
        workers = OldWorkers(site, user)
        converted: List[Done] = []

        def convert() -> None:
            converted.append(moves.convert_jobs(one))

        end_workers(
            lambda: moves.old_state(one, [worker.pid for worker in workers.living()]),
            convert if site.leftovers == "convert" else None,
            workers,
            site.drain_timeout,
            Clock(),
        )
        try:
            done = scheduled_tasks.hand_over(one, workers_return=True)
        except Exception:  # whatever the web user's answers bring about
            workers.start_again()  # else nobody would run them
            raise
        workers.stop_units()
        lines = [*done.lines, *moves.forget_dead(one)]
    return done._replace(lines=lines, converted=sum(one.converted for one in converted))


def end_workers(
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
        limit: seconds for a job that runs.

    Raises:
        DrainLimitError: there is work, or a worker does not finish its job.
    """
    with_scheduled = convert is None
    _refuse_work(look(), with_scheduled=with_scheduled)
    workers.hold()
    _see_off(workers, limit, clock)
    try:
        after = _converted(look, convert)
    except Exception:
        workers.start_again()  # else nobody would do what still comes
        raise
    if after.has_work(with_scheduled=with_scheduled):
        workers.start_again()
        if after.error:
            raise DrainLimitError(
                f"the old backend has {after.backlog}. The old workers were started again: start "
                "that Redis, then run again"
            )
        raise DrainLimitError(
            f"a job reached the old backend while its workers stopped: {after.backlog}. They were "
            f"started again; run again to wait for it.{_SOURCES}"
        )


def _refuse_work(before: OldBackend, *, with_scheduled: bool) -> None:
    if before.error:
        raise DrainLimitError(
            f"the old backend has {before.backlog}. Nothing was stopped: start that Redis, then "
            "run again"
        )
    if before.has_work(with_scheduled=with_scheduled):
        raise DrainLimitError(
            f"the old backend has work again: {before.backlog}. Nothing was stopped; run again to "
            f"wait for it.{_SOURCES}"
        )


def _see_off(workers: OldWorkers, limit: float, clock: Clock) -> None:
    """Have them leave. At the limit nothing brings back those that have left."""
    try:
        wait_until_gone(workers, limit, clock)
    except DrainLimitError:
        raise
    except Exception as error:  # who was told to leave leaves, so the others are to come back
        if workers.living():
            workers.give_back()
            if isinstance(error, HostError):
                error.args = ("%s. %s" % (error, _LEAVING),)
        else:
            workers.start_again()
        raise


def _converted(
    look: Callable[[], OldBackend], convert: Optional[Callable[[], object]]
) -> OldBackend:
    """Convert the jobs that came while the workers ended; return the old backend after that."""
    after = look()
    if convert is None or not after.has_work(with_scheduled=False):
        return after
    convert()
    return look()


def _refuse_unproven(one: Misp) -> None:
    """The proof was seen before the drain, and that may have lasted for hours."""
    seen = proof.look(one)
    if not seen.proven or seen.proven != seen.evidence:
        raise RefusedError(
            "the new workers are not proven any more, so the old ones stay: somebody has changed "
            "MISP or the workers while the old ones finished their jobs. See how the host is now "
            "(its status), then run again"
        )


def _check(site: Site, user: WebUser) -> None:
    hidden = old_workers.hidden(user)
    if hidden:
        raise RefusedError(
            "root may not look at these processes, which may be old workers: %s. Run this where "
            "root may (in a container: with SYS_PTRACE)" % _numbers(hidden)
        )
    workers = old_workers.processes(site, user)
    roots = [one.pid for one in workers if one.uid == 0]
    if roots:
        raise RefusedError(
            "root runs old workers (%s), and MISP's code must not have root's rights: end them "
            "(kill -QUIT, which waits for their jobs), and run again" % _numbers(roots)
        )
    # Where CakeResque is gone its unit starts in vain, again and again.
    scripts = [one.pid for one in old_workers.coming(site, user)]
    strangers = _strangers(workers, old_units.names(site), scripts)
    for unit in sorted(strangers):
        raise RefusedError(
            "%s also runs PHP processes that are no workers as CakeResque starts them (php "
            "./bin/resque): %s. They would live on, so nothing was stopped: see what they are, end "
            "them, and run again" % (unit, _numbers(strangers[unit]))
        )
    units = old_units.found(site, user)
    for one in old_units.unread(units):
        raise RefusedError(
            "the old workers' unit %s is in a file that root does not trust (%s): put a copy of it "
            "in /etc/systemd/system in its place, and run again" % (one.path, one.unfit)
        )
    for one in old_units.unfit(units):
        raise RefusedError(
            "the unit %s may also start the old workers (%s): name it with legacy_service, or take "
            "that out by hand, and run again" % (one.path, one.unfit)
        )
    launchers.check(site, user)


def _numbers(pids: List[int]) -> str:
    return ", ".join(map(str, sorted(pids)))


def _strangers(
    workers: List[Process], units: List[str], scripts: List[int]
) -> Dict[str, List[int]]:
    """PHP processes in the old workers' units that are neither workers nor of these scripts."""
    known = {one.pid for one in workers}
    found: Dict[str, List[int]] = {}
    for one in Table():
        is_known = one.pid in known or one.parent in scripts
        if not one.name.startswith("php") or is_known or not one.argv:
            continue
        if one.unit in units and not one.is_in_a_container and one.is_alive:
            found.setdefault(one.unit, []).append(one.pid)
    return found
