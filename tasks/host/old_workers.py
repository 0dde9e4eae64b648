"""The old backend's workers: their processes, and the units that start them.

`php ./bin/resque` names neither MISP nor a queue, so a process counts by its user, by its working
directory and, for its queues, by its environment. A process of any other user never counts,
whatever it looks like.
"""

import glob
import os
import re
from typing import Dict, Iterable, Iterator, List, Set, Tuple

from tasks.host import files, gate, originals, programs, systemd
from tasks.host.errors import HostError
from tasks.host.files import FileError
from tasks.host.parts import Launcher, OldWorker, OldWorkers
from tasks.host.processes import Process, Table
from tasks.host.site import Site
from tasks.host.waiting import wait_until
from tasks.host.web_user import WebUser

BY_HAND = "misp-old-workers.service"  # what runs where no unit of the host's own had started them
ANY = "*"  # a worker of all queues, or of unknown ones
SCHEDULER = "_schdlr_"  # serves no queue, though its environment names one
# All folders that systemd reads units from (systemd.unit(5)); the generators' hold what was made
# of other files, where an edit or `disable` does not last.
_FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_STARTS = re.compile(r"worker/start(_dynamic)?\.sh|CakeResque")
_EXEC_START = re.compile(r"^[ \t]*ExecStart[ \t]*=.*", re.MULTILINE)
_CONTINUED = re.compile(r"\\\r?\n")
_TRIGGERED = re.compile(r"^[ \t]*(?:Unit|Service)[ \t]*=[ \t]*(\S+)", re.MULTILINE)
_QUEUES = 32  # names that are kept of what a process says, and characters of each
_QUEUE_SIZE = 64


def look(site: Site, user: WebUser, launchers: List[Launcher], supervised: List[str]) -> OldWorkers:
    """The old workers, and what starts them.

    Args:
        launchers: as `launchers.found` has them.
        supervised: supervisord's programs that start old workers.
    """
    candidates = _resque(user)
    own = _of_this_misp(site, candidates)
    started_in = {one.unit for one in own}
    units = _by_file(site)
    return OldWorkers(
        [OldWorker(one.pid, one.parent, queues_of(one), one.uid) for one in own],
        [one.pid for one in candidates if one.is_hidden],
        systemd.show(_with_own(site, units)),
        launchers + _unfit(units),
        supervised,
        bool(originals.launchers(site)),
        sorted(started_in - {""}),
    )


def processes(site: Site, user: WebUser) -> List[Process]:
    """The old workers of this MISP, with the forks that run a job."""
    return _of_this_misp(site, _resque(user))


def hidden(user: WebUser) -> List[int]:
    """Processes that may be this MISP's old workers, but that root may not look at."""
    return [one.pid for one in _resque(user) if one.is_hidden]


def _resque(user: WebUser) -> List[Process]:
    found = [one for one in Table().of_users(user.uid, 0) if is_resque(one)]
    return sorted(found, key=lambda one: one.pid)


def is_resque(process: Process) -> bool:
    """Whether it looks like php-resque's worker or scheduler, not like the shell around one."""
    # A worker may give itself a title, as in "resque-1.2: Waiting for default".
    if "php" not in process.name and not process.name.startswith("resque"):
        return False
    words = process.argv
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
    return character.isprintable() and not character.isspace()


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


def unit_names(site: Site) -> List[str]:
    """The units that start this MISP's old workers, under whatever name, and the operator's own."""
    return _with_own(site, _by_file(site))


def _with_own(site: Site, units: List[Tuple[str, str]]) -> List[str]:
    found = {name for name, _ in units}
    if site.legacy_service:
        name = site.legacy_service
        found.add(name if name.endswith(".service") else name + ".service")
    found = _instances(found)
    return sorted(found | _triggers(found))


def unfit_units(site: Site) -> List[Launcher]:
    """Files of such units that somebody else than root could exchange for any program of his."""
    return _unfit(_by_file(site))


def _unfit(units: List[Tuple[str, str]]) -> List[Launcher]:
    return [Launcher(name, unfit) for name, unfit in units if unfit]


def _by_file(site: Site) -> List[Tuple[str, str]]:
    """Units by what they run, and why root does not read a file of one, if so."""
    needles = [root + "/" for root in site.roots]
    folders = _folders()
    found: Set[Tuple[str, str]] = set()
    unread: Dict[str, str] = {}
    for folder in folders:
        for name, path, is_plain in _unit_files(folder, (".service",)):
            try:
                if _starts(_text(path, is_plain, folders), needles):
                    found.add((name, ""))
            except FileError as error:
                unread[name] = str(error)
    for name, line in systemd.exec_start(sorted(unread)).items():
        if _starts("ExecStart=" + line.replace("\n", " "), needles):
            found.add((name, unread[name]))
    return sorted(found)


def _folders() -> List[str]:
    return list(dict.fromkeys(os.path.realpath(folder) for folder in _FOLDERS))


def _unit_files(folder: str, suffixes: Tuple[str, ...]) -> Iterator[Tuple[str, str, bool]]:
    """A unit's name, a file of it, and whether that is a plain file in a folder of root's."""
    try:
        entries = list(os.scandir(folder))
        is_safe = _is_safe(folder + "/any")
    except OSError:
        return
    for entry in entries:
        name = entry.name[:-2] if entry.name.endswith(".d") else entry.name
        if not name.endswith(suffixes) or not systemd.is_name(name):
            continue
        if name == entry.name:
            yield name, entry.path, is_safe and not entry.is_symlink()
        else:
            for path in glob.glob(glob.escape(entry.path) + "/*.conf"):
                yield name, path, False


def _triggers(services: Set[str]) -> Set[str]:
    """Units that start one of these services: a timer starts a disabled one as well."""
    found: Set[str] = set()
    folders = _folders() if services else []
    for folder in folders:
        for name, path, is_plain in _unit_files(folder, (".timer", ".path", ".socket")):
            try:
                targets = _TRIGGERED.findall(_text(path, is_plain, folders))
            except FileError:
                targets = []
            if services.intersection(targets or [name.rpartition(".")[0] + ".service"]):
                found.add(name)
    return found


def _is_safe(path: str) -> bool:
    try:
        return bool(files.real_path(path))
    except FileError:
        return False


def _text(path: str, is_plain: bool, folders: List[str]) -> str:
    """A unit's file, empty for an alias of another unit."""
    real = path if is_plain else files.real_path(path)
    folder, name = os.path.split(real)
    is_alias = not is_plain and folder in folders and name != os.path.basename(path)
    if real == os.devnull or is_alias:
        return ""
    return (files.read(real) or b"").decode("utf-8", "replace")


def _starts(text: str, needles: List[str]) -> bool:
    lines = _EXEC_START.findall(_CONTINUED.sub(" ", text))
    return any(_STARTS.search(line) and any(one in line for one in needles) for line in lines)


def _instances(names: Set[str]) -> Set[str]:
    """With the instances of a template, which by itself never runs, in its place."""
    templates = {name for name in names if name.endswith("@.service")}
    found = names - templates
    for template in templates:
        pattern = template.replace("@.", "@*.")
        lines = programs.run(
            "systemctl", "list-units", "--all", "--plain", "--no-legend", "--", pattern
        ).lines
        found.update(line.split()[0] for line in lines if line.strip())
        links = glob.glob(
            "/etc/systemd/system/*.wants/" + glob.escape(template).replace("@.", "@*.")
        )
        found.update(os.path.basename(link) for link in links)
    return found
