"""A look at a host: several parts in one round trip. It changes nothing.

What takes long is on its way while the rest is looked at: PHP starts first, and MISP's own view of
its workers, which boots all of MISP, is fetched last.
"""

import contextlib
import time
from functools import lru_cache
from typing import Any, Callable, Dict, List, Optional

from tasks.host import files, gate, lock, machine, programs, systemd, tree_look
from tasks.host.errors import HostError, WebUserError
from tasks.host.misp import Misp, first_json
from tasks.host.parts import (
    Job,
    NewBackend,
    OldBackend,
    OldWorkers,
    Php,
    Proof,
    System,
    Tree,
    View,
)
from tasks.host.processes import Table
from tasks.host.site import Desired, Site

_CAKE_SECONDS = 60.0  # for MISP's view and a job, which run side by side


def take(site: Site, desired: Desired, kinds: List[str], rpc_text: str) -> Dict[str, Any]:
    """Look at these parts (names of types in parts.py), in an order that saves time."""
    table = lru_cache(maxsize=1)(Table)
    if "Supervisor" in kinds:  # the caller is told, and tells it to whatever it calls next
        from tasks.host import supervisor_identity

        site = site.with_supervisor(supervisor_identity.identify(site, table))
    try:
        misp: Optional[Misp] = Misp(site, desired)
        problem = ""
    except WebUserError as error:
        misp, problem = None, str(error)
    looker = _Looker(site, rpc_text, misp, problem, table)
    try:
        return looker.take(kinds)
    finally:
        looker.close()


class _Looker:
    """Looks that share what they need: processes, PHP, supervisord."""

    def __init__(
        self,
        site: Site,
        rpc_text: str,
        misp: Optional[Misp],
        problem: str,
        table: Callable[[], Table],
    ) -> None:
        self.site = site
        self.rpc_text = rpc_text
        self.misp = misp
        self.problem = problem
        self._table = table
        self._supervisor: Any = None
        self._old_workers: Optional[OldWorkers] = None
        self._view: Any = None
        self._view_problem = problem
        self._job: Any = None
        self._job_problem = ""
        self._cake_until = time.monotonic() + _CAKE_SECONDS

    def take(self, kinds: List[str]) -> Dict[str, Any]:
        if self.misp is not None and programs.find("php", gate.PATH):
            with contextlib.suppress(HostError):  # its first question says so again
                self.misp.bridge.start()
        if "View" in kinds and self.misp is not None:
            self._start_view()
        if "Job" in kinds and self.misp is not None and not self._is_proven():
            self._start_job()
        wanted = [kind for kind in _ORDER if kind in kinds]
        return {kind: _ORDER[kind](self) for kind in wanted}

    def close(self) -> None:
        for process in (self._view, self._job):
            if process is not None:
                programs.end(process)
        if self.misp is not None:
            self.misp.bridge.close()

    @property
    def table(self) -> Table:
        return self._table()

    def system(self) -> System:
        return machine.look()

    def tree(self) -> Tree:
        return tree_look.look(self.site, self.misp, self.problem)

    def php(self) -> Php:
        from tasks.host import php

        return php.look(self.misp)

    def web(self) -> Any:
        from tasks.host import fpm, web

        pools = fpm.look(self.misp, self.table) if self.misp else []
        return web.look(self.site, self.table)._replace(pools=pools)

    def job(self) -> Job:
        from tasks.host import php

        process, self._job = self._job, None
        return php.job(process, self._cake_left()) if process else Job(self._job_problem)

    def settings(self) -> Any:
        from tasks.host import settings

        return settings.look(self.misp) if self.misp else settings.unknown(self.site, self.problem)

    def new_backend(self) -> NewBackend:
        from tasks.host import new_backend

        misp = self.misp
        try:
            misp = self._need()
            new = misp.at(misp.wanted())
            found = new_backend.look(new, misp.wanted().database)
            takes_scripts = new_backend.takes_scripts(new)
            return found if takes_scripts else found._replace(refused=(*found.refused, "EVAL"))
        except HostError as error:
            # MISP waits for Redis as long as PHP lets it: no use to wait with it.
            if self._view is not None:
                self._view_problem = "MISP was not asked, since its Redis cannot be"
            for process in filter(None, (self._view, self._job)):
                programs.end(process)
            self._view = self._job = None
            return NewBackend({}, [], error=str(error))

    def old_backend(self) -> OldBackend:
        from tasks.host import moves

        if self.misp is None:
            return OldBackend({}, {}, error=self.problem)
        return moves.old_state(self.misp, [one.pid for one in self.old_workers().processes])

    def old_workers(self) -> OldWorkers:
        from tasks.host import launchers, old_units, old_workers, supervisor_access

        if self._old_workers is None:
            if self.misp is None:
                return OldWorkers([], [], [], [], [], False, [], [], {}, {})
            site, user = self.site, self.misp.user
            units = old_units.found(site, user)
            found = launchers.found(site, user, units)
            files = supervisor_access.read_files(site, systemd.main_pid(site.unit))
            supervised = files.old_programs(site.roots)
            self._old_workers = old_workers.look(site, user, units, found, supervised)
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

    def own_rpc(self) -> Any:
        from tasks.host import own_rpc

        return own_rpc.look(self.site)

    def workers(self) -> Any:
        from tasks.host import workers

        user = self.misp.user if self.misp else None
        return workers.look(self.site, user, self.supervisor(), self.table)

    def proof(self) -> Any:
        from tasks.host import proof

        return proof.look(self.misp) if self.misp else Proof("", "")

    def view(self) -> View:
        if self._view is None:
            return View(self._view_problem, {})
        process, self._view = self._view, None
        try:
            done = programs.finish(process, b"", self._cake_left(), 4 << 20, "cake")
        except HostError as error:
            return View(str(error), {})
        found = first_json(done.out)
        if not isinstance(found, dict):
            return View("no answer from MISP: %s" % (done.complaint[:200] or "no word"), {})
        return View("", found)

    def _start_view(self) -> None:
        misp = self._need()
        cake = self.site.app + "/Console/cake"
        try:
            self._view = gate.start(misp.user, [cake, "Admin", "getWorkers"], self.site.misp_root)
        except HostError as error:
            self._view_problem = str(error)

    def _cake_left(self) -> float:
        return max(1.0, round(self._cake_until - time.monotonic()))

    def _is_proven(self) -> bool:
        """Whether jobs have come through here already: then none has to be tried beforehand."""
        return bool(files.first_line(self.site.state_dir + "/proven"))

    def _start_job(self) -> None:
        from tasks.host import php

        try:
            self._job = php.start_job(self._need())
        except HostError as error:
            self._job_problem = str(error)

    def selinux(self) -> Any:
        from tasks.host import selinux

        return selinux.look(self.site, self.misp.user if self.misp else None)

    def originals(self) -> Any:
        from tasks.host import launchers, old_workers_back, originals

        living = self.old_workers().processes
        served = {queue for one in living for queue in one.queues}
        return originals.look(
            self.site,
            launchers.are_out(self.site, bool(living)),
            old_workers_back.unserved(self.site, served),
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
    "OwnRpc": _Looker.own_rpc,
    "Workers": _Looker.workers,
    "NewBackend": _Looker.new_backend,
    "OldBackend": _Looker.old_backend,
    "ScheduledTasks": _Looker.scheduled_tasks,
    "Proof": _Looker.proof,
    "View": _Looker.view,
    "Job": _Looker.job,
    "Libraries": _Looker.libraries,  # last: a class file with a fatal error ends PHP
}
