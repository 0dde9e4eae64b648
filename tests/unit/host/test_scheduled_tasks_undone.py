"""A hand-over of scheduled tasks that fails: the old backend has them all, or cron has, or a word.

Each test lets the old scheduler and cron work for half a day afterwards, and counts all runs.
"""

from __future__ import annotations

import os
import re
from calendar import timegm
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from time import strptime
from typing import Any

import pytest

from tasks.host import conversion, cron, files, handed_over, old_tasks, scheduled_tasks, systemd
from tasks.host.errors import HostError, WebUserError
from tasks.host.parts import Unit
from tasks.host.queues import LOCK, Backend
from tasks.host.redis import Redis, RedisError, Reply, Word
from tasks.host.site import Desired
from tests.unit.host.fakes import FakeClock
from tests.unit.host.records import jobs_in
from tests.unit.host.tasks_table import NOW, TaskedMisp, delay, delayed, task_record

HOUR = 3600
LATER = NOW + 5 * HOUR
SOON = NOW + 30
END = NOW + 13 * HOUR
NOBODYS = "Scheduled tasks are nobody's until the next run: run again, or run the rollback"
COMMENT = re.compile(r"# (\w+) of user 7: (every \d+ h|once) from (.*) UTC on")
LOADING = RedisError("LOADING")
KINDS = {"pullAll": "pull_all", "fetchFeed": "fetch_feeds", "cacheFeed": "cache_feeds"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes root's files")


class Clock(FakeClock):
    """Every clock that is made is this one."""

    def __call__(self) -> Clock:
        return self


class Fault:
    """A command of Redis's that fails, and with `lasts` all after it.

    With `is_done` Redis has done it, and its reply is lost.
    """

    def __init__(
        self, number: int, *, is_done: bool, lasts: bool, error: Exception = LOADING
    ) -> None:
        self._number, self._is_done, self._lasts = number, is_done, lasts
        self._error = error
        self.count = 0

    def backend(self, backend: Backend) -> Backend:
        return backend._replace(redis=_Faulty(backend.redis, self))

    def command(self, redis: Redis, words: tuple[Word, ...]) -> Reply:
        self.count += 1
        fails = self.count == self._number or (self._lasts and self.count > self._number)
        if not fails:
            return redis.command(*words)
        if self._is_done and self.count == self._number:
            redis.command(*words)
        raise self._error


class _Faulty(Redis):
    def __init__(self, redis: Redis, fault: Fault) -> None:
        self._redis, self._fault = redis, fault

    def command(self, *words: Word) -> Reply:
        return self._fault.command(self._redis, words)


class World:
    """A MISP, its old scheduler and cron, as long as the clock says."""

    def __init__(self, one: TaskedMisp, clock: Clock) -> None:
        self.one, self.clock = one, clock
        self.old, self.new = one.old(), one.new()
        self.runs: list[tuple[str, int]] = []  # kind, and the minute when it ran or was due

    def begin(self) -> None:
        self.old.redis.command("FLUSHALL")
        files.remove(cron.FILE)
        handed_over.forget(self.one.site)
        self.one.table.rows.clear()
        self.runs.clear()
        self.clock.seconds = 0
        self.one.add("pull_all", LATER)
        self.one.add("fetch_feeds", SOON)
        self.one.add("cache_feeds", SOON, hours=0)

    def hand_over(self, fault: Fault | None = None, *, step: bool = False) -> str:
        """What it complains of, at the old workers' end or as a step of its own."""
        if fault is not None:
            self.one.through(fault.backend(self.old), fault.backend(self.new))
        try:
            if step:
                scheduled_tasks.hand_over_tasks(self.one.site, Desired())
            else:
                scheduled_tasks.hand_over(self.one, workers_return=True)
        except (HostError, MemoryError) as error:
            return str(error) or "no words"
        finally:
            self.one.through(self.old, self.new)
            self.new.redis.command("DEL", self.new.key(LOCK))  # it ends by itself
        return ""

    def work_until(self, end: int) -> None:
        """The old scheduler works, and cron; runs of either are noted."""
        lines = self._lines()
        for minute in range(self.clock.epoch() // 60 * 60, end + 1, 60):
            self.clock.seconds = max(self.clock.seconds, minute - NOW)
            self.runs += [
                (kind, minute)
                for kind, first, step in lines
                if minute == first or (step and minute > first and (minute - first) % step == 0)
            ]
            for time, records in delayed(self.old).items():
                if time < minute + 60:
                    self._run_old(time, records)
        self.clock.seconds = end - NOW

    @staticmethod
    def _lines() -> list[tuple[str, int, int]]:
        text = (files.read(cron.FILE) or b"").decode()
        return [
            (kind, timegm(strptime(at, "%Y-%m-%d %H:%M")), 6 * HOUR if rhythm != "once" else 0)
            for kind, rhythm, at in COMMENT.findall(text)
        ]

    def _run_old(self, time: int, records: list[Any]) -> None:
        """As ServerShell and Task::reQueue do it."""
        self.old.redis.command("DEL", self.old.key(f"_schdlr_:{time}"))
        self.old.redis.command("ZREM", self.old.key("_schdlr_"), time)
        for action, at, _, id_ in records:
            rows = [row for row in self.one.table.rows if row[0] == id_ and row[3] == at]
            if not rows:
                continue
            (row,) = rows
            kind = row[1]
            assert action == {"pull_all": "enqueuePull", "fetch_feeds": "enqueueFeedFetch",
                              "cache_feeds": "enqueueFeedCache"}[kind]  # fmt: skip
            self.runs.append((kind, at // 60 * 60))
            if row[2]:
                row[3] = at + row[2] * HOUR
                delay(self.old, task_record(kind, row[3], 7, id_), row[3])

    def all_runs(self) -> list[tuple[str, int]]:
        """With those that jobs of the new backend do: they were due in the beginning."""
        done = [KINDS[job["args"][0]] for job in jobs_in(self.new, "default")]
        return sorted([*self.runs, *((kind, SOON // 60 * 60) for kind in done)])


WANTED = sorted(
    [
        ("pull_all", LATER // 60 * 60),
        ("pull_all", LATER // 60 * 60 + 6 * HOUR),
        ("cache_feeds", SOON // 60 * 60),
        *(("fetch_feeds", SOON // 60 * 60 + hours * HOUR) for hours in (0, 6, 12)),
    ]
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scheduled_tasks, "Clock", clock)
    return clock


@pytest.fixture
def world(
    old: Backend, new: Backend, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setattr(cron, "FILE", str(folder / "misp-scheduled-tasks"))
    cron_unit = Unit("cron.service", "active", "enabled", 9, True)
    monkeypatch.setattr(systemd, "show", lambda _: [cron_unit])
    return World(TaskedMisp(old, new, folder, "cron"), clock)


def each_fault(
    world: World, *, is_done: bool, lasts: bool, error: Exception = LOADING
) -> Iterator[tuple[int, Fault]]:
    """From a new beginning: one in the first command, in the second and so on."""
    for number in range(1, 200):
        world.begin()
        fault = Fault(number, is_done=is_done, lasts=lasts, error=error)
        yield number, fault
        if fault.count < number:
            assert number > 10
            return
    raise AssertionError("it does not end")


@pytest.mark.parametrize(
    ("is_done", "error"), [(False, LOADING), (True, LOADING), (True, MemoryError())]
)
def test_a_command_that_fails_leaves_no_task_to_two_or_to_nobody(
    world: World, error: Exception, *, is_done: bool
) -> None:
    for number, fault in each_fault(world, is_done=is_done, lasts=False, error=error):
        words = world.hand_over(fault)
        assert NOBODYS not in words, number
        world.work_until(END)
        assert world.all_runs() == WANTED, f"command {number}: {words}"


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("pause", [0, 120, 8 * HOUR])
def test_a_redis_that_is_gone_from_some_command_on_leaves_tasks_to_nobody_only_with_a_word(
    world: World, pause: int, *, is_done: bool
) -> None:
    """And the next run gives each to somebody, though the old scheduler has worked since."""
    named = 0
    for number, fault in each_fault(world, is_done=is_done, lasts=True):
        words = world.hand_over(fault)
        world.work_until(NOW + pause)
        if NOBODYS in words:
            named += 1
            assert world.hand_over() == "", number
        world.work_until(END)
        runs = world.all_runs()
        if pause > HOUR and NOBODYS in words:  # what was nobody's ran late
            assert len(runs) == len(set(runs)), f"command {number}: {words}"
            assert {kind for kind, _ in runs} == {kind for kind, _ in WANTED}
        else:
            assert runs == WANTED, f"command {number}: {words}"
    assert named > 3


def test_an_undoing_that_fails_by_whatever_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise MemoryError

    world.begin()
    for name in ("hold", "held"):
        monkeypatch.setattr(old_tasks, name, fill)
    assert world.hand_over() == f"MemoryError. {NOBODYS}"


@pytest.mark.parametrize("name", ["write", "remove"])
def test_a_file_that_cannot_be_changed_leaves_no_task_to_two_or_to_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = getattr(files, name)
    for number in range(1, 9):
        world.begin()
        left = [number]

        def fail_once(*arguments: Any, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise files.FileError("the disk is full")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(files, name, fail_once)
            words = world.hand_over()
        world.work_until(END)
        assert world.all_runs() == WANTED, f"change {number}: {words}"


def test_a_hand_over_that_fails_changes_nothing_of_an_earlier_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody changes a task on MISP's page, and starts old workers for it."""
    world.begin()
    assert world.hand_over() == ""
    edited = (files.read(cron.FILE) or b"") + b"# edited\n"
    files.write(cron.FILE, edited, 0o644)
    before = handed_over.load(world.one.site)
    row = world.one.table.rows[0]
    row[2:] = [12, LATER + 60]
    delay(world.old, task_record("pull_all", LATER + 60), LATER + 60)

    def assert_as_before() -> None:
        assert files.read(cron.FILE) == edited
        assert files.mode_of(cron.FILE) == "0:0 644"
        assert handed_over.load(world.one.site) == before
        assert list(delayed(world.old)) == [LATER + 60]

    def no_database(*_: Any) -> Any:
        raise WebUserError("no database")

    with monkeypatch.context() as patch:
        patch.setattr(world.one.table, "sql", no_database)
        assert world.hand_over() == "no database"
    assert_as_before()
    for number in range(1, 99):
        fault = Fault(number, is_done=True, lasts=False)
        if world.hand_over(fault) == "":
            break
        if handed_over.load(world.one.site) != before:
            assert delayed(world.old) == {}  # it was too late to go back
            break
        assert_as_before()
    assert number > 5


def test_a_job_of_an_earlier_hand_over_is_not_done_again_when_its_mark_has_gone(
    world: World,
) -> None:
    """A mark lasts for a week."""
    world.begin()
    assert world.hand_over() == ""
    assert len(jobs_in(world.new, "default")) == 2
    marks = world.new.redis.command("KEYS", world.new.key("misp-workers-moved:*"))
    assert isinstance(marks, list) and len(marks) == 2
    world.new.redis.command("DEL", *marks)
    world.clock.seconds = 8 * 24 * HOUR
    at = world.clock.epoch() + 5 * HOUR
    world.one.table.rows[0][3] = at
    delay(world.old, task_record("pull_all", at), at)
    assert world.hand_over() == ""
    assert len(jobs_in(world.new, "default")) == 2


@pytest.mark.parametrize("has_due", [False, True])
def test_what_is_nobodys_is_said_where_no_old_worker_lives_too(
    world: World, monkeypatch: pytest.MonkeyPatch, *, has_due: bool
) -> None:
    monkeypatch.setattr(scheduled_tasks, "Misp", lambda *_: nullcontext(world.one))
    named = said = 0
    for number, fault in each_fault(world, is_done=False, lasts=False):
        if not has_due:
            for kind in ("fetch_feeds", "cache_feeds"):
                world.one.table.rows[:] = [r for r in world.one.table.rows if r[1] != kind]
        words = world.hand_over(fault, step=True)
        named += NOBODYS in words
        said += words != ""
        if words and NOBODYS not in words:
            assert not has_due
            assert [kind for kind, *_ in world._lines()] == ["pull_all"]
        assert world.hand_over(step=True) == "", number
        world.work_until(END)
        assert world.all_runs() == (WANTED if has_due else WANTED[-2:]), number
    assert named == said if has_due else 3 < named < said


@pytest.mark.parametrize("fails", ["hold", "arrive"])
def test_a_run_that_was_due_when_a_hand_over_was_cut_off_comes_after_a_rollback(
    world: World, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Its delayed job may have gone, and the new backend's not have come."""
    world.begin()
    real: Callable[..., Any] = old_tasks.hold if fails == "hold" else conversion.arrive
    count = [0]

    def once(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(old_tasks if fails == "hold" else conversion, fails, once)
        with pytest.raises(KeyboardInterrupt):
            scheduled_tasks.hand_over(world.one)
    world.clock.seconds = 60
    scheduled_tasks.give_back(world.one)
    assert not Path(cron.FILE).exists()
    world.work_until(END)
    assert world.all_runs() == WANTED
    assert world.old.redis.command("KEYS", world.old.key("misp-workers-tasks:*")) == []


def test_a_database_that_is_down_leaves_cron_its_lines_at_a_rollback(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin()
    world.hand_over()
    before = files.read(cron.FILE)

    def no_database(*_: Any) -> Any:
        raise WebUserError("no database")

    monkeypatch.setattr(world.one.table, "sql", no_database)
    with pytest.raises(WebUserError):
        scheduled_tasks.give_back(world.one)
    assert files.read(cron.FILE) == before != b""
