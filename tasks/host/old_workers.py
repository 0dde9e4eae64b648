"""The processes of the old backend's workers. old_units and launchers find the units and files
that start them.

`php ./bin/resque` names neither MISP nor a queue, so a process counts by its user, by its working
directory and, for its queues, by its environment. A process of any other user never counts,
whatever it looks like.
"""

import os
from typing import Iterable, List, Set

from tasks.host import gate, old_units, originals, origins, programs, systemd
from tasks.host.errors import HostError
from tasks.host.old_units import OldUnit
from tasks.host.parts import Launcher, OldWorker, OldWorkers
from tasks.host.processes import Process, Table
from tasks.host.site import Site
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser

BY_HAND = "misp-old-workers.service"  # what runs where no unit of the host's own had started them
ANY = "*"  # a worker of all queues, or of unknown ones
SCHEDULER = "_schdlr_"  # serves no queue, though its environment names one
_QUEUES = 32  # names that are kept of what a process says, and characters of each
_QUEUE_SIZE = 64


def look(
    site: Site,
    user: WebUser,
    units: List[OldUnit],
    launchers: List[Launcher],
    supervised: List[str],
) -> OldWorkers:
    """The old workers, and what starts them.

    Args:
        units: as `old_units.found` has them.
        launchers: as `launchers.found` has them.
        supervised: supervisord's programs that start old workers.
    """
    table = Table()
    candidates = _resque(user, table)
    own = _of_this_misp(site, candidates)
    started_in = {one.unit for one in own}
    return OldWorkers(
        [OldWorker(one.pid, one.parent, queues_of(one), one.uid) for one in own],
        [one.pid for one in candidates if one.is_hidden],
        systemd.show(old_units.names(site, units)),
        launchers + old_units.unread(units) + old_units.unfit(units),
        supervised,
        bool(originals.launchers(site)),
        sorted(started_in - {""}),
        origins.of(own, table),
        old_units.indirect(units),
        old_units.variables(units),
    )


def processes(site: Site, user: WebUser) -> List[Process]:
    """The old workers of this MISP, with the forks that run a job."""
    return _of_this_misp(site, _resque(user, Table()))


def coming(site: Site, user: WebUser) -> List[Process]:
    """The scripts of MISP's that start workers just now, one after the other."""
    found = [one for one in Table().of_users(user.uid, 0) if any(map(_is_start, one.argv[:3]))]
    return _of_this_misp(site, found)


def _is_start(word: str) -> bool:
    return os.path.basename(word) in ("start.sh", "start_dynamic.sh")


def hidden(user: WebUser) -> List[int]:
    """Processes that may be this MISP's old workers, but that root may not look at."""
    return [one.pid for one in _resque(user, Table()) if one.is_hidden]


def _resque(user: WebUser, table: Table) -> List[Process]:
    found = [one for one in table.of_users(user.uid, 0) if is_resque(one)]
    return sorted(found, key=lambda one: one.pid)


def is_resque(process: Process) -> bool:
    """Whether it looks like php-resque's worker or scheduler, not like the shell around one."""
    if "php" not in process.name and not process.name.startswith("resque"):
        return False
    words = process.argv
    if words and words[0].startswith("resque-"):  # its title, as in "resque-1.2: Waiting for x"
        return True
    return bool(words) and "php" in words[0] and any("bin/resque" in word for word in words)


def _of_this_misp(site: Site, candidates: Iterable[Process]) -> List[Process]:
    below = tuple(root + "/" for root in site.roots)
    return [one for one in candidates if (one.cwd + "/").startswith(below)]


def queues_of(process: Process) -> List[str]:
    """The queues that it serves; ANY for all of them, or unknown ones.

    The text is the web user's: it is cut, and nothing in it reaches a terminal as a command.
    """
    if any("resque-scheduler" in word for word in process.argv):
        return [SCHEDULER]
    value = process.environ.get("QUEUE", "")[: _QUEUES * _QUEUE_SIZE]
    names = ["".join(filter(_is_plain, name))[:_QUEUE_SIZE] for name in value.split(",")]
    return [name for name in names if name][:_QUEUES] or [ANY]


def served(workers: Iterable[Process]) -> Set[str]:
    """The queues that these serve together."""
    return {queue for one in workers for queue in queues_of(one)}


def _is_plain(character: str) -> bool:
    return character.isprintable() and not character.isspace() and character != "`"


def jobs(workers: Iterable[Process]) -> Set[int]:
    """PIDs of the forks that run a job."""
    workers = list(workers)
    pids = {one.pid for one in workers}
    return {one.pid for one in workers if one.parent in pids}


def send(user: WebUser, workers: Iterable[Process], number: int) -> List[int]:
    """Signal the workers, not the forks that run a job; returns who took it.

    With the web user's rights: a PID that is another process by now is out of reach.
    """
    workers = [one for one in workers if one.is_alive]
    forks = jobs(workers)
    pids = [one.pid for one in workers if one.pid not in forks]
    return gate.signal_as(user, pids, number) if pids else []


def start_by_hand(site: Site, user: WebUser) -> None:
    """Start the workers where no unit of the host's own does.

    By systemd, as daemons outlive this call, and as a job may need what the gate takes from its
    children: a setgid sendmail. Not by rc.local or cron, which would run all their lines again.

    Raises:
        HostError: they do not live afterwards.
    """
    script = site.app + "/Console/worker/start.sh"
    bash = programs.find("bash")
    if not bash:
        raise HostError("bash is missing on this host, which %s needs: install it" % script)
    systemd.run_once(BY_HAND, user.name, [bash, script], "Old MISP workers, started by hand")
    if not wait_until(lambda: bool(processes(site, user)), 30.0):
        raise HostError(
            "%s was run as %s, but no old worker lives after 30 s: see journalctl -u %s and "
            "app/tmp/logs/resque-worker-error.log" % (script, user.name, BY_HAND)
        )
