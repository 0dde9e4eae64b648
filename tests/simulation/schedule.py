"""One schedule: a MISP at work, a migration, kills, and what has to hold at the end."""

from __future__ import annotations

from dataclasses import dataclass

from tasks import backlog, drain
from tasks.host import (
    conversion,
    new_backend,
    old_backend,
    proof_jobs,
    retire,
    way_back,
)
from tasks.host import drain as host_drain
from tasks.host.queues import LOCK, MOVING, NEW_QUEUES, OldBackend
from tests.redis_server import Connection
from tests.simulation.kernel import Actor, Kernel
from tests.simulation.world import (
    GROUP,
    HOST,
    NEW,
    OLD,
    QUEUES,
    NewWorker,
    SimulatedGroup,
    SimulatedOldWorkers,
    Task,
    World,
    backends,
)

WEB_SECONDS = 20.0
TROUBLE_SECONDS = 45.0  # until chaos has ended as well
SETTLED = 150.0  # seconds after which all that can be done is done
LEFTOVERS = ("stop", "wait", "convert", "convert")
# Where a run is killed: within so many steps after it has begun with one of these, or anywhere.
MOMENTS = {
    "deploy": ("convert", "convert", "convert", "settle", "stop workers", "retire", ""),
    "rollback": ("move back", "move back", "stop workers", ""),
}


class RunFailedError(Exception):
    """A run that ended with a sentence for the operator."""


@dataclass
class Outcome:
    """What a schedule showed; no faults is what it should."""

    faults: list[str]
    commands: int


class Schedule:
    """Made from one seed."""

    def __init__(self, seed: int, old: Connection, new: Connection, trace: bool = False) -> None:
        self.kernel = Kernel(seed, trace)
        self.random = self.kernel.random
        self.world = World(self.kernel, old, new)
        self.group = SimulatedGroup(self.world)
        self.old_workers = SimulatedOldWorkers(self.world)
        self.neighbour: NewWorker | None = None
        self.timeout = 20  # drain_timeout
        self._dies_in = ""
        self.proofs_failed = 0
        self.final = ""  # the last run, when it has succeeded

    # --- the whole ---

    def run(self) -> Outcome:
        world, kernel = self.world, self.kernel
        world.raw_old.command("FLUSHALL")
        world.can_tell = self.random.random() > 0.1
        world.is_socket = self.random.random() < 0.15
        self._begin()
        kernel.spawn("web", self._web, hurry=0.1)
        kernel.spawn("chaos", self._chaos, hurry=0.1)
        kernel.spawn("operator", self._operate, hurry=0.1)
        is_final = kernel.run(lambda: bool(self.final))
        end = max(kernel.time, TROUBLE_SECONDS)
        is_settled = is_final and kernel.run_to(end)
        if self.final == "rollback":
            self.old_workers.start()  # whom chaos has killed
        end += SETTLED
        is_settled = is_settled and kernel.run_to(end)
        errors = [
            f"{one}: {one.error!r}" for one in kernel.actors if one.error and one.name != "run"
        ]
        faults = errors + (self._faults() if is_settled else ["it does not end"])
        steps = kernel.steps
        kernel.end()
        return Outcome(faults, steps)

    def _begin(self) -> None:
        """A MISP with work, on the old backend or migrated already."""
        backlog = [self._task() for _ in range(self.random.choice((0, 2, 4, 8)))]
        if self.random.random() < 0.4:
            self.world.enabled.append((0.0, True))
            self.old_workers.is_enabled = False
            # MISP's own button "restart workers" leaves some of them stopped.
            self.group.boot(self.random.choice(([], list(GROUP)[:1], list(GROUP)[1:], list(GROUP))))
            for task in backlog:
                self.world.enqueue_new(task)
        else:
            self.old_workers.start()
            for task in backlog:
                self.world.enqueue_old(task)
            for _ in range(self.random.choice((0, 0, 1, 2))):
                self.world.enqueue_later(self._task(can_have_data=False), self.random.randrange(12))
        if self.random.random() < 0.4 and not self.world.is_socket:  # another host on this Redis
            self.neighbour = NewWorker(self.world, "neighbour", "default")

    def _task(self, depth: int = 0, can_have_data: bool = True) -> Task:
        has_data = can_have_data and self.random.random() < 0.35
        task = self.world.task(
            self.random.choice(QUEUES), self.random.choice((0.01, 1.0, 3.0, 3.0)), has_data
        )
        if depth < 2 and self.random.random() < 0.25:
            task.children = [self._task(depth + 1) for _ in range(self.random.choice((1, 1, 2)))]
        return task

    # --- who is not the tool ---

    def _web(self) -> None:
        """PHP that sees a setting some time after it was changed, at times a long while after.

        On the way there a request from before may enqueue for as long as old workers live: longer
        would be a web tier that was never reloaded, which the drain reports but cannot prevent.
        """
        count = self.random.choice((0, 2, 4, 8))
        times = sorted(self.random.uniform(0, WEB_SECONDS) for _ in range(count))
        for when in times:
            self.kernel.sleep(max(0.0, when - self.kernel.time))
            self._request()

    def _request(self) -> None:
        world = self.world
        self.kernel.step()
        is_on = world.is_on()
        seen = world.is_on(delay=self.random.choice((0, 0, 0.5, 2, 8)))
        lives = bool(self.group.running()) if seen else bool(world.old_workers)
        (world.enqueue_new if (seen if lives else is_on) else world.enqueue_old)(self._task())

    def _visit(self) -> None:
        """Users are busy just when the tool is."""
        for _ in range(self.random.choice((1, 2, 4))):
            self.kernel.sleep(self.random.choice((0.02, 0.5)) * self.random.random())
            self._request()

    def _chaos(self) -> None:
        """Kills of workers, a restart of supervisord, a pause of old workers."""
        for _ in range(self.random.choice((0, 0, 0, 1, 2))):
            self.kernel.sleep(self.random.uniform(0, 20))
            kind = self.random.randrange(4)
            old = [one for one in self.world.old_workers.values() if one.queues != ("_schdlr_",)]
            new = list(self.world.new_workers.values())
            if kind == 0 and old:
                self.kernel.kill(self.random.choice(old).actor)
            elif kind == 1 and new:
                self.random.choice(new).die(is_excused=True)
            elif kind == 2:
                self.group.restart_daemon()
            elif kind == 3 and old:
                worker = self.random.choice(old)
                worker.is_paused = True
                self.kernel.sleep(3)
                worker.is_paused = False

    def _visit_neighbour(self) -> None:
        """Its MISP stays on the new backend."""
        for _ in range(self.random.randrange(6)):
            self.kernel.step()
            self.world.enqueue_new(self.world.task("default", 0.01))

    # --- the operator ---

    def _operate(self) -> None:
        self.kernel.sleep(self.random.uniform(0, self.random.choice((0.5, 4))))
        for _ in range(self.random.choice((0, 1, 1, 2, 2, 3))):
            self._one_run(self.random.choice(("deploy", "rollback")), is_killed=True)
            self.kernel.sleep(self.random.choice((0.1, 3.0)))
        last = self.random.choice(("deploy", "rollback"))
        for _ in range(15):
            run = self._one_run(last, is_killed=False)
            if run.error is None:
                self.final = last
                return
            is_told = "no old worker lives" in str(run.error) or not self.world.old_workers
            if last == "deploy" and is_told:
                self.old_workers.start_again()  # as the sentence says
            self.kernel.sleep(2)
        raise RunFailedError(f"15 times: {run.error!r}")

    def _one_run(self, name: str, *, is_killed: bool) -> Actor:
        leftovers = self.random.choice(LEFTOVERS)
        limits = (1, 1, 4, 20) if is_killed and name == "deploy" else (4, 20)
        self.timeout = self.random.choice(limits)
        self._dies_in = self.random.choice(MOMENTS[name]) if is_killed else ""
        leftovers = "convert" if self._dies_in == "convert" else leftovers
        body = self._rollback if name == "rollback" else lambda: self._deploy(leftovers)
        # A tool that is slow leaves more room between its commands.
        hurry = self.random.choice((0.005, 0.05)) if is_killed else 0.01
        run = self.kernel.spawn("run", body, hurry=hurry)
        if is_killed and not self._dies_in:
            run.dies_at = self.random.randrange(1, 200)
        self.kernel.trace(f"{name} ({leftovers}) begins, dies in {self._dies_in} {run.dies_at}")
        operator = self.kernel.current
        assert operator is not None
        run.on_end.append(lambda: self.kernel.wake(operator))
        while not run.is_dead:
            self.kernel.wait(3600)
        self.kernel.trace(f"{name} ended: {run.error!r}")
        return run

    def _soon(self) -> int:
        return self.random.randrange(1, self.random.choice((15, 25, 100)))

    def _enter(self, moment: str) -> None:
        """The run has come to something in which it may be meant to die."""
        if self.random.random() < 0.3 and self.kernel.time < WEB_SECONDS:
            self.kernel.spawn("visitor", self._visit, hurry=0.01)
        if moment == "move back" and self.neighbour and not self.neighbour.actor.is_dead:
            self.kernel.spawn("neighbour's user", self._visit_neighbour, hurry=0.01)
        run = self.kernel.current
        if self._dies_in == moment and run is not None:
            self._dies_in = ""
            run.dies_at = run.steps + self._soon()

    # --- the tool, as its operations call the modules ---

    def _deploy(self, leftovers: str) -> None:
        old, new = backends(self.world)
        self._heal()
        new_backend.look(new, 1)  # as each run begins
        if new_backend.exists(new, *[MOVING + queue for queue in NEW_QUEUES]):
            self._enter("settle")
            way_back.settle(old, new, self.world.discard, self.world.rename, self.kernel)
        self._set_enabled(True)
        if self.group.running() and self.random.random() < 0.6:  # the group's file has changed
            self._stop_new_workers()
        self.group.start()
        self._prove()
        self._drain(leftovers)
        if self.old_workers.is_enabled:
            self._enter("retire")
            retire.end_workers(
                self._look,
                self._convert if leftovers == "convert" else None,
                self.old_workers,
                self.timeout,
                self.kernel,
            )
            self.old_workers.is_enabled = False
        old_backend.forget_dead_workers(old, self.world.old_workers, HOST)

    def _prove(self) -> None:
        self.kernel.sleep(self.random.choice((0.05, 1, 5)))
        if self.random.random() < 0.1:
            _, new = backends(self.world)
            limits = proof_jobs.Limits(30, 60)
            proof_jobs.prove(new, dict.fromkeys(QUEUES, 1), limits, False, self.kernel)
        if self.random.random() < 0.15 and self.proofs_failed < 2:  # the automatic return
            self.proofs_failed += 1
            if self.world.old_workers and not self.old_workers.is_held:
                self._return()
            raise RunFailedError("the proof failed")

    def _rollback(self) -> None:
        self._heal()
        if self.world.is_on():
            self._stop_new_workers()
        self._set_enabled(False)
        self.old_workers.start_again()
        self._return()

    def _return(self) -> None:
        self._stop_new_workers()
        self._set_enabled(False)
        old, new = backends(self.world)
        self._enter("move back")
        way_back.move_back(old, new, self.world.store, self.world.rename, self.kernel)

    def _heal(self) -> None:
        problem = self.group.freeze([]).problem
        if problem:
            raise RunFailedError(problem)
        host_drain.thaw_all(self.group)

    def _set_enabled(self, value: bool) -> None:
        self.kernel.step()
        if self.world.is_on() != value:
            self.world.enabled.append((self.kernel.time, value))
        if not value:  # on the way there the drain waits for requests from before
            self.kernel.sleep(self.random.choice((0.05, 1.0)))
            self.world.reloaded = self.kernel.time

    def _stop_new_workers(self) -> None:
        self._enter("stop workers")
        host_drain.stop_group(self.group, self.kernel, self.timeout)

    def _drain(self, leftovers: str) -> None:
        if not self.old_workers.is_enabled:
            return
        decides = drain.Drain(leftovers, self.timeout)
        while True:
            can_return = bool(self.world.old_workers) or self.old_workers.is_enabled
            state, queues = self._look(), self.old_workers.queues()
            look = backlog.Look(state, queues, can_return, self.kernel.now())
            decision = decides.see(look)
            if isinstance(decision, drain.Done):
                return
            if isinstance(decision, drain.Convert):
                done = self._finish() if decision.only_held else self._convert()
                decides.converted(done.left)
            elif isinstance(decision, drain.Wait):
                self.kernel.sleep(drain.LOOK_SECONDS)
            else:
                raise RunFailedError(decision.reason)

    def _look(self) -> OldBackend:
        old, _ = backends(self.world)
        return old_backend.look(old, self.world.old_workers, HOST, self.kernel.epoch())

    def _convert(self) -> conversion.Moved:
        old, new = backends(self.world)
        lists = conversion.lists_of_old_jobs(old)
        self._enter("convert")
        return conversion.convert(old, new, lists, self.world.rename, self.kernel)

    def _finish(self) -> conversion.Moved:
        old, new = backends(self.world)
        return conversion.convert(old, new, {}, self.world.rename, self.kernel)

    # --- what has to hold ---

    def _faults(self) -> list[str]:
        world = self.world
        faults = list(world.faults)
        for number in sorted(world.enqueued):
            ids = world.done.get(number, [])
            if len(ids) > 1:
                faults.append(f"job {number} ran {len(ids)} times")
            elif not ids and number not in world.excused:
                faults.append(f"job {number} never ran")
            elif ids and world.rows[number] != ids[0]:
                faults.append(f"the row of job {number} has {world.rows[number]}, it was {ids[0]}")
        # Nobody reads the input of a job that was killed.
        faults += [f"{path} was left" for path in world.files if not world.excused]
        return faults + self._keys_left()

    def _keys_left(self) -> list[str]:
        """Keys that hold jobs, or would keep some from being done."""
        found = []
        kinds = ("queue:", "_schdlr_", "misp-workers-held", "worker:")
        for raw, prefix in ((self.world.raw_old, OLD), (self.world.raw_new, NEW)):
            keys = raw.command("KEYS", "*")
            assert isinstance(keys, list)
            for key in sorted(key.decode() for key in keys):
                name = key[len(prefix) :]
                if prefix == NEW:
                    is_fine = (
                        name.startswith(("job_status:", "misp-workers-moved:")) or name == LOCK
                    )
                    is_fine = is_fine or (
                        name.startswith("data_content:") and bool(self.world.excused)
                    )
                else:
                    is_fine = not name.startswith(kinds) or name == "worker:"
                    is_fine = is_fine or (name.startswith("worker:") and self.final == "rollback")
                if not is_fine:
                    found.append(f"{key} was left")
        return found
