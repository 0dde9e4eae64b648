"""What a look at a host finds, part by part. Both sides read these types, so they hold values only.

Each part is a NamedTuple of texts, numbers and other parts: it travels as JSON and is checked
against these types, strictly, where it arrives. What was not found is empty, 0, False or -1; a
part that could not be found out says why in `error`.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

from tasks.host.package_parts import Libraries, Packages, Room, Sources
from tasks.host.php_parts import Job, Php, Pool, Web
from tasks.host.queues import NewBackend, OldBackend
from tasks.host.site import SupervisorIdentity, is_on
from tasks.host.versions import Version

# Parts from elsewhere, too.
__all__ = [
    "Job",
    "Libraries",
    "NewBackend",
    "OldBackend",
    "Packages",
    "Php",
    "Pool",
    "Room",
    "Sources",
    "Web",
]


class Unit(NamedTuple):
    """A systemd unit: ActiveState and what `systemctl is-enabled` says."""

    name: str  # with its suffix
    active: str
    enabled: str
    main_pid: int
    is_there: bool
    is_held: bool = False  # a retirement that was cut off has taken its reflexes away

    @property
    def starts_at_boot(self) -> bool:
        """Whether systemd starts it by itself."""
        return self.enabled in ("enabled", "enabled-runtime", "linked")


class System(NamedTuple):
    """The host itself."""

    init: str  # name of PID 1
    memory_kb: int  # available; -1: unknown
    disk_kb: int  # free for /var/log and /var/lib, the smaller; -1: unknown
    inodes: int  # free there, the smaller; -1: unknown
    is_writable: bool  # a test file could be written beside the state directory
    busy: str  # another run at work here, in words
    logs_input: bool  # sudo records standard input, where secrets travel
    login: str  # the user who called sudo, empty for root


class Access(NamedTuple):
    """Whether the web user may execute a file, and which path stops him."""

    # "": he may; else missing, link, closed, noexec, noexec-below (in MISP's folder), mode,
    # forbidden or unknown.
    fault: str
    place: str  # the link, the folder that is closed to him, the mount point, or the file itself
    rights: str  # of that place, as in `root:root 750`


class Tree(NamedTuple):
    """MISP's files, looked at as the web user."""

    error: str  # why nothing of MISP's was run or read; see `web_user`
    root_exists: bool
    web_user: str
    web_group: str
    version_text: str  # VERSION.json, its first 80 characters
    version: Version
    config_owner: str
    config_mode: int  # permission bits; -1: no config.php
    is_savable: bool  # MISP may write config.php and its folder
    cake: Access  # to app/Console/cake, by which workers and jobs start
    has_cake_php: bool
    composer: str  # how Composer is called, empty: not there
    disk_kb: int  # free in app/tmp; -1: unknown
    links: Tuple[str, ...] = ()  # of what Composer changes in app/
    mounts: Tuple[str, ...] = ()  # as well
    is_tmp_writable: bool = True  # jobs and MISP's command line write in app/tmp
    inodes: int = -1  # free in app/tmp; -1: unknown


class Place(NamedTuple):
    """Where the new backend's queues are; without the password."""

    host: str
    port: int
    database: int
    namespace: str
    max_job_history_ttl: int


class Settings(NamedTuple):
    """MISP's settings as stored. Of secrets only "is it the wanted one"."""

    error: str
    block: Dict[str, Any]  # SimpleBackgroundJobs without its passwords
    wanted: Place
    is_supervisor_password_right: bool
    is_redis_password_right: bool
    is_redis_password_settable: bool  # MISP's command line takes a leading - for an option
    is_in_database: bool
    is_encrypted: bool
    has_background_jobs: bool
    read_timeout: float  # seconds until PHP gives up on Redis; -1: never
    is_pending: bool  # a password was made that MISP does not have yet

    @property
    def is_on(self) -> bool:
        """Whether MISP uses the new backend."""
        return is_on(self.block, self.is_in_database)


class OldWorker(NamedTuple):
    """A living process of the old backend."""

    pid: int
    parent: int
    queues: List[str]  # "*": all of them, or unknown
    uid: int
    seconds: int = -1  # since its start; -1: not known


class Origin(NamedTuple):
    """Where an old worker runs, which says who started it."""

    unit: str  # service or scope, empty: not known
    user: str  # whose own systemd or login session that is, empty: the system's
    service: str  # what opened that session, as in "sshd" or "crond"
    parent: str  # name of the process above them, empty: PID 1
    supervisord: str  # its PID and main file, if one runs in that unit or above them
    supervisord_user: str = ""  # whose it is, and then no file is named; empty: root's

    @property
    def words(self) -> str:
        """For a sentence, as in "old workers run in ..."."""
        where = self.unit or "no unit"
        if self.service:
            where = "a session of %s that %s opened" % (self.user, self.service)
        elif self.user:
            where += " of the systemd of %s" % self.user
        return where + (" below %s" % self.parent if self.parent else "")


class Launcher(NamedTuple):
    """A file with a line that starts old workers, or a unit that is not known to do that alone."""

    path: str
    unfit: str  # why it cannot be taken out of use automatically
    via: str = ""  # the script or the unit by which it starts them, empty: by MISP's own command


class OldWorkers(NamedTuple):
    """The old workers' processes and all that starts them."""

    processes: List[OldWorker]
    hidden: List[int]  # processes that may be old workers, but that root may not look at
    units: List[Unit]
    launchers: List[Launcher]
    programs: List[str]  # of supervisord's, that start old workers
    is_taken_out: bool  # launchers were taken out of use by an earlier run
    started_in: List[str]  # units that old workers run in
    origins: List[Origin]  # the same with what more is known, and with users' own units
    indirect: Dict[str, str]  # units that start them by a script or another unit, and what that is
    variables: Dict[str, str]  # units that give them an environment, and the names in it

    @property
    def live(self) -> bool:
        """Old workers run, or something would start them: now, on demand or at the next boot."""
        return bool(self.processes or self.hidden or self.launchers) or any(
            unit.is_held
            or unit.active not in ("inactive", "failed", "unknown", "")
            or unit.starts_at_boot
            for unit in self.units
        )


class ScheduledTasks(NamedTuple):
    """MISP's scheduled tasks that the old backend has and somebody else gets."""

    left: int  # how many are to be handed over
    lines: List[str]  # what cron gets, and what else becomes of them
    error: str  # why MISP's table of them cannot be read
    unfit: List[str]  # types that nothing can take over
    lacks: List[str]  # programs that cron's lines need and that are missing
    odd: str = ""  # why the delayed jobs cannot be MISP's
    refuses_scripts: bool = False  # the old backend's Redis refuses EVAL


class Worker(NamedTuple):
    """A process of supervisord's; `name` as supervisorctl prints it, uptime in seconds."""

    name: str
    state: str
    pid: int
    uptime: int
    note: str
    user: str  # whom it runs as, empty without a process
    other_misp: str = ""  # folder of another MISP that it works for

    @property
    def group(self) -> str:
        """Its group's name."""
        return self.name.partition(":")[0]


class Listener(NamedTuple):
    """A process that listens on the RPC's port."""

    pid: int
    name: str
    unit: str


class MissingFolder(NamedTuple):
    """A folder that supervisord needs to start."""

    path: str
    section: str  # what names it, as in "logfile of [supervisord]"
    owner: str  # who can turn the path to another folder, and so has to make it; empty: root alone

    @property
    def words(self) -> str:
        """For a sentence."""
        return "%s (%s)" % (self.path, self.section) if self.section else self.path


class Supervisor(NamedTuple):
    """Supervisord: its files, its service and what it runs."""

    identity: SupervisorIdentity
    conf: str  # path, empty: not there
    include: List[str]  # patterns of [include], absolute
    unit: Unit
    unix_socket: str
    inet_file: str  # a file that is not ours with an [inet_http_server]
    inet_address: str
    inet_user: str
    inet_answer: str  # what supervisord says there: "ok", "401", or a reason
    is_listening: bool  # somebody listens on the RPC's port
    listeners: List[Listener]
    group_elsewhere: Dict[str, str]  # other files with the group or one of its programs: its MISP
    group_root: str  # MISP root that our group file is for
    group_extra: List[str]  # sections of that file that are neither the group nor its programs
    lost_folders: List[str]  # of logs, that its unit will make: without them it does not start
    missing_folders: List[MissingFolder]  # of logs, that nobody will make
    other_daemon: str  # why the unit's supervisord is not the one that runs, with the remedy
    error: str  # why its programs are not known
    workers: List[Worker]  # all programs, MISP's and others'


class OwnRpc(NamedTuple):
    """The file of an [inet_http_server] that the operator made."""

    mode: int  # permission bits; -1: there is none
    password_length: int  # 0: hashed, or none


class Rpc(NamedTuple):
    """Our own RPC file and whether supervisord answers as MISP will ask it."""

    is_current: bool  # the file is as it should be, with its mode and owner
    answer: str  # "ok", "401", or a reason
    keeps_log_folders: bool  # supervisord's unit makes those that may be swept away


class Workers(NamedTuple):
    """The worker group's file and what became of it."""

    digest: str  # of the file, empty: wrong owner or mode, or absent
    has_log_dir: bool  # with its owner and mode
    applied: str  # digest of what supervisord has loaded
    strays: List[int]  # workers of a supervisord that was killed
    root_strays: List[int]  # such workers that run as root
    busy: List[str]  # names of workers that have a job
    elsewhere: Dict[str, List[int]]  # where else this MISP's workers run, and their PIDs


class Proof(NamedTuple):
    """What was proven, and what a proof would hold for now."""

    proven: str
    evidence: str


class HealthCheck(NamedTuple):
    """The program that an operator may have left on the host."""

    digest: str  # empty: it is not there, or not as we leave it


class View(NamedTuple):
    """MISP's own view of its workers: `cake Admin getWorkers`."""

    error: str
    workers: Dict[str, Any]


class Selinux(NamedTuple):
    """SELinux, as far as the guide's module is concerned."""

    mode: str  # Enforcing, Permissive, Disabled or Absent
    built: str  # digest of the source that was built
    is_loaded: bool
    cake_label: str
    cake_rule: str
    has_network: bool  # httpd_can_network_connect


class Originals(NamedTuple):
    """The record of the host's state before the first change."""

    is_kept: bool
    was_on: bool  # MISP used the new backend already when the migration first ran here
    daemon_before: str  # supervisord's state before, empty: not recorded
    units_before: List[Unit]
    units_now: List[Unit]
    launchers: List[str]  # paths, and what else `retire` notes of the old workers
    are_launchers_out: bool
    has_rpc_file: bool  # the RPC file's original is kept
    unserved: List[str]  # queues that lost their old worker at its retirement


class RunState(NamedTuple):
    """Whether a run is under way, or was cut before its end."""

    has_state: bool
    is_at_work: bool
    last_run: str  # by whom and since when
