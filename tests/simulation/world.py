"""Models of what is around the tool: old workers, new workers under supervisord, MISP's files.

Redis is real; processes and time are not. Each model does what MISP's code does, one Redis command
at a time.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from signal import SIGCONT, SIGSTOP

from tasks.host.drain import Group
from tasks.host.idle import Frozen, freeze_idle
from tasks.host.new_backend import LOCK_SECONDS
from tasks.host.old_workers_stop import OldWorkers
from tasks.host.places import Place
from tasks.host.processes import Workers
from tasks.host.queues import LOCK, Backend
from tasks.host.redis import Redis, RedisError, Reply, Word
from tests.redis_server import Connection
from tests.simulation.kernel import Actor, Kernel

OLD, NEW = "resque:", "background_jobs:"
HOST = "misp"
LOCK_KEY = NEW + LOCK
QUEUES = ("default", "prio")  # those that the models use
OLD_WORKERS = (("default",), ("prio",))
GROUP = {"misp-workers:default_00": "default", "misp-workers:default_01": "default"}
GROUP["misp-workers:prio_00"] = "prio"
READY = "Successfully connected to Redis."

# When the scheduler has emptied a time's list it removes list and time. php-resque-ex-scheduler
# does so in three steps, but a job that comes between them is no matter of the tool's.
_CLEAN = """
if redis.call("LLEN", KEYS[1]) > 0 then return 0 end
redis.call("ZREM", KEYS[2], ARGV[1])
return 1
"""


@dataclass
class Task:
    """A job as its user sees it, whatever its ids are."""

    number: int
    queue: str
    seconds: float
    children: list[Task] = field(default_factory=list)  # that it enqueues as its last act
    has_data: bool = False


class World:
    """Everything there is."""

    def __init__(self, kernel: Kernel, old: Connection, new: Connection) -> None:
        self.kernel, self.raw_old, self.raw_new = kernel, old, new
        self.enabled = [(-99.0, False)]  # MISP's setting: since when, and what
        self.reloaded = -99.0  # when the web tier was: no request sees what was before
        # An empty queue needs no second look before the next push.
        self.pushes = {"old": 0, "new": 0, "delayed": 0}
        self.tasks: dict[int, Task] = {}
        self.enqueued: set[int] = set()
        self.done: dict[int, list[str]] = {}  # ids that each task ran with
        self.excused: set[int] = set()  # killed in a worker's hand
        self.faults: list[str] = []
        self.rows: dict[int, str] = {}  # MISP's table `jobs`: process_id of each task
        self.ids: dict[str, int] = {}
        self.files: dict[str, bytes] = {}
        self.old_workers: dict[int, OldWorker] = {}
        self.new_workers: dict[int, NewWorker] = {}
        self.blocked: list[NewWorker] = []
        self.can_tell = True  # CLIENT UNBLOCK
        self.is_socket = False
        self.lock_until = 0.0
        self._pids = 1000

    def is_on(self, delay: float = 0) -> bool:
        """MISP's setting, as somebody sees it that much later."""
        seen = max(self.kernel.time - delay, self.reloaded)
        return [value for since, value in self.enabled if since <= seen][-1]

    def pid(self) -> int:
        self._pids += 1
        return self._pids

    def task(self, queue: str, seconds: float, has_data: bool = False) -> Task:
        task = Task(len(self.tasks), queue, seconds, has_data=has_data)
        self.tasks[task.number] = task
        return task

    # --- enqueueing, as MISP does; without a pause, so that the caller decides when ---

    def enqueue_old(self, task: Task) -> None:
        id_ = f"{self.kernel.random.getrandbits(128):032x}"
        args = ["run", str(task.number)]
        if task.has_data:
            args.append(f"/tmp/{task.number}")  # noqa: S108
            self.files[args[2]] = b"[]"
        self._note(task, id_)
        record = json.dumps({"class": "EventShell", "args": [args], "id": id_})
        self.raw_old.command("RPUSH", f"{OLD}queue:{task.queue}", record)
        self.pushes["old"] += 1

    def enqueue_later(self, task: Task, seconds: int) -> None:
        id_ = f"{self.kernel.random.getrandbits(128):032x}"
        when = str(self.kernel.epoch() + seconds)
        args = {"0": "run", "1": str(task.number), "id": id_, "s_time": 1}
        self._note(task, id_)
        record = json.dumps({"class": "EventShell", "args": [args], "queue": task.queue})
        self.raw_old.command("RPUSH", f"{OLD}_schdlr_:{when}", record)
        self.raw_old.command("ZADD", f"{OLD}_schdlr_", when, when)
        self.pushes["delayed"] += 1

    def enqueue_new(self, task: Task) -> None:
        id_ = self.uuid()
        args = ["run", str(task.number)]
        if task.has_data:
            data = self.uuid()
            args.append("redis:" + data)
            self.raw_new.command("SETEX", f"{NEW}data_content:{data}", 86400, "[]")
        self._note(task, id_)
        record = json.dumps({"id": id_, "command": "event", "args": args, "status": 1})
        self.raw_new.command("RPUSH", NEW + task.queue, record)
        self.after_push("new", NEW + task.queue)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.kernel.random.getrandbits(128)))

    def _note(self, task: Task, id_: str) -> None:
        self.enqueued.add(task.number)
        self.rows[task.number] = id_
        self.ids[id_] = task.number

    # --- Redis's own part in BLPOP ---

    def after_push(self, side: str, *keys: Word) -> None:
        """Redis hands a job to whom has waited longest for it, in the same step as the push."""
        self.pushes[side] += 1
        self.pushes["delayed"] += OLD + "_schdlr_" in keys  # of a script
        if side != "new":
            return
        empty = set()
        for worker in list(self.blocked):
            key = NEW + worker.queue
            if key not in keys or key in empty:
                continue
            record = self.raw_new.command("LPOP", key)
            if isinstance(record, bytes):
                self.blocked.remove(worker)
                worker.receive(record)
            else:
                empty.add(key)

    def client(self, words: tuple[Word, ...]) -> Reply:
        if words[1] == "UNBLOCK":
            if not self.can_tell:
                raise RedisError("ERR Unknown subcommand")
            for worker in self.blocked:
                if worker.pid == words[2]:
                    self.blocked.remove(worker)
                    self.kernel.wake(worker.actor)
                    return 1
            return 0
        lines = []
        for worker in self.new_workers.values():
            if worker.is_connected:
                addr = "/run/redis.sock:0" if self.is_socket else f"127.0.0.1:{worker.port}"
                lines.append(f"id={worker.pid} addr={addr} db=1 cmd=blpop")
        return "\n".join(lines).encode()

    # --- MISP's table, and its files ---

    def rename(self, pairs: list[tuple[str, str]]) -> None:
        self.kernel.step()
        for before, after in pairs:
            number = self.ids.get(before)
            if number is not None and self.rows[number] == before:
                self.rows[number] = after
                self.ids[after] = number

    def store(self, name: str, data: bytes) -> str:
        self.kernel.step()
        self.files["/ingest/" + name] = data
        self.kernel.step()
        return "/ingest/" + name

    def discard(self, name: str) -> None:
        self.kernel.step()
        self.files.pop("/ingest/" + name, None)

    # --- a job ---

    def run(self, side: str, line: Line, number: int, id_: str, args: Sequence[str]) -> None:
        task = self.tasks[number]
        is_on = side == "new" and self.is_on()  # which a process reads at its start
        if len(args) > 2 and not self._has_input(side, line, args[2]):
            self.faults.append(f"job {number} finds no input at {args[2]} on the {side} backend")
        self.kernel.sleep(task.seconds)
        for child in task.children:
            self.kernel.step()
            (self.enqueue_new if is_on else self.enqueue_old)(child)
        self.done.setdefault(number, []).append(id_)
        self.kernel.trace(f"job {number} is done")

    def _has_input(self, side: str, line: Line, where: str) -> bool:
        if where.startswith("/"):
            return self.files.pop(where, None) is not None
        key = f"{NEW}data_content:{where[6:]}"
        if side == "old" or line.command("GET", key) is None:
            return False
        line.command("DEL", key)
        return True


NAMES_ONLY = ("GETRANGE", "LINDEX")  # by which sentences get names of jobs; nothing depends on them


class Line(Redis):
    """An actor's connection to a backend."""

    def __init__(self, world: World, side: str) -> None:
        self._world, self._side = world, side
        self._raw = world.raw_old if side == "old" else world.raw_new

    def command(self, *words: Word) -> Reply:
        world = self._world
        if words[0] in NAMES_ONLY:
            return self._raw.command(*words)
        world.kernel.step()
        if words[0] == "CLIENT":
            return world.client(words)
        if LOCK_KEY in words and world.lock_until < world.kernel.time:
            self._raw.command("DEL", LOCK_KEY)  # Redis's own time is not ours
        reply = self._raw.command(*words)
        if LOCK_KEY in words and reply in (b"OK", 1):
            world.lock_until = world.kernel.time + LOCK_SECONDS
        if world.kernel.is_traced:
            world.kernel.trace(self._side, *words, "->", reply)
        if words[0] in ("EVAL", "RPUSH", "LPUSH"):
            world.after_push(self._side, *words)
        return reply


class OldWorker:
    """`php ./bin/resque`: LPOP every few seconds, one job at a time, settings as at its start.

    QUIT: leaves after its job. USR2: takes none until CONT. A kill loses the job in its hands.
    """

    def __init__(self, world: World, queues: Sequence[str]) -> None:
        self._world, self.queues = world, queues
        self.pid = world.pid()
        self.is_quitting = self.is_paused = False
        self.hand: int | None = None
        self._line = Line(world, "old")
        self._key = f"{HOST}:{self.pid}:{','.join(queues)}"
        body = self._schedule if queues == ("_schdlr_",) else self._work
        self.actor = world.kernel.spawn(f"old {self.pid}", body, hurry=0.15)
        self.actor.on_end.append(self._ended)
        world.old_workers[self.pid] = self

    def _ended(self) -> None:
        del self._world.old_workers[self.pid]
        if self.hand is not None:
            self._world.excused.add(self.hand)

    def _work(self) -> None:
        line, world = self._line, self._world
        line.command("SADD", OLD + "workers", self._key)
        seen = -1
        while not self.is_quitting:
            before = world.pushes["old"]
            if not self.is_paused and seen != before:
                record = self._taken()
                if record is not None:
                    self._do(record)
                    continue
                seen = before
            world.kernel.sleep(world.kernel.random.uniform(1, 5))
        line.command("DEL", f"{OLD}worker:{self._key}")
        line.command("SREM", OLD + "workers", self._key)

    def _taken(self) -> bytes | None:
        for queue in self.queues:
            record = self._line.command("LPOP", f"{OLD}queue:{queue}")
            if isinstance(record, bytes):
                args = json.loads(record)["args"][0]
                self.hand = int(args[1]) if len(args) > 1 else None  # a test job has no number
                return record
        return None

    def _do(self, record: bytes) -> None:
        job = json.loads(record)
        args = job["args"][0]
        self._line.command("SET", f"{OLD}worker:{self._key}", record)
        if job["class"] != "AdminShell":  # redisReady, of a proof that a rollback cut short
            self._world.run("old", self._line, int(args[1]), job["id"], args)
        self.hand = None
        self._line.command("INCR", OLD + "stat:processed")
        self._line.command("DEL", f"{OLD}worker:{self._key}")

    def _schedule(self) -> None:
        line, world = self._line, self._world
        times, seen = OLD + "_schdlr_", 0
        while not self.is_quitting:
            before = world.pushes["delayed"]
            due: Reply = []
            if seen != before:
                due = line.command("ZRANGEBYSCORE", times, 0, world.kernel.epoch())
                if not due and line.command("ZCARD", times) == 0:
                    seen = before
            assert isinstance(due, list)
            for when in due:
                self._bring(f"{times}:{when.decode()}", when)
            world.kernel.sleep(world.kernel.random.uniform(1, 5))

    def _bring(self, name: str, when: bytes) -> None:
        line = self._line
        while isinstance(record := line.command("LPOP", name), bytes):
            job = json.loads(record)
            args = job["args"][0]
            self.hand = int(args["1"])
            job = {"class": job["class"], "args": [[args["0"], args["1"]]], "id": args["id"]} | {
                "queue": job["queue"]
            }
            queue = job.pop("queue")
            line.command("RPUSH", f"{OLD}queue:{queue}", json.dumps(job))
            self.hand = None
        line.command("EVAL", _CLEAN, 2, name, OLD + "_schdlr_", when)


class NewWorker:
    """`cake start_worker QUEUE`: BLPOP, then a child for the job. No signal handler at all."""

    def __init__(self, world: World, name: str, queue: str) -> None:
        self._world, self.name, self.queue = world, name, queue
        self.pid = world.pid()
        self.port = 40000 + self.pid
        self.is_connected = self.has_term = False
        self.hand: int | None = None  # taken, but not started
        self.child: Actor | None = None
        self._inbox: bytes | None = None
        self._line = Line(world, "new")
        self.actor = world.kernel.spawn(name, self._work, hurry=0.05)
        self.actor.on_end.append(self._ended)
        world.new_workers[self.pid] = self

    def receive(self, record: bytes) -> None:
        self._inbox = record
        self.hand = _number(record)
        self._world.kernel.wake(self.actor)

    def die(self, *, is_excused: bool) -> None:
        """By TERM or KILL. A job that runs is another process, and goes on."""
        self._world.kernel.trace(f"{self.name} ends, in its hand {self.hand}")
        if self.hand is not None and is_excused:
            self._world.excused.add(self.hand)
        self._world.kernel.kill(self.actor)

    def _ended(self) -> None:
        del self._world.new_workers[self.pid]
        if self in self._world.blocked:
            self._world.blocked.remove(self)

    def _work(self) -> None:
        kernel = self._world.kernel
        kernel.sleep(0.2)  # PHP starts
        self.is_connected = True
        while True:
            record = self._popped()
            if record is None:
                continue
            kernel.step()  # some milliseconds
            self.child = kernel.spawn(f"job of {self.pid}", self._job(record), hurry=0.05)
            self.child.on_end.append(lambda: kernel.wake(self.actor))
            self.hand = None
            while not self.child.is_dead:
                kernel.wait(3600)
            self.child = None

    def _popped(self) -> bytes | None:
        """BLPOP; None after 30 s, or when it was unblocked."""
        world = self._world
        world.kernel.step()
        record = world.raw_new.command("LPOP", NEW + self.queue)
        if isinstance(record, bytes):
            self.hand = _number(record)
            world.kernel.step()  # the answer is on its way
            return record
        world.blocked.append(self)
        world.kernel.wait(30)
        if self in world.blocked:
            world.blocked.remove(self)
        record, self._inbox = self._inbox, None
        return record

    def _job(self, record: bytes) -> Callable[[], None]:
        job = json.loads(record)
        world, line = self._world, self._line

        def body() -> None:
            if job["command"] == "admin":  # redisReady, of the proof
                job.update(status=4, output=READY)
                line.command("SETEX", f"{NEW}job_status:{job['id']}", 86400, json.dumps(job))
            else:
                world.run("new", line, int(job["args"][1]), job["id"], job["args"])

        return body


def _number(record: bytes) -> int | None:
    job = json.loads(record)
    return int(job["args"][1]) if job["command"] == "event" else None


class SimulatedWorkers(Workers):
    """What the host knows of new workers, and does to them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _worker(self, pid: int) -> NewWorker | None:
        self._world.kernel.step()
        return self._world.new_workers.get(pid)

    def exists(self, pid: int) -> bool:
        return self._worker(pid) is not None

    def send(self, pids: Iterable[int], number: int) -> list[int]:
        own = []
        for pid in pids:
            if worker := self._worker(pid):
                own.append(pid)
                (self._stop if number == SIGSTOP else self._cont)(worker)
        return own

    def _stop(self, worker: NewWorker) -> None:
        self._world.kernel.trace("SIGSTOP", worker.name, worker.hand)
        self._world.kernel.freeze(worker.actor)

    def _cont(self, worker: NewWorker) -> None:
        self._world.kernel.thaw(worker.actor)
        if worker.has_term:
            # Where Redis cannot tell, no child has to do for "no job".
            worker.die(is_excused=not self._world.can_tell)

    def is_stopped(self, pid: int) -> bool:
        worker = self._worker(pid)
        return worker is not None and worker.actor.is_frozen

    def with_child(self, pids: Iterable[int]) -> set[int]:
        self._world.kernel.step()
        workers = self._world.new_workers
        return {pid for pid in pids if pid in workers and workers[pid].child is not None}

    def local_ports(self, pid: int) -> set[int]:
        worker = self._worker(pid)
        return (
            {worker.port} if worker and worker.is_connected and not self._world.is_socket else set()
        )

    def takes_jobs(self, pid: int) -> bool:
        return True


class SimulatedGroup(Group):
    """supervisord's group; what ends by itself is started again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wanted: set[str] = set()
        self._starting: set[str] = set()
        self._jobs: list[Actor] = []

    def live(self) -> dict[str, int]:
        self._world.kernel.step()
        pids = {worker.name: worker.pid for worker in self._workers()}
        return {name: pids.get(name, 0) for name in GROUP if name in pids or name in self._starting}

    def running(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for worker in self._workers():
            found[worker.queue] = found.get(worker.queue, 0) + 1
        return found

    def freeze(self, pids: list[int]) -> Frozen:
        world = self._world
        place = Place("/run/redis.sock" if world.is_socket else "127.0.0.1", 6379, 1, "", "")
        return freeze_idle(backends(world)[1], place, pids, SimulatedWorkers(world), world.kernel)

    def thaw(self, pids: list[int]) -> None:
        SimulatedWorkers(self._world).send(pids, SIGCONT)

    def stop(self, names: list[str], frozen: list[int]) -> None:
        kernel = self._world.kernel
        for name in names:
            kernel.step()
            self._wanted.discard(name)
            self._starting.discard(name)
            for worker in self._workers():
                if worker.name == name and worker.actor.is_frozen:
                    worker.has_term = True
                elif worker.name == name:
                    worker.die(is_excused=not self._world.can_tell)
        self.thaw(frozen)

    def start(self) -> None:
        self._world.kernel.step()
        self.boot(GROUP)

    def boot(self, names: Iterable[str]) -> None:
        self._wanted |= set(names)
        for name in names:
            self._start(name)

    def restart_daemon(self) -> None:
        """By somebody else, with no thought of jobs."""
        for worker in self._workers():
            worker.die(is_excused=True)

    def jobs(self) -> list[int]:
        self._world.kernel.step()
        return [
            number
            for number, actor in enumerate(self._world.kernel.actors)
            if actor.name.startswith("job of") and not actor.is_dead
        ]

    def _workers(self) -> list[NewWorker]:
        return [worker for worker in self._world.new_workers.values() if worker.name in GROUP]

    def _start(self, name: str) -> None:
        self._starting.discard(name)
        if name in self._wanted and all(worker.name != name for worker in self._workers()):
            worker = NewWorker(self._world, name, GROUP[name])
            worker.actor.on_end.append(lambda: self._ended(name))

    def _ended(self, name: str) -> None:
        if name in self._wanted:
            self._starting.add(name)
            self._world.kernel.spawn("supervisord", lambda: self._start(name), 0, after=1)


class SimulatedOldWorkers(OldWorkers):
    """The old workers' unit: one for each set of queues, and the scheduler."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.is_held = False
        self.is_enabled = True  # at boot, and by whom looks at the unit

    def hold(self) -> None:
        self._world.kernel.step()
        self.is_held = True

    def left(self) -> list[str]:
        for worker in list(self._world.old_workers.values()):
            self._world.kernel.step()
            worker.is_quitting = True
        self._world.kernel.step()
        return [f"PID {pid}" for pid in self._world.old_workers]

    def start_again(self) -> None:
        self._world.kernel.step()
        self.is_held, self.is_enabled = False, True
        self.start()

    def start(self) -> None:
        for queues in (*OLD_WORKERS, ("_schdlr_",)):
            alive = self._world.old_workers.values()
            if not any(one.queues == queues and not one.is_quitting for one in alive):
                OldWorker(self._world, queues)

    def queues(self) -> list[list[str]]:
        return [list(worker.queues) for worker in self._world.old_workers.values()]


def backends(world: World) -> tuple[Backend, Backend]:
    """Both, over connections of their own."""
    return Backend(Line(world, "old"), OLD), Backend(Line(world, "new"), NEW)
