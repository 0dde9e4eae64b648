"""The old workers' processes, and the units and files that start them, while they end.

QUIT lets a worker finish its job; TERM, which `systemctl stop` sends to a unit without ExecStop,
kills the job. Restart=always would start them again, so a drop-in in /run (gone at a reboot, like
the rest of a half-done stop) takes the unit's reflexes away first.
"""

import signal
from typing import List, Set

from tasks.host import launchers, old_units, old_workers, originals, systemd
from tasks.host.errors import DrainLimitError
from tasks.host.parts import Unit
from tasks.host.processes import Process
from tasks.host.queues import QUEUES
from tasks.host.site import Site
from tasks.host.waiting import Clock, wait_until
from tasks.host.web_user import WebUser

RUNS = ("active", "activating", "reloading")
LINK = "link "  # in the record, before a file elsewhere that `systemctl link` had made a unit
QUEUE = "queue "  # in the record, before a queue that an old worker served
_KNOWN = {*QUEUES, old_workers.SCHEDULER}  # other names may be anything that the web user says


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
            wait_until_gone(self, self.site.drain_timeout, Clock())
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


def wait_until_gone(workers: OldWorkers, limit: float, clock: Clock) -> None:
    """Tell them to leave, and wait until none lives.

    Args:
        limit: seconds for a job that runs.

    Raises:
        DrainLimitError: a worker does not finish its job.
    """
    left: List[str] = []

    def are_gone() -> bool:
        left[:] = workers.left()
        return not left

    if not wait_until(are_gone, limit, clock=clock):
        raise DrainLimitError(
            f"drain limit of {limit:.0f} s reached, old workers still run: {'; '.join(left)}. "
            "They leave after their job, and nothing starts old workers until then; run again then"
        )


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
