"""A look at a host: several parts in one round trip. It changes nothing.

What takes long is on its way while the rest is looked at: PHP starts first, and MISP's own view of
its workers, which boots all of MISP, is fetched last.
"""

import os
from typing import Any, Callable, Dict, List, Optional

from tasks.host import gate, lock, machine, programs, systemd, tree, web_user
from tasks.host.errors import HostError, WebUserError
from tasks.host.misp import Misp, first_json, misp_version
from tasks.host.parts import (
    NewBackend,
    OldBackend,
    OldWorkers,
    Php,
    Proof,
    System,
    Tree,
    View,
    version_of,
)
from tasks.host.processes import Table
from tasks.host.site import Desired, Site

_VIEW_SECONDS = 60.0


def take(site: Site, desired: Desired, kinds: List[str], rpc_text: str) -> Dict[str, Any]:
    """Look at these parts (names of types in parts.py), in an order that saves time."""
    try:
        misp: Optional[Misp] = Misp(site, desired)
        problem = ""
    except WebUserError as error:
        misp, problem = None, str(error)
    looker = _Looker(site, rpc_text, misp, problem)
    try:
        return looker.take(kinds)
    finally:
        looker.close()


class _Looker:
    """Looks that share what they need: processes, PHP, supervisord."""

    def __init__(self, site: Site, rpc_text: str, misp: Optional[Misp], problem: str) -> None:
        self.site = site
        self.rpc_text = rpc_text
        self.misp = misp
        self.problem = problem
        self._table: Optional[Table] = None
        self._supervisor: Any = None
        self._old_workers: Optional[OldWorkers] = None
        self._view: Any = None

    def take(self, kinds: List[str]) -> Dict[str, Any]:
        if self.misp is not None and programs.find("php", gate.PATH):
            self.misp.bridge.start()
        if "View" in kinds and self.misp is not None:
            self._view = self._start_view()
        wanted = [kind for kind in _ORDER if kind in kinds]
        return {kind: _ORDER[kind](self) for kind in wanted}

    def close(self) -> None:
        if self._view is not None:
            programs.end(self._view)
        if self.misp is not None:
            self.misp.bridge.close()

    @property
    def table(self) -> Table:
        if self._table is None:
            self._table = Table()
        return self._table

    def system(self) -> System:
        return machine.look()

    def tree(self) -> Tree:
        site, misp = self.site, self.misp
        exists = os.path.isdir(site.misp_root)
        if misp is None:
            return Tree(
                self.problem, exists, "", "", "", (0, 0, 0), "", -1, False, False, False, "", -1
            )
        found = gate.ask(misp.user, tree.look, site.misp_root)
        return _tree(site, misp, found)

    def php(self) -> Php:
        path = programs.find("php", gate.PATH)  # the one that a job finds
        try:
            found = self.misp.bridge.once("php") if self.misp and path else {}
        except HostError:
            found = {}
        text = str(found.get("version", "")) if isinstance(found, dict) else ""
        extensions = found.get("extensions") if isinstance(found, dict) else []
        disabled = str(found.get("disabled", "")) if isinstance(found, dict) else ""
        return Php(
            path,
            version_of(text),
            text[:40],
            [str(one)[:60] for one in extensions][:300] if isinstance(extensions, list) else [],
            [one.strip() for one in disabled[:4000].split(",") if one.strip()],
        )

    def web(self) -> Any:
        from tasks.host import web

        return web.look(self.site, self.table)

    def settings(self) -> Any:
        from tasks.host import settings

        return settings.look(self.misp) if self.misp else settings.unknown(self.site, self.problem)

    def new_backend(self) -> NewBackend:
        from tasks.host import new_backend

        misp = self.misp
        try:
            misp = self._need()
            return new_backend.look(misp.at(misp.wanted()), misp.wanted().database)
        except HostError as error:
            # MISP waits for Redis as long as PHP lets it: no use to wait with it.
            if self._view is not None:
                programs.end(self._view)
                self._view = None
                self.problem = "MISP was not asked, since its Redis cannot be"
            return NewBackend({}, [], error=str(error))

    def old_backend(self) -> OldBackend:
        from tasks.host import moves

        if self.misp is None:
            return OldBackend({}, {}, error=self.problem)
        return moves.old_state(self.misp, [one.pid for one in self.old_workers().processes])

    def old_workers(self) -> OldWorkers:
        from tasks.host import launchers, old_workers, supervisor_access

        if self._old_workers is None:
            if self.misp is None:
                return OldWorkers([], [], [], [], [], False, [])
            found = launchers.found(self.site, self.misp.user)
            files = supervisor_access.read_files(self.site, systemd.main_pid(self.site.unit))
            supervised = files.old_programs(self.site.roots)
            self._old_workers = old_workers.look(self.site, self.misp.user, found, supervised)
        return self._old_workers

    def scheduled_tasks(self) -> Any:
        from tasks.host import scheduled_tasks
        from tasks.host.parts import ScheduledTasks

        if self.misp is None:
            return ScheduledTasks(0, [], "", [], [])
        return scheduled_tasks.look(self.misp)

    def packages(self) -> Any:
        from tasks.host import packages

        return packages.look(self.site)

    def libraries(self) -> Any:
        from tasks.host import libraries

        return libraries.look(self.misp) if self.misp else libraries.unknown(self.site)

    def supervisor(self) -> Any:
        if self._supervisor is None:
            from tasks.host import supervisor_look

            unit = systemd.show([self.site.unit])[0]
            password = self._password() or ""
            self._supervisor = supervisor_look.look(self.site, unit, self.table, password)
        return self._supervisor

    def _password(self) -> Optional[str]:
        from tasks.host import rpc

        return rpc.password(self.misp) if self.misp is not None else None

    def rpc(self) -> Any:
        from tasks.host import rpc

        user = self.misp.user if self.misp else None
        return rpc.look(self.site, self._password(), self.rpc_text, user)

    def workers(self) -> Any:
        from tasks.host import workers

        user = self.misp.user if self.misp else None
        return workers.look(self.site, user, self.supervisor(), self.table)

    def proof(self) -> Any:
        from tasks.host import proof

        return proof.look(self.misp) if self.misp else Proof("", "")

    def view(self) -> View:
        if self._view is None:
            return View(self.problem, {})
        process, self._view = self._view, None
        try:
            done = programs.finish(process, b"", _VIEW_SECONDS, 4 << 20, "cake")
        except HostError as error:
            return View(str(error), {})
        found = first_json(done.out)
        if not isinstance(found, dict):
            return View("no answer from MISP: %s" % (done.complaint[:200] or "no word"), {})
        return View("", found)

    def _start_view(self) -> Any:
        misp = self._need()
        cake = self.site.app + "/Console/cake"
        try:
            return gate.start(misp.user, [cake, "Admin", "getWorkers"], self.site.misp_root)
        except HostError:
            return None

    def selinux(self) -> Any:
        from tasks.host import selinux

        return selinux.look(self.site, self.misp.user if self.misp else None)

    def originals(self) -> Any:
        from tasks.host import launchers, originals, retire

        living = self.old_workers().processes
        served = {queue for one in living for queue in one.queues}
        return originals.look(
            self.site,
            launchers.are_out(self.site, bool(living)),
            retire.unserved(self.site, served),
        )

    def run_state(self) -> Any:
        return lock.state(self.site.state_dir)

    def _need(self) -> Misp:
        if self.misp is None:
            raise WebUserError(self.problem)
        return self.misp


_ORDER: Dict[str, Callable[[_Looker], Any]] = {
    "RunState": _Looker.run_state,
    "System": _Looker.system,
    "Packages": _Looker.packages,
    "Web": _Looker.web,
    "Tree": _Looker.tree,
    "Selinux": _Looker.selinux,
    "OldWorkers": _Looker.old_workers,
    "Originals": _Looker.originals,
    "Php": _Looker.php,
    "Settings": _Looker.settings,
    "Supervisor": _Looker.supervisor,
    "Rpc": _Looker.rpc,
    "Workers": _Looker.workers,
    "NewBackend": _Looker.new_backend,
    "OldBackend": _Looker.old_backend,
    "ScheduledTasks": _Looker.scheduled_tasks,
    "Proof": _Looker.proof,
    "View": _Looker.view,
    "Libraries": _Looker.libraries,  # last: a class file with a fatal error ends PHP
}


def _tree(site: Site, misp: Misp, found: Any) -> Tree:
    if not isinstance(found, dict):
        raise WebUserError("MISP's files cannot be looked at")
    config: Any = found.get("config")
    is_whole = isinstance(config, list) and [type(one) for one in config] == [int, int]
    text = str(found.get("version", ""))[:200]
    return Tree(
        "",
        True,
        misp.user.name,
        misp.user.group,
        text[:80],
        misp_version(text),
        web_user.name_of(config[0]) if is_whole else "",
        config[1] & 0o7777 if is_whole else -1,
        found.get("savable") is True,
        found.get("cake") is True,
        found.get("cake_php") is True,
        "php composer.phar" if found.get("phar") is True else programs.find("composer", gate.PATH),
        found["disk_kb"] if type(found.get("disk_kb")) is int else -1,
    )
