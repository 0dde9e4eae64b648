"""Runs that are cut off at a point, and what the next run makes of the host."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

POINTS = 10
ROLLBACK_POINTS = 4
UNDISTURBED = ("undisturbed-debian", "undisturbed-el")
AT_ONCE = 3  # deploys side by side on two cores
NOTICED = 180.0  # seconds until a pyinfra whose host is gone has ended by itself
# A look is made again over a new connection, and with it the run goes on.
SURVIVED = "the connection to the host was cut; it is made again"
BACKLOG = 6  # jobs that wait in one queue, so that there is always one that waits and one that runs

# What each run has of its own: a password, dates, PIDs; digests of files with these; copies of
# MISP's files as streams, with their times.
OF_ITS_OWN = (
    *("config.php", "misp-rpc", "/settings-changed", "/web-reloaded", "/proven"),
    *("/originals/record", "/originals/saved/var/www/"),
)
# Different on each host.
ALIVE = (*observe.ALIVE, "resque", "/etc/ssh", "/home/deploy", "/etc/ssl/misp")

Cut = Callable[[LabHost], float]  # returns when it was done


def network(host: LabHost) -> float:
    """The connection is gone; on the host nothing is told of it."""
    host.drop_logins()
    return time.time()


def power(host: LabHost) -> float:
    """The host is gone, and comes back."""
    host.lose_power()
    gone = time.time()
    host.start()
    return gone


def changes(before: observe.Snapshot, after: observe.Snapshot) -> dict[str, str]:
    """What a run left of a host's files: path to mode, owner and content, if that is the same
    for every host.
    """
    found = {}
    for path in before.files.keys() | after.files.keys():
        text = after.files.get(path, "absent")
        if before.files.get(path) != text and not any(word in path.lower() for word in ALIVE):
            own = any(word in path for word in OF_ITS_OWN)
            found[path] = text.rsplit(" ", 1)[0] if own else text
    return found


def left_over(before: observe.Snapshot, after: observe.Snapshot) -> list[str]:
    """What a way back left different, but for what is alive by itself."""
    return observe.lasting(before.differences(after), ALIVE)


@dataclass(frozen=True)
class Point:
    """Where a run is cut: so many seconds into the operation of that number."""

    operation: int
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """When each operation of an undisturbed run began, in seconds, and when the run ended."""

    operations: Sequence[str]
    begins: Sequence[float]
    end: float

    def points(self, count: int) -> list[Point]:
        """COUNT points: one half evenly in time, the other where operations begin."""
        # A run may be quicker than the one that was measured.
        step = 0.8 * (self.end - self.begins[0]) / (count - count // 2)
        times = [self.begins[0] + (n + 0.5) * step for n in range(count - count // 2)]
        share = len(self.begins) / (count // 2)
        edges = [Point(int((n + 0.5) * share), 0.0) for n in range(count // 2)]
        return [*map(self._at, times), *edges]

    def _at(self, seconds: float) -> Point:
        number = max(n for n, begin in enumerate(self.begins) if begin <= seconds)
        return Point(number, seconds - self.begins[number])


@dataclass
class Ending:
    """A host whose run was cut and then repeated, twice; see `live_through`.

    Attributes:
        jobs: numbers of jobs that were enqueued before the first run and after the cut.
        died: numbers of jobs that ran when the host lost its power.
    """

    point: Point
    cut: run.Running
    jobs: list[int]
    died: set[int]
    again: run.Run
    after: observe.Snapshot
    third: run.Run

    def faults(self) -> list[str]:
        """What is wrong with the runs."""
        found = []
        if self.cut.process.returncode == 0 and SURVIVED not in self.cut.stderr:
            found.append("the first run was over before it could be cut")
        if self.again.exit_code:
            found.append(f"the second run failed: {self.again.stderr}")
        if self.third.exit_code or self.third.changed:
            found.append(f"the third run did something: {self.third.changed} {self.third.stderr}")
        operation = self.cut.operations[self.point.operation]
        return [f"cut {self.point.seconds:.1f} s into {operation!r}: {fault}" for fault in found]

    def job_faults(self, host: LabHost) -> list[str]:
        """Jobs that were not done exactly once, or at most once if they died with the host."""
        sure = set(self.jobs) - self.died
        check = verify.check_jobs(host, sure, "jobs of before and after the cut")
        runs = [entry["number"] for entry in misp.ledger(host) if entry.get("number") in self.died]
        twice = sorted({number for number in runs if runs.count(number) > 1})
        found = [] if check.ok else [f"{check.name}: {check.seen}"]
        return found + ([f"jobs that died with the host, run twice: {twice}"] if twice else [])


@dataclass
class Story:
    """A lab whose hosts were each cut at another point, but for those left undisturbed."""

    lab: Lab
    cut: Cut
    before: dict[str, observe.Snapshot]
    after: dict[str, observe.Snapshot]
    ends: dict[str, Ending]

    def faults(self, number: int) -> list[str]:
        """What distinguishes the host NUMBER from one that nobody disturbed."""
        host = self.lab[f"cut-{number}"]
        ending = self.ends[host.name]
        undisturbed = UNDISTURBED[number % 2]
        ours, theirs = (
            changes(self.before[name], after)
            for name, after in ((host.name, ending.after), (undisturbed, self.after[undisturbed]))
        )
        paths = sorted(path for path in ours.keys() | theirs if ours.get(path) != theirs.get(path))
        units = set(ending.after.units.splitlines()) ^ set(
            self.after[undisturbed].units.splitlines()
        )
        return [
            *ending.faults(),
            *(f"{path}: {ours.get(path)} instead of {theirs.get(path)}" for path in paths),
            *(f"unit {unit}" for unit in units),
            *ending.job_faults(host),
            *observe.faults(host),
        ]


def specs() -> tuple[HostSpec, ...]:
    """Hosts of both families to be cut, and one of each that is not."""
    names = [*(f"cut-{number}" for number in range(POINTS)), *UNDISTURBED]
    systems = (("debian-12", "2.5.1"), ("el-like", "2.4.199"))
    return tuple(
        HostSpec(name, base, profile=profile, waiting_jobs=0)
        for number, name in enumerate(names)
        for base, profile in [systems[number % 2]]
    )


def story(lab: Lab, cut: Cut) -> Story:
    """Cut a deploy at a point of its own on each host, and run it again."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(prepare, lab))
        before = dict(zip(lab.hosts, pool.map(observe.snapshot, lab), strict=True))
        # Both at once, as busy as the machine will be.
        lines = list(pool.map(partial(undisturbed, lab, "deploy.py"), UNDISTURBED))
        points = points_by_family(lines, POINTS)
        ends = Attempt(lab, "deploy.py", cut, 1000).live_through_each(points)
        after = {name: observe.snapshot(lab[name]) for name in UNDISTURBED}
    return Story(lab, cut, before, after, ends)


def points_by_family(lines: Sequence[Timeline], count: int) -> list[Point]:
    """The point of host N, in the time that a host of its own family took."""
    return [lines[n % len(lines)].points(count)[n] for n in range(count)]


def rollback_faults(story: Story) -> list[str]:
    """What is not as before the deploy on hosts whose deploy was cut, and on some of them the
    rollback as well.
    """
    lab = story.lab
    with ThreadPoolExecutor(AT_ONCE) as pool:
        lines = list(pool.map(partial(undisturbed, lab, "rollback.py"), UNDISTURBED))
        points = points_by_family(lines, ROLLBACK_POINTS)
        ends = Attempt(lab, "rollback.py", story.cut, 2000).live_through_each(points)
    only = [word for name in story.ends.keys() - ends for word in ("--limit", name)]
    run.apply(lab, *only, deploy="rollback.py").check()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda host: _left(story, host, ends.get(host.name)), lab))
    return [fault for faults in found for fault in faults]


def _left(story: Story, host: LabHost, ending: Ending | None) -> list[str]:
    wait_for(partial(observe.old_workers_live, host), 20, f"{host.name}: the old workers")
    faults = left_over(story.before[host.name], observe.snapshot(host))
    faults += [*ending.faults(), *ending.job_faults(host)] if ending else []
    return [f"{host.name}: {fault}" for fault in faults]


def prepare(host: LabHost) -> None:
    """A host that can be compared with another: the package is there already."""
    misp.install_stopped_supervisor(host)
    make_redis_durable(host)
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")


def make_redis_durable(host: LabHost) -> None:
    """Have Redis write down at once what it is told."""
    # As it comes it does so after minutes: then a loss of power would undo jobs that were done and
    # lose jobs that waited, with any backend and without a migration.
    host.exec("redis-cli config set appendonly yes && redis-cli config rewrite")


def undisturbed(lab: Lab, deploy: str, name: str) -> Timeline:
    """Run a deploy on one host, and measure it."""
    enqueue(lab[name], 1)
    began, begins = time.monotonic(), list[float]()
    with run.started(lab, deploy, "-y", "--limit", name) as running:
        while not running.ends_within(0.02):
            now = time.monotonic() - began
            begins += [now] * (len(running.operations) - len(begins))
    assert running.process.returncode == 0, running.stderr
    return Timeline(running.operations, begins, time.monotonic() - began)


@dataclass(frozen=True)
class Attempt:
    """A deploy that is to be cut, and the number of the first job that is enqueued for it."""

    lab: Lab
    deploy: str
    cut: Cut
    first_job: int

    def live_through_each(self, points: Sequence[Point]) -> dict[str, Ending]:
        """Each host is cut at another point, some hosts at a time."""
        names = [f"cut-{number}" for number in range(len(points))]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(names, pool.map(self.live_through, names, points), strict=True))

    def live_through(self, name: str, point: Point) -> Ending:
        """Run it, cut it at a point, enqueue jobs as MISP would, and run it twice more."""
        host, only = self.lab[name], ("--limit", name)
        jobs = enqueue(host, self.first_job)
        with run.started(self.lab, self.deploy, "-y", *only) as running:
            reached = partial(_has_begun, running, point.operation)
            wait_for(reached, 300, f"{name}: {point}", interval=0.02)
            time.sleep(point.seconds)
            at = self.cut(host)
            running.wait(NOTICED)
        died = misp.jobs_taken_before(host, at) if self.cut is power else set()
        jobs += misp.enqueue(host, 1, first=self.first_job + 50)
        again = run.apply(self.lab, *only, deploy=self.deploy)
        after = observe.snapshot(host)
        third = run.apply(self.lab, *only, deploy=self.deploy)
        return Ending(point, running, jobs, died, again, after, third)


def _has_begun(running: run.Running, operation: int) -> bool:
    return len(running.operations) > operation


def enqueue(host: LabHost, first: int) -> list[int]:
    """A job in each queue, and a backlog in one."""
    jobs = misp.enqueue(host, 1, first=first, seconds=1)
    return jobs + misp.enqueue(host, BACKLOG, queues=("prio",), first=first + 10, seconds=2)
