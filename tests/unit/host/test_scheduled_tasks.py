"""MISP's scheduled tasks handed over and given back: nothing twice, nothing left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import cron, files, handed_over, programs, scheduled_tasks, systemd
from tasks.host.done import Done
from tasks.host.errors import HostError, WebUserError
from tasks.host.parts import ScheduledTasks, Unit
from tasks.host.queues import LOCK, Backend
from tests.unit.host.cuts import Cut, each_cut
from tests.unit.host.fakes import FakeClock, Refusing
from tests.unit.host.records import jobs_in
from tests.unit.host.tasks_table import NOW, TaskedMisp, delay, delayed, task_record

HOUR = 3600
LATER = NOW + 5 * HOUR
SOON = NOW + 30

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes root's files")


class Clock(FakeClock):
    """Every clock that is made is this one."""

    def __call__(self) -> Clock:
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scheduled_tasks, "Clock", clock)
    return clock


@pytest.fixture
def one(
    old: Backend, new: Backend, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TaskedMisp]:
    assert clock.epoch() == NOW
    monkeypatch.setattr(cron, "FILE", str(folder / "misp-scheduled-tasks"))
    cron_unit = Unit("cron.service", "active", "enabled", 9, True)
    monkeypatch.setattr(systemd, "show", lambda _: [cron_unit])
    yield TaskedMisp(old, new, folder, "cron")


def failing(words: str) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise WebUserError(words)

    return fail


def crontab() -> list[str]:
    """The comments of the tasks."""
    text = (files.read(cron.FILE) or b"").decode()
    return [line for line in text.splitlines() if line.startswith("# ") and " of user " in line]


def comment(kind: str, due: int, hours: int = 6, user: int = 7) -> str:
    return cron._comment(cron.Task(kind, user, hours, due, 1, due=due))


def jobs(new: Backend) -> list[list[str]]:
    return [job["args"] for job in jobs_in(new, "default")]


def test_cron_gets_the_tasks_that_are_on_with_their_times(
    one: TaskedMisp, old: Backend, new: Backend
) -> None:
    one.add("pull_all", LATER, hours=24, user=3)
    one.add("push_all", LATER + HOUR, hours=1, user=1, id_=9)
    one.add("cache_feeds", LATER, hours=0)
    done = scheduled_tasks.hand_over(one)
    told = done.lines
    assert told == [
        f"MISP's scheduled task {kind} is cron's ({cron.FILE})"
        for kind in ("pull_all", "cache_feeds", "push_all")
    ]
    assert crontab() == [
        comment("cache_feeds", LATER, hours=0),
        comment("pull_all", LATER, hours=24, user=3),
        comment("push_all", LATER + HOUR, hours=1, user=1),
    ]
    assert set(done.tasks) == set(Path(cron.FILE).read_text().splitlines()[4:])
    assert (files.mode_of(cron.FILE), jobs(new)) == ("0:0 644", [])
    assert old.redis.command("KEYS", "*") == []
    assert scheduled_tasks.hand_over(one) == Done([])


@pytest.mark.parametrize("due", [SOON, NOW, NOW - 5, NOW - 20 * HOUR, NOW + 120])
def test_what_is_due_before_cron_has_read_its_file_runs_at_once_and_then_in_its_rhythm(
    one: TaskedMisp, old: Backend, new: Backend, due: int
) -> None:
    one.add("fetch_feeds", due)
    (told,) = scheduled_tasks.hand_over(one).lines
    assert "is due, and a job of the new backend does it; then it is cron's" in told
    assert jobs(new) == [["fetchFeed", "7", "all"]]
    first = due + (20 // 6 + 1) * 6 * HOUR if due < NOW - HOUR else due + 6 * HOUR
    assert crontab() == [comment("fetch_feeds", first)]
    assert delayed(old) == {}


def test_a_task_that_runs_once_and_is_due_needs_no_cron(one: TaskedMisp, new: Backend) -> None:
    one.add("pull_all", SOON, hours=0)
    scheduled_tasks.hand_over(one)
    assert jobs(new) == [["pullAll", "7", "full"]]
    assert not Path(cron.FILE).exists()


def test_what_misp_takes_no_notice_of_stays(one: TaskedMisp, old: Backend, new: Backend) -> None:
    one.add("pull_all", LATER)
    delay(old, task_record("pull_all", SOON), SOON)  # from before the last change in MISP
    delay(old, task_record("fetch_feeds", SOON), SOON)  # without a row
    assert scheduled_tasks.look(one).left == 1
    scheduled_tasks.hand_over(one)
    assert crontab() == [comment("pull_all", LATER)]
    assert list(delayed(old)) == [SOON]
    assert jobs(new) == []
    assert scheduled_tasks.look(one).left == 0


def test_the_users_number_is_found_wherever_misp_puts_it(one: TaskedMisp, old: Backend) -> None:
    """A push that enqueued itself has it in another place than one of MISP's page."""
    one.table.rows = [[4, "push_all", 6, LATER]]
    record = task_record("push_all", LATER, user=4, id_=7)  # exchanged
    delay(old, record, LATER)
    scheduled_tasks.hand_over(one)
    assert crontab() == [comment("push_all", LATER, user=7)]


def test_a_task_that_was_changed_in_misp_afterwards_takes_the_place_of_the_first(
    one: TaskedMisp, old: Backend
) -> None:
    one.add("pull_all", LATER)
    one.add("fetch_feeds", LATER)
    scheduled_tasks.hand_over(one)
    one.table.rows[0][2:] = [12, LATER + 60]
    delay(old, task_record("pull_all", LATER + 60), LATER + 60)
    scheduled_tasks.hand_over(one)
    assert crontab() == [
        comment("fetch_feeds", LATER),
        comment("pull_all", LATER + 60, hours=12),
    ]


@pytest.mark.parametrize(
    ("row", "record"),
    [
        ([1, "cache_exports", 6, LATER], task_record("cache_exports", LATER, False, False)),
        ([1, "pull_all", -1, LATER], task_record("pull_all", LATER)),
        ([1, "pull_all", "6; x", LATER], task_record("pull_all", LATER)),
        ([1, "pull_all", 6, LATER], task_record("pull_all", LATER, user="7\n* * * * * root x")),
        ([1, "pull_all", 6, LATER], task_record("pull_all", LATER, user="\u0667")),
        ([1, "pull_all", 6, LATER], task_record("pull_all", LATER, user=True)),
        ([1, "pull_all", 6, LATER], task_record("pull_all", LATER, user=7.5)),
        ([1, "pull_all", 6, LATER], task_record("pull_all", LATER, user=0)),
        ([1, "pull_all", 6, LATER], task_record("pull_all", LATER, user=2**40)),
        (["1%", "pull_all", 6, LATER], task_record("pull_all", LATER)),
        ([1, "pull_all", 10**9, LATER], task_record("pull_all", LATER)),
        ([1, "pull_all", 6, LATER], '{"args":[{"0":"enqueueRm -rf /"}],"class":"ServerShell"}'),
    ],
)
def test_what_cannot_be_numbers_and_known_words_is_refused_and_nothing_changes(
    one: TaskedMisp, old: Backend, row: list[Any], record: str
) -> None:
    one.add("fetch_feeds", LATER, id_=50)
    one.table.rows.append(row)
    delay(old, record, LATER)
    before = delayed(old)
    seen = scheduled_tasks.look(one)
    assert len(seen.unfit) == 1
    assert all("fetch_feeds" in line or "fetchFeed" in line for line in seen.lines)
    with pytest.raises(HostError, match="nothing can take over"):
        scheduled_tasks.hand_over(one)
    assert not Path(cron.FILE).exists()
    assert delayed(old) == before


def test_the_look_shows_the_lines_that_the_hand_over_writes(one: TaskedMisp) -> None:
    assert scheduled_tasks.look(one) == ScheduledTasks(0, [], "", [], [])
    one.add("pull_all", LATER)
    one.add("fetch_feeds", SOON)
    seen = scheduled_tasks.look(one)
    assert seen.left == 2
    assert not Path(cron.FILE).exists()
    scheduled_tasks.hand_over(one)
    written = (files.read(cron.FILE) or b"").decode().splitlines()
    assert [line for line in seen.lines if not line.startswith("MISP's")] == written[4:]
    assert "fetch_feeds is due" in seen.lines[-1]
    assert scheduled_tasks.look(one).left == 0


def test_a_table_that_cannot_be_read_is_an_error_only_where_there_are_tasks(
    one: TaskedMisp, old: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one.table, "sql", failing("no database"))
    assert scheduled_tasks.look(one).error == ""
    assert scheduled_tasks.hand_over(one) == Done([])
    delay(old, task_record("pull_all", LATER), LATER)
    assert scheduled_tasks.look(one) == ScheduledTasks(1, [], "no database", [], [])
    with pytest.raises(WebUserError):
        scheduled_tasks.hand_over(one)


def test_a_redis_that_refuses_scripts_is_seen_where_there_are_tasks(
    one: TaskedMisp, old: Backend, new: Backend
) -> None:
    one.through(old._replace(redis=Refusing(old.redis, "EVAL")), new)
    assert not scheduled_tasks.look(one).refuses_scripts
    delay(old, task_record("pull_all", LATER), LATER)  # of which MISP takes no notice
    assert not scheduled_tasks.look(one).refuses_scripts
    one.add("pull_all", LATER)
    assert scheduled_tasks.look(one).refuses_scripts
    one.through(old, new)
    assert not scheduled_tasks.look(one).refuses_scripts


def test_delayed_jobs_that_cannot_be_misps_are_seen(one: TaskedMisp, old: Backend) -> None:
    """Or the old workers would be ended for a hand-over that fails."""
    record = task_record("pull_all", LATER)
    delay(old, record[:-1] + f', "x": "{"y" * (1 << 16)}"}}', LATER)
    seen = scheduled_tasks.look(one)
    assert seen.left == 1
    assert "more than 64 KiB" in seen.odd


def test_a_task_for_two_users_is_seen_and_goes_nowhere(one: TaskedMisp, old: Backend) -> None:
    one.add("pull_all", LATER, user=7, id_=1)
    delay(old, task_record("pull_all", LATER, 9, 1), LATER)
    seen = scheduled_tasks.look(one)
    assert "for two MISP users, 7 and 9, and MISP makes only one (none of them counts" in seen.odd
    assert (seen.left, seen.error) == (2, "")
    with pytest.raises(WebUserError, match="two MISP users"):
        scheduled_tasks.hand_over(one, workers_return=True)
    assert len(delayed(old)[LATER]) == 2
    assert not Path(cron.FILE).exists()


def test_a_hand_over_that_was_cut_off_is_seen_without_misps_table(
    one: TaskedMisp, old: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delayed jobs may have gone, and the step is to go on with it."""
    one.add("pull_all", LATER)
    scheduled_tasks.hand_over(one)
    handed_over.keep(one.site, handed_over.load(one.site)._replace(is_done=False))
    monkeypatch.setattr(one.table, "sql", failing("no database"))
    seen = scheduled_tasks.look(one)
    assert (seen.left, seen.error) == (1, "no database")


def test_what_the_host_lacks_for_cron_is_named(
    one: TaskedMisp, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.add("pull_all", LATER)
    monkeypatch.setattr(systemd, "show", lambda _: [])
    monkeypatch.setattr(programs, "find", lambda _: "")
    assert scheduled_tasks.look(one).lacks == ["cron", "flock"]


def test_a_web_user_whom_cron_cannot_name_does_not_end_the_look(one: TaskedMisp) -> None:
    one.add("pull_all", LATER)
    one.user = one.user._replace(name="CORP\\misp")
    assert scheduled_tasks.look(one) == ScheduledTasks(1, [], "", [], [])
    with pytest.raises(HostError, match="cannot name the user"):
        scheduled_tasks.hand_over(one)


def test_with_leave_nothing_is_looked_at_or_done(
    one: TaskedMisp, old: Backend, new: Backend, folder: Path
) -> None:
    left = TaskedMisp(old, new, folder, "leave")
    left.add("pull_all", SOON)
    assert scheduled_tasks.look(left) == ScheduledTasks(0, [], "", [], [])
    assert scheduled_tasks.hand_over(left) == Done([])
    assert list(delayed(old)) == [SOON]


# --- MISP's own scheduler -----------------------------------------------------------------------


def test_misps_own_scheduler_gets_what_its_table_has(
    old: Backend, new: Backend, folder: Path, one: TaskedMisp
) -> None:
    native = TaskedMisp(old, new, folder, "native")
    delay(old, task_record("pull_all", NOW - 5, user=7, id_=2), NOW - 5)
    delay(old, task_record("push_all", LATER, user=7, id_=3), LATER)
    assert sorted(scheduled_tasks.look(native).unfit) == ["pull_all", "push_all"]
    native.table.native = [
        ["Server", "pull", "all,full"],
        ["Server", "push", "all,full"],
        ["Feed", None, None],
    ]
    assert scheduled_tasks.look(native).left == 2
    done = scheduled_tasks.hand_over(native)
    told = done.lines
    assert list(done.tasks) == told
    assert [line.rpartition(": ")[2] for line in told] == ["MISP's own scheduler has it"] * 2
    assert (delayed(old), jobs(new), Path(cron.FILE).exists()) == ({}, [], False)
    assert len(scheduled_tasks.give_back(native)) == 1
    assert delayed(old) == {LATER: [["enqueuePush", LATER, 3, 7]]}  # the other's time has come


# --- the way back -------------------------------------------------------------------------------


def test_what_is_given_back_before_its_time_is_as_it_was(one: TaskedMisp, old: Backend) -> None:
    one.add("pull_all", LATER, user=3)
    one.add("push_all", LATER, user=4)
    one.add("cache_feeds", LATER + HOUR, hours=0)
    before = delayed(old), [list(row) for row in one.table.rows]
    scheduled_tasks.hand_over(one)
    assert len(scheduled_tasks.give_back(one)) == 3
    assert (delayed(old), one.table.rows) == before
    assert set(one.table.process_ids) == {1, 2, 3}
    assert not Path(cron.FILE).exists()
    assert scheduled_tasks.give_back(one) == []


def test_a_time_that_has_passed_is_crons_and_the_next_one_the_old_backends(
    one: TaskedMisp, old: Backend, clock: Clock
) -> None:
    one.add("pull_all", LATER)
    one.add("fetch_feeds", SOON)  # was run at once
    one.add("cache_feeds", LATER, hours=0)
    scheduled_tasks.hand_over(one)
    clock.seconds = 5 * HOUR + 61
    scheduled_tasks.give_back(one)
    assert delayed(old) == {
        LATER + 6 * HOUR: [["enqueuePull", LATER + 6 * HOUR, 7, 1]],
        SOON + 6 * HOUR: [["enqueueFeedFetch", SOON + 6 * HOUR, 7, 2]],
    }
    assert [row[3] for row in one.table.rows] == [LATER + 6 * HOUR, SOON + 6 * HOUR, LATER]


def test_it_waits_where_cron_may_be_about_to_start_something(one: TaskedMisp, clock: Clock) -> None:
    one.add("pull_all", LATER)
    scheduled_tasks.hand_over(one)
    clock.seconds = 60 - NOW % 60 + 1
    was_there = []
    clock.on_sleep = lambda: was_there.append(Path(cron.FILE).exists())
    scheduled_tasks.give_back(one)
    assert was_there == [True]
    assert clock.epoch() % 60 == 5


def test_a_task_that_was_changed_in_misp_since_is_left_to_misp(
    one: TaskedMisp, old: Backend
) -> None:
    for number, kind in enumerate(("pull_all", "push_all", "fetch_feeds"), 1):
        one.add(kind, LATER, id_=number)
    scheduled_tasks.hand_over(one)
    one.table.rows[0][2] = 12
    one.table.rows[1][3] += 60
    one.table.rows[2][0] = 77
    assert scheduled_tasks.give_back(one) == []
    assert delayed(old) == {}


def test_a_crontab_of_that_name_from_before_comes_back(one: TaskedMisp) -> None:
    files.write(cron.FILE, b"# mine\n", 0o640)
    one.add("pull_all", LATER)
    scheduled_tasks.hand_over(one)
    assert crontab()
    scheduled_tasks.revoke(one.site)
    assert (files.read(cron.FILE), files.mode_of(cron.FILE)) == (b"# mine\n", "0:0 640")


# --- cut off anywhere ---------------------------------------------------------------------------


class World:
    """A hand-over or its way back, killed before a command or a change of a file."""

    def __init__(self, one: TaskedMisp, patch: pytest.MonkeyPatch) -> None:
        self.one, self._patch = one, patch
        self.old, self.new = one.old(), one.new()

    def begin(self) -> None:
        self.old.redis.command("FLUSHALL")
        files.remove(cron.FILE)
        handed_over.forget(self.one.site)
        self.one.table.rows.clear()
        self.one.add("pull_all", LATER)
        self.one.add("fetch_feeds", SOON)
        self.one.add("cache_feeds", SOON, hours=0)

    def cut(self, cut: Cut, function: Any) -> None:
        with self._patch.context() as patch:
            for name in ("write", "remove"):
                patch.setattr(files, name, self._counted(cut, getattr(files, name)))
            patch.setattr(self.one.table, "sql", self._counted(cut, self.one.table.sql))
            self.one.through(cut.backend(self.old), cut.backend(self.new))
            try:
                function(self.one)
            finally:
                self.one.through(self.old, self.new)
                self.new.redis.command("DEL", self.new.key(LOCK))  # it ends by itself

    @staticmethod
    def _counted(cut: Cut, function: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            cut.count()
            return function(*arguments)

        return counted


@pytest.mark.parametrize("pause", [0, 600, 7 * HOUR])
def test_a_hand_over_that_is_cut_off_anywhere_and_repeated_is_one(
    one: TaskedMisp, clock: Clock, monkeypatch: pytest.MonkeyPatch, pause: int
) -> None:
    """However long it takes until somebody repeats it, cron has what it had a line for."""
    world = World(one, monkeypatch)

    def begin() -> None:
        clock.seconds = 0
        world.begin()

    for cuts in each_cut(begin, lambda cut: world.cut(cut, scheduled_tasks.hand_over)):
        had = crontab()
        ran = len(jobs(world.new))
        clock.seconds = pause
        scheduled_tasks.hand_over(one)
        names = sorted(args[0] for args in jobs(world.new))
        is_late = pause == 7 * HOUR and not had
        wanted = ["cacheFeed", "fetchFeed", *(["pullAll"] if is_late else [])]
        assert names == wanted, f"cut at {cuts}, {ran} had run"
        next_pull = LATER + 6 * HOUR if is_late else LATER
        next_fetch = SOON + (12 if is_late else 6) * HOUR
        assert crontab() == [comment("fetch_feeds", next_fetch), comment("pull_all", next_pull)]
        assert delayed(world.old) == {}
        assert scheduled_tasks.look(one).left == 0
    assert cuts > 12


def test_a_way_back_that_is_cut_off_anywhere_and_repeated_is_one(
    one: TaskedMisp, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(one, monkeypatch)

    def begin() -> None:
        clock.seconds = 0
        world.begin()
        scheduled_tasks.hand_over(one)
        clock.seconds = 5 * HOUR + 61

    for _ in each_cut(begin, lambda cut: world.cut(cut, scheduled_tasks.give_back)):
        scheduled_tasks.give_back(one)
        times = {LATER + 6 * HOUR: "enqueuePull", SOON + 6 * HOUR: "enqueueFeedFetch"}
        found = delayed(world.old)
        assert {time: [words[0] for words in some] for time, some in found.items()} == {
            time: [action] for time, action in times.items()
        }
        assert not Path(cron.FILE).exists()
