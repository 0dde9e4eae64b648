"""The old workers' return, as they were before the migration: running, and started at boot."""

from typing import List, Set

from tasks.host import launchers, old_units, old_workers, originals, remedies, systemd
from tasks.host.errors import HostError
from tasks.host.old_workers_stop import (
    LINK,
    QUEUE,
    RUNS,
    OldWorkers,
    let_go,
    run_by_hand,
)
from tasks.host.site import Site
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser

_COMES_UP = 30.0  # seconds for the workers that a unit has started


def unserved(site: Site, queues: Set[str]) -> List[str]:
    """The queues that had an old worker before the migration and that are not among these."""
    texts = originals.launchers(site)
    before = {text[len(QUEUE) :] for text in texts if text.startswith(QUEUE)}
    return [] if old_workers.ANY in queues else sorted(before - queues)


def start_old_workers(site: Site, user: WebUser) -> None:
    """Have the old workers live, and start at boot, as before the migration.

    Raises:
        HostError: a unit could not be started, or a queue has no old worker that had one.
        DrainLimitError: an old worker has to start anew, and its job runs for too long.
    """
    let_go(systemd.show(old_units.names(site)))
    recorded = [unit for unit in originals.units(site) if unit.name != site.unit]
    for text in originals.launchers(site):
        if text.startswith(LINK):
            systemd.link(text[len(LINK) :])
    for unit in recorded:
        if unit.enabled == "enabled-runtime":
            systemd.enable("--runtime", unit.name)
        elif unit.enabled.startswith("enabled"):
            systemd.enable(unit.name)
    launchers.put_back(site)
    running = [unit.name for unit in recorded if unit.active in RUNS]
    for name in running:
        systemd.start(name)
    run_by_hand(site, user)
    _have_all_served(site, user, running)


def _have_all_served(site: Site, user: WebUser, running: List[str]) -> None:
    def missing() -> List[str]:
        living = old_workers.processes(site, user)
        if running and not living:
            return [old_workers.ANY]
        return unserved(site, old_workers.served(living))

    if wait_until(lambda: not missing(), _COMES_UP):
        return
    # A unit counts as active when its script has ended, whichever workers live: a start is nothing.
    OldWorkers(site, user).start_anew()
    if wait_until(lambda: not missing(), _COMES_UP):
        return
    started = " ".join(running) or old_workers.BY_HAND
    lacks = ", ".join(missing())
    raise HostError(
        "%s was started twice, but %s after %d s: see journalctl -u %s and "
        "app/tmp/logs/resque-worker-error.log, mend what they name or start them all anew by "
        "`%s`, and run again"
        % (
            started,
            "no old worker lives" if lacks == old_workers.ANY else "no old worker serves " + lacks,
            _COMES_UP,
            started.split()[0],
            remedies.start_old_workers(site.misp_root, user.name),
        )
    )
