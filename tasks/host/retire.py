"""The old workers' end, without cutting a job, and their return.

QUIT lets a worker finish its job; TERM, which `systemctl stop` sends to a unit without ExecStop,
kills the job. Restart=always would start them again, so a drop-in in /run (gone at a reboot, like
the rest of a half-done stop) takes the unit's reflexes away first.

So a worker does not do the next job in its queue. The queues are looked at again when all have
left, and where a job came meanwhile they are started again.
"""

import signal
from typing import Callable, Dict, List, Optional, Set

from tasks.host import (
    launchers,
    moves,
    old_units,
    old_workers,
    originals,
    proof,
    scheduled_tasks,
    systemd,
)
from tasks.host.done import Done
from tasks.host.errors import DrainLimitError, HostError, RefusedError
from tasks.host.misp import Misp
from tasks.host.parts import Unit
from tasks.host.processes import Process, Table
from tasks.host.queues import QUEUES, OldBackend
from tasks.host.site import Desired, Site
from tasks.host.waiting import Clock, wait_until
from tasks.host.web_user import WebUser

RUNS = ("active", "activating", "reloading")
LINK = "link "  # in the record, before a file elsewhere that `systemctl link` had made a unit
QUEUE = "queue "  # in the record, before a queue that an old worker served
_LEAVING = (
    "Old workers that were told to leave end after their job. Start their unit again then, or run "
    "again"
)
_KNOWN = {*QUEUES, old_workers.SCHEDULER}  # other names may be anything that the web user says
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


class OldWorkers:
    """The old workers' processes, and the units and files that start them."""

    def __init__(self, site: Site, user: WebUser) -> None:
        self.site = site
        self.user = user
        self._units = systemd.show(old_units.names(site))
        self._in_use = [unit for unit in self._units if _is_in_use(unit)]
        self._told: Set[int] = set()

    def living(self) -> List[Process]:
        """Their processes, with the forks that run a job."""
        return old_workers.processes(self.site, self.user)

    def hold(self) -> None:
        """Take away what would start them again, and remember it."""
        _record(self.site, self.user, self._units, self._in_use)
        try:
            self._hold_units()
            launchers.take_out(self.site, self.user)
        except Exception:  # nothing was stopped, and then nothing is held
            let_go(self._units)
            launchers.put_back(self.site)
            raise

    def _hold_units(self) -> None:
        for unit in self._units:
            if unit.name.endswith(".service"):
                systemd.hold_unit(unit.name)
        systemd.reload_daemon()

    def left(self) -> List[str]:
        """Send QUIT to each that was not told yet; return those that still live, in words.

        So a worker that appears meanwhile, as by a cron job's start_dynamic.sh, is told as well.
        """
        left = self.living()
        forks = old_workers.jobs(left)
        new = [one for one in left if one.pid not in self._told and one.pid not in forks]
        self._told.update(old_workers.send(self.user, new, signal.SIGQUIT))
        # A start.sh that had begun before the launchers were taken out goes on to start workers.
        coming = old_workers.coming(self.site, self.user)
        return [_described(one) for one in left] + ["%d (starts some)" % one.pid for one in coming]

    def start_anew(self) -> None:
        """Start all of them, after those that live have finished their jobs."""
        self._hold_units()
        try:
            _wait_until_gone(self, self.site.drain_timeout, Clock())
        except Exception:
            let_go(self._units)  # a restart would cut the job that still runs
            raise
        self.start_again()

    def give_back(self) -> None:
        """Undo `hold`, but restart nothing: systemd would kill the jobs of those that live."""
        let_go(self._units)
        launchers.put_back(self.site)

    def start_again(self) -> None:
        """Start what ran before, or does at boot, and undo `hold`."""
        let_go(self._units)
        for unit in self._in_use:
            systemd.restart(unit.name)  # one that remains after exit does nothing on a start
        launchers.put_back(self.site)
        run_by_hand(self.site, self.user)

    def stop_units(self) -> None:
        """Have nothing that starts them, now or at boot."""
        # What starts a service goes before it.
        for unit in sorted(self._units, key=lambda one: one.name.endswith(".service")):
            if unit.is_there:
                systemd.stop(unit.name)
                systemd.disable(unit)
                systemd.reset_failed(unit.name)
        let_go(self._units)  # which makes systemd see what `disable` did


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
    before = look()
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
    workers.hold()
    try:
        _wait_until_gone(workers, limit, clock)
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


def _converted(
    look: Callable[[], OldBackend], convert: Optional[Callable[[], object]]
) -> OldBackend:
    """Convert the jobs that came while the workers ended; return the old backend after that."""
    after = look()
    if convert is None or not after.has_work(with_scheduled=False):
        return after
    convert()
    return look()


def _wait_until_gone(workers: OldWorkers, limit: float, clock: Clock) -> None:
    left: List[str] = []

    def are_gone() -> bool:
        left[:] = workers.left()
        return not left

    if not wait_until(are_gone, limit, clock=clock):
        raise DrainLimitError(
            f"drain limit of {limit:.0f} s reached, old workers still run: {'; '.join(left)}. "
            "They leave after their job, and nothing starts old workers until then; run again then"
        )


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


def _is_in_use(unit: Unit) -> bool:
    """Whether it runs or starts at boot. What has no file cannot be started again."""
    if unit.enabled == systemd.TRANSIENT:
        return False
    return unit.active in RUNS or unit.enabled.startswith("enabled")


def _record(site: Site, user: WebUser, units: List[Unit], in_use: List[Unit]) -> None:
    """The way back, on disk before anything changes."""
    originals.keep_units(
        site, [unit.name for unit in units if unit.enabled != systemd.TRANSIENT and unit.is_there]
    )
    for unit in units:
        target = systemd.linked_file(unit.name)
        if target:  # `disable` removes the link as well
            originals.add_launcher(site, LINK + target)
    living = old_workers.processes(site, user)
    for queue in sorted(old_workers.served(living) & _KNOWN):
        originals.add_launcher(site, QUEUE + queue)
    if not in_use and living:
        originals.add_launcher(site, launchers.RAN)


def _described(worker: Process) -> str:
    return "%d (%s)" % (worker.pid, ", ".join(old_workers.queues_of(worker)))


def let_go(units: List[Unit]) -> None:
    """Undo `hold` for these units."""
    for unit in units:
        systemd.let_unit_go(unit.name)
    systemd.reload_daemon()


def run_by_hand(site: Site, user: WebUser) -> None:
    """Start what nothing had started before its retirement, unless it lives."""
    if launchers.RAN in originals.launchers(site) and not old_workers.processes(site, user):
        old_workers.start_by_hand(site, user)
