"""What steps will write on a host, and what of MISP's their plan rests on. Nothing is changed.

The contents come from the functions that the steps themselves call, so that a step writes what was
shown. Secrets are masked here: no other machine sees one.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from tasks.host import (
    cron,
    diffs,
    files,
    handed_over,
    healthcheck,
    launchers,
    log_folders,
    old_tasks,
    originals,
    rpc,
    scheduled_tasks,
    tree,
)
from tasks.host.cron import Task
from tasks.host.daemon import Daemon
from tasks.host.diffs import LATER, FileChange
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.site import LEAVE, Desired, Site
from tasks.host.supervisor_access import read_files
from tasks.host.supervisor_files import SupervisorFiles
from tasks.host.waiting import Clock

LIBRARIES, RPC, SETTINGS, WORKERS = "libraries", "rpc", "settings", "workers"
_SHORTEST = 4  # characters of a secret that is looked for; a shorter one is part of many words
LAUNCHERS, TASKS, JOBS, REST = "launchers", "tasks", "jobs", "rest"


class Wants(NamedTuple):
    """What a run will do."""

    steps: List[str]  # of the names above; those that will do something
    rpc_text: str  # of our file, with the token; empty: the server of somebody else is used
    rotates: bool  # a new password
    restarts: bool  # supervisord is started, or started anew
    group_text: str


class Preview(NamedTuple):
    """Before a migration."""

    files: Dict[str, List[FileChange]]  # by step
    digests: Dict[str, str]  # of MISP's own files that will be others, by path; as they were
    tasks: List[Task]  # that are handed over


class PreviewBack(NamedTuple):
    """Before a rollback."""

    files: Dict[str, List[FileChange]]  # by step
    is_config_kept: bool  # config.php becomes what it was; else just `enabled` becomes false
    selinux: Dict[str, Any]  # as it was before the migration; empty: not known
    at_boot: str  # what systemctl said of supervisord's unit then; empty: not known


def deploy(site: Site, desired: Desired, wants: Wants) -> Preview:
    """What these steps of a migration will write.

    Raises:
        HostError: a file cannot be read, or a launcher cannot be taken out of use.
    """
    with Misp(site, desired) as one:
        steps = _Steps(one, wants)
        made = {step: _MAKERS[step](steps) for step in wants.steps if step in _MAKERS}
        names = tree.COMPOSERS[:2] if LIBRARIES in wants.steps else []  # Vendor takes too long
        paths = [site.app + "/" + name for name in names]
        if SETTINGS in wants.steps:
            paths.append(site.config_php)
        return Preview(made, {path: _was(one, path) for path in paths}, steps.handed_over)


class _Steps:
    """The files of each step."""

    def __init__(self, one: Misp, wants: Wants) -> None:
        self.one, self.site, self.wants = one, one.site, wants
        self.found = read_files(self.site, Daemon(self.site.unit).main_pid())
        self.secrets = _secrets(one, self.found)
        self.handed_over: List[Task] = []

    def rpc(self) -> List[FileChange]:
        site, wants, one = self.site, self.wants, self.one
        operators, misps = one.desired.supervisor_password, rpc.stored_password(one)
        wanted = rpc.Wanted(wants.rpc_text, wants.rotates, one.stored().is_on, operators, misps)
        changes = []
        if wants.rpc_text:
            password = rpc.known(site, self.found, operators, misps)
            text = rpc.with_hash(wants.rpc_text, password or "")
            is_made = rpc.has_to_be_made(site, password, wanted)
            changes += self._written(site.rpc_file, text, 0o600, is_later=is_made)
        unit = log_folders.text(site, self.found, one.user)
        # The package's own file, which is yet to come, names folders as well.
        is_known = self.found.exists
        changes += self._written(Daemon(site.unit).drop_in, unit, is_later=not is_known)
        if wants.restarts and rpc.has_group_to_hold(site, wanted):
            changes.append(self._whole(site.group_file, None))
        return changes

    def workers(self) -> List[FileChange]:
        return self._written(self.site.group_file, self.wants.group_text.encode("utf-8"))

    def launchers(self) -> List[FileChange]:
        return [
            diffs.line_by_line(one.path, one.before or b"", one.after or b"", self.secrets)
            for one in launchers.to_take_out(self.site, self.one.user)
        ]

    def tasks(self) -> List[FileChange]:
        one, old, kept = self.one, self.one.old(), handed_over.load(self.site)
        if self.site.scheduled_tasks == LEAVE or old is None:
            return []
        entries = old_tasks.entries(old)
        if kept.is_done and not entries:
            return []
        found = old_tasks.find(one, entries, kept.tasks)
        after = scheduled_tasks.tasks_after(old, kept, found.tasks, Clock().epoch())
        self.handed_over = [after[kind] for kind in found.tasks]
        data = cron.file_of(after.values(), one.user.name, self.site.misp_root)
        written = [] if data is None else self._written(cron.FILE, data)
        return [change._replace(is_volatile=True) for change in written]  # it has times

    def _written(
        self, path: str, data: bytes, mode: int = 0o644, is_later: bool = False
    ) -> List[FileChange]:
        """A file that is written if it is another one, or has another mode."""
        change = self._whole(path, data)
        is_same = change.before == change.after and files.mode_of(path) == "0:0 %o" % mode
        if is_later:
            return [change._replace(after=LATER)]
        return [] if is_same else [change]

    def _whole(self, path: str, after: Optional[bytes]) -> FileChange:
        return diffs.whole(path, files.read(files.real_path(path)), after, self.secrets)


_MAKERS: Dict[str, Callable[[_Steps], List[FileChange]]] = {
    RPC: _Steps.rpc,
    WORKERS: _Steps.workers,
    LAUNCHERS: _Steps.launchers,
    TASKS: _Steps.tasks,
}


def _secrets(one: Misp, found: SupervisorFiles) -> List[str]:
    """The secrets that are known on this host.

    Of MISP's settings these few by their names alone: the web user could fill it with thousands,
    each of which would have to be looked for in each line.
    """
    block, misp = one.stored().block, one.stored().misp
    known = [one.desired.redis_password, one.desired.supervisor_password, rpc.password(one)]
    known += [block.get("redis_password"), block.get("supervisor_password")]
    known += [misp.get("redis_password"), _old_password(one)]
    for kind in ("unix_http_server", "inet_http_server"):
        known += [server.password for server in found.servers(kind)]
    return [text for text in known if isinstance(text, str) and len(text) >= _SHORTEST]


def _old_password(one: Misp) -> str:
    """CakeResque's password of its Redis; empty: none is known."""
    try:
        place = one.old_place()
    except HostError:
        return ""
    return place.password if place else ""


def _was(one: Misp, path: str) -> str:
    """The digest of a file of MISP's as it was before a change of ours, if nobody else made one.

    So it stays the same while a run that was cut off is repeated.
    """
    digest = one.status_of(path)[1]
    kept = originals.kept(one.site, path)
    if kept is not None and originals.is_as_we_left_it(one.site, path, digest):
        return kept.digest
    return digest


def rollback(site: Site, desired: Desired) -> PreviewBack:
    """What a rollback will write."""
    with Misp(site, desired) as one:
        secrets = _secrets(one, read_files(site, Daemon(site.unit).main_pid()))
        digest = one.status_of(site.config_php)[1]
        rest = [site.rpc_file, Daemon(site.unit).drop_in, healthcheck.PATH]
        return PreviewBack(
            {
                LAUNCHERS: _launchers_back(site, secrets),
                JOBS: [*_group_gone(site, secrets), *_kept(site, [cron.FILE], secrets)],
                REST: _kept(site, rest, secrets),
            },
            originals.is_as_we_left_it(site, site.config_php, digest),
            originals.selinux(site) or {},
            "".join(one.enabled for one in originals.units(site) if one.name == site.unit),
        )


def _launchers_back(site: Site, secrets: List[str]) -> List[FileChange]:
    changes = []
    for one in launchers.to_put_back(site):
        if one.before is None or one.after is None:
            data = files.read(originals.saved(site, one.path))
            changes.append(diffs.whole(one.path, None, data, secrets))
        else:
            changes.append(diffs.line_by_line(one.path, one.before, one.after, secrets))
    return changes


def _group_gone(site: Site, secrets: List[str]) -> List[FileChange]:
    """See `_remove_workers` of rollback.py: a group from before the migration is set aside."""
    known = originals.kept(site, site.group_file)
    if known is None:
        return []
    now = files.read(files.real_path(site.group_file))
    changes = [] if now is None else [diffs.whole(site.group_file, now, None, secrets)]
    if known.existed:
        before = files.read(originals.saved(site, site.group_file))
        changes.append(diffs.whole(site.group_aside, None, before, secrets))
    return changes


def _kept(site: Site, paths: List[str], secrets: List[str]) -> List[FileChange]:
    """Files that become what they were, as far as they are others now."""
    changes = []
    for path in paths:
        known = originals.kept(site, path)
        if known is not None:
            before = files.read(files.real_path(path))
            after = files.read(originals.saved(site, path)) if known.existed else None
            if before != after:
                changes.append(diffs.whole(path, before, after, secrets))
    return changes
