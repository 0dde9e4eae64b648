"""The old workers' end and return: what is done in which order, and what not after a fault."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.host import (
    launchers,
    moves,
    old_units,
    old_workers,
    old_workers_back,
    old_workers_stop,
    proof,
    scheduled_tasks,
    systemd,
)
from tasks.host import retire as module
from tasks.host.done import Done
from tasks.host.errors import DrainLimitError, HostError, RefusedError
from tasks.host.parts import Launcher, Proof, Unit
from tasks.host.queues import OldBackend
from tasks.host.site import Desired, Site
from tasks.host.waiting import wait_until
from tests.unit.host import old_side
from tests.unit.host.fakes import FakeClock
from tests.unit.host.old_side import WEB, Records

UNIT = Unit("misp-workers.service", "active", "enabled", 10, True)
IDLE = Unit("misp-workers.service", "inactive", "disabled", 0, True)
QUIET = OldBackend({}, {}, is_installed=True)
WORK = QUIET._replace(waiting={"prio": 1})
SILENT = QUIET._replace(error="no Redis")
BY_HAND = Unit("misp-old-workers.service", "active", "transient", 0, True)


def _wait_until(condition: Callable[[], bool], seconds: float, **_: object) -> bool:
    return wait_until(condition, seconds, clock=FakeClock())


class Host:
    """Records what is done to it, in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.failing = ""  # the event that fails, once
        self.error: type[Exception] = HostError  # by which it does
        self.units = [UNIT]
        self.workers = [self.process(11)]
        self.strangers: list[Any] = []
        self.hidden: list[int] = []
        self.launchers: list[Launcher] = []
        self.unread: list[Launcher] = []
        self.unfit: list[Launcher] = []
        self.link = ""
        self.in_a_job = False
        self.coming: list[Any] = []  # scripts that start workers still, look by look
        self.newcomers: list[Any] = []  # that appear while the first ones leave
        self.is_dead = False  # no worker comes up again
        self.come_up = ["default"]  # the queues that a start brings workers for, the first time
        self.records = Records()
        patch.setattr(old_workers_stop, "originals", self.records)
        patch.setattr(old_workers_back, "originals", self.records)
        patch.setattr(old_workers_back, "wait_until", _wait_until)
        patch.setattr(module, "Table", lambda: [*self.workers, *self.strangers])
        patch.setattr(old_workers_stop, "wait_until", _wait_until)
        patch.setattr(module, "Misp", self.misp)
        self.answers: list[OldBackend] = []
        patch.setattr(moves, "old_state", self.old_state)
        patch.setattr(moves, "convert_jobs", self.convert)
        patch.setattr(moves, "forget_dead", self.forget)
        patch.setattr(scheduled_tasks, "hand_over", self.hand_over)
        self.is_unfit = False  # somebody's scheduled task
        for name in ("hold_unit", "let_unit_go", "restart", "start", "stop", "reset_failed"):
            patch.setattr(systemd, name, self._event(name, starts=name.endswith("start")))
        patch.setattr(systemd, "disable", lambda unit: self.note(f"disable {unit.name}"))
        patch.setattr(systemd, "enable", lambda *words: self.note(f"enable {words}"))
        patch.setattr(systemd, "reload_daemon", self._event("reload"))
        patch.setattr(systemd, "link", self._event("link"))
        patch.setattr(systemd, "linked_file", lambda _: self.link)
        patch.setattr(systemd, "show", lambda _: self.units)
        patch.setattr(old_units, "names", lambda _: [one.name for one in self.units])
        patch.setattr(old_units, "found", lambda *_: [])
        patch.setattr(old_units, "unread", lambda _: self.unread)
        patch.setattr(old_units, "unfit", lambda _: self.unfit)
        patch.setattr(old_workers, "hidden", lambda _: self.hidden)
        patch.setattr(old_workers, "processes", lambda *_: self.workers)
        patch.setattr(old_workers, "jobs", lambda _: {12})
        patch.setattr(old_workers, "coming", lambda *_: [self.coming.pop()] if self.coming else [])
        patch.setattr(old_workers, "send", self.send)
        patch.setattr(old_workers, "start_by_hand", self._event("by hand", starts=True))
        patch.setattr(launchers, "found", lambda *_: self.launchers)
        patch.setattr(launchers, "take_out", self._event("take out"))
        patch.setattr(launchers, "put_back", self._event("put back"))

    @staticmethod
    def process(pid: int, **given: Any) -> Any:
        values: dict[str, Any] = {
            "pid": pid,
            "parent": 1,
            "uid": WEB.uid,
            "name": "php",
            "argv": ["php", "./bin/resque"],
            "environ": {"QUEUE": "default"},
            "unit": UNIT.name,
            "is_in_a_container": False,
            "is_alive": True,
        }
        return SimpleNamespace(**{**values, **given})

    def note(self, text: str) -> None:
        self.events.append(text)
        if text == self.failing:
            self.failing = ""
            raise self.error(f"{text} failed")

    def _event(self, name: str, *, starts: bool = False) -> Callable[..., None]:
        def event(*arguments: Any) -> None:
            names = [one for one in arguments if isinstance(one, str)]
            self.note(" ".join([name, *names]))
            if starts and not self.is_dead:
                self.workers = [
                    self.process(21 + at, environ={"QUEUE": queue})
                    for at, queue in enumerate(self.come_up)
                ]
                self.come_up = ["default", "prio"]

        return event

    @contextmanager
    def misp(self, site: Site, _: Desired) -> Iterator[Any]:
        yield SimpleNamespace(site=site, user=WEB)

    def old_state(self, _: Any, pids: list[int]) -> OldBackend:
        assert pids == [one.pid for one in self.workers]
        self.note("ask")
        return self.answers.pop(0) if self.answers else QUIET

    def convert(self, _: Any) -> Done:
        self.note("convert")
        return Done([], converted=3)

    def forget(self, _: Any) -> list[str]:
        self.note("forget")
        return []

    def hand_over(self, _: Any, *, workers_return: bool) -> Done:
        assert workers_return  # or the old backend would have lost some tasks to nobody
        self.note("hand over")
        if self.is_unfit:
            raise HostError("nothing can take over")
        return Done(["a task"], tasks=("a line",))

    def send(self, _: Any, workers: list[Any], number: int) -> list[int]:
        assert number == signal.SIGQUIT
        if workers:
            self.note("quit")
            if not self.in_a_job:
                self.workers = self.newcomers
                self.newcomers = []
        return [one.pid for one in workers]

    def retire(self, *answers: OldBackend, leftovers: str = "stop") -> Done:
        """Retire; `answers` is what each question for the old backend's work gives."""
        self.answers = list(answers)
        return module.retire(old_side.site(leftovers=leftovers), Desired())

    def start(self) -> None:
        old_workers_back.start_old_workers(old_side.site(), WEB)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(proof, "look", lambda _: Proof("digest", "digest"))
    return Host(monkeypatch)


def test_the_order(host: Host) -> None:
    host.retire()
    assert host.events == [
        "ask",
        "hold_unit misp-workers.service",
        "reload",
        "take out",
        "quit",
        "ask",
        "hand over",
        "stop misp-workers.service",
        "disable misp-workers.service",
        "reset_failed misp-workers.service",
        "let_unit_go misp-workers.service",
        "reload",
        "forget",
    ]
    assert host.records.texts == ["unit misp-workers.service", "queue default"]


def test_old_workers_start_again_where_their_scheduled_tasks_are_nobodys(host: Host) -> None:
    host.is_unfit = True
    with pytest.raises(HostError, match="nothing can take over"):
        host.retire()
    assert "restart misp-workers.service" in host.events
    assert "disable misp-workers.service" not in host.events


ANY_ERROR = pytest.mark.parametrize("error", [HostError, MemoryError, OSError, RuntimeError])


@ANY_ERROR
@pytest.mark.parametrize("failing", ["convert", "ask again", "hand over"])
def test_whatever_fails_after_their_end_brings_the_workers_back(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: type[Exception], failing: str
) -> None:
    """Else nobody does what still comes: the web user's answers may fill the memory, too."""
    host.error, host.failing = error, failing
    asked = iter(["ask", "ask again"])

    def old_state(*_: object) -> OldBackend:
        host.note(next(asked))
        return host.answers.pop(0)

    monkeypatch.setattr(moves, "old_state", old_state)
    with pytest.raises(error, match=failing):
        host.retire(QUIET, WORK if failing == "convert" else QUIET, leftovers="convert")
    assert host.events[-5:] == [
        failing,
        "let_unit_go misp-workers.service",
        "reload",
        "restart misp-workers.service",
        "put back",
    ]


def refused(host: Host, reason: str, *answers: OldBackend) -> None:
    with pytest.raises(HostError, match=reason):
        host.retire(*answers)
    assert [one for one in host.events if one != "ask"] == []
    assert host.records.texts == []


@ANY_ERROR
@pytest.mark.parametrize("failing", ["hold_unit misp-workers.service", "reload", "take out"])
def test_a_hold_that_fails_holds_nothing(host: Host, failing: str, error: type[Exception]) -> None:
    host.error, host.failing = error, failing
    with pytest.raises(error, match=failing):
        host.retire()
    assert host.events[-3:] == ["let_unit_go misp-workers.service", "reload", "put back"]
    assert [one.pid for one in host.workers] == [11]  # told nothing


def test_where_some_were_told_to_leave_and_live_nothing_is_restarted(host: Host) -> None:
    """A restart kills the job that a worker runs."""
    host.workers.append(host.process(12, parent=11))  # its job
    host.in_a_job = True
    host.failing = "quit"
    with pytest.raises(
        HostError, match=r"quit failed\. Old workers that were told to leave end aft"
    ):
        host.retire()
    assert host.events[-4:] == ["quit", "let_unit_go misp-workers.service", "reload", "put back"]
    assert [one.pid for one in host.workers] == [11, 12]
    host.error, host.failing = MemoryError, "quit"
    with pytest.raises(MemoryError, match=r"quit failed$"):
        host.retire()
    assert host.events[-4:] == ["quit", "let_unit_go misp-workers.service", "reload", "put back"]


@ANY_ERROR
def test_where_all_have_left_before_a_fault_they_are_started_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def coming(*_: object) -> list[Any]:
        if host.workers:
            return []
        raise error("no look at scripts")

    monkeypatch.setattr(old_workers, "coming", coming)
    with pytest.raises(error, match=r"no look at scripts$"):
        host.retire()
    assert host.events[-2:] == ["restart misp-workers.service", "put back"]


@pytest.mark.parametrize("failing", ["stop", "disable", "reset_failed"])
def test_a_unit_that_does_not_stop_is_still_held_for_the_next_run(host: Host, failing: str) -> None:
    host.failing = f"{failing} misp-workers.service"
    with pytest.raises(HostError, match=failing):
        host.retire()
    assert "let_unit_go misp-workers.service" not in host.events


@pytest.mark.parametrize("seen", [Proof("", ""), Proof("", "digest"), Proof("one", "another")])
def test_workers_that_are_not_proven_any_more_keep_the_old_ones(
    host: Host, monkeypatch: pytest.MonkeyPatch, seen: Proof
) -> None:
    """As where another run has taken the host back while this one had no connection."""
    monkeypatch.setattr(proof, "look", lambda _: seen)
    refused(host, "not proven any more, so the old ones stay")


def test_work_that_is_left_stops_it_before_anything_is_changed(host: Host) -> None:
    refused(host, r"1 waiting in prio\. Nothing.*If that happens.*cached config\.php", WORK)
    with pytest.raises(DrainLimitError, match=r"no Redis\. Nothing was stopped") as caught:
        host.retire(SILENT)
    assert "cached config.php" not in str(caught.value)


def test_processes_that_root_may_not_look_at_stop_it(host: Host) -> None:
    host.hidden = [9, 7]
    refused(host, r"may be old workers: 7, 9\. .*SYS_PTRACE")


def test_strangers_in_a_unit_stop_it(host: Host) -> None:
    host.strangers = [
        host.process(30, name="php8.2", argv=["php8.2", "/opt/job.php"]),
        host.process(31, argv=[]),  # has ended
        host.process(32, unit="php-fpm.service"),
        host.process(33, is_in_a_container=True),
        host.process(34, name="bash"),
        host.process(35, is_alive=False),
        host.process(36, parent=51, argv=["php", "cake.php", "CakeResque.CakeResque"]),
    ]
    host.coming = [host.process(51)]
    refused(host, r"misp-workers\.service also runs PHP processes .*: 30\. They would live on")


def test_workers_of_roots_stop_it(host: Host) -> None:
    host.workers = [host.process(11, uid=0)]
    refused(host, r"root runs old workers \(11\).*kill -QUIT")


def test_what_would_have_to_be_taken_out_by_hand_stops_it(host: Host) -> None:
    host.launchers = [Launcher("/etc/crontab", "its command goes over several lines")]
    refused(host, r"/etc/crontab \(its command goes over several lines\)")
    host.launchers, host.unread = [], [Launcher("a.service", "it can be changed")]
    with pytest.raises(RefusedError, match=r"unit a\.service .*\(it can be changed\).*copy"):
        host.retire()
    host.unread, host.unfit = [], [Launcher("b.service", "/opt is others'", "/opt/b")]
    with pytest.raises(RefusedError, match=r"unit b\.service .*\(/opt is others'\).*legacy_serv"):
        host.retire()
    assert host.events == []


def test_a_script_that_starts_workers_still_is_waited_for(host: Host) -> None:
    host.coming = [host.process(51)] * 3
    host.workers = []
    host.retire()
    assert host.coming == []
    host.coming = [host.process(51)] * 1000
    with pytest.raises(DrainLimitError, match=r"old workers still run: 51 \(starts some\)"):
        host.retire()


def test_a_worker_that_appears_meanwhile_is_told_to_leave_as_well(host: Host) -> None:
    host.newcomers = [host.process(31)]
    host.retire()
    assert host.events.count("quit") == 2
    assert host.events[-1] == "forget"


def test_a_job_that_runs_for_too_long_is_not_cut(host: Host) -> None:
    host.in_a_job = True
    host.workers.append(host.process(12))
    with pytest.raises(
        DrainLimitError, match=r"limit of 1 s reached, old workers still run: 11 \(default\); 12"
    ):
        host.retire()
    assert host.events.count("quit") == 1
    assert host.events[-1] == "quit"  # the unit stays held, so that nothing starts them again


def test_a_job_that_came_meanwhile_brings_the_workers_back(host: Host) -> None:
    with pytest.raises(DrainLimitError, match=r"1 waiting in prio\. They were started again"):
        host.retire(QUIET, WORK)
    after = host.events[host.events.index("quit") :]
    assert after == [
        "quit",
        "ask",
        "let_unit_go misp-workers.service",
        "reload",
        "restart misp-workers.service",
        "put back",
    ]


def test_a_redis_that_does_not_answer_brings_the_workers_back(host: Host) -> None:
    with pytest.raises(DrainLimitError, match="no Redis"):
        host.retire(QUIET, SILENT)
    assert host.events[-2:] == ["restart misp-workers.service", "put back"]


def test_leftovers_are_converted_and_looked_at_again(host: Host) -> None:
    done = host.retire(QUIET, WORK, leftovers="convert")
    assert done == Done(["a task"], converted=3, tasks=("a line",))
    assert host.events[4:8] == ["quit", "ask", "convert", "ask"]
    assert host.events[-1] == "forget"


def test_a_conversion_that_fails_brings_the_workers_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(_: Any) -> None:
        raise HostError("no room for a copy")

    monkeypatch.setattr(moves, "convert_jobs", convert)
    with pytest.raises(HostError, match="no room for a copy"):
        host.retire(QUIET, WORK, leftovers="convert")
    assert host.events[-2:] == ["restart misp-workers.service", "put back"]


def test_workers_that_no_unit_had_started_are_noted_and_started_by_systemd(host: Host) -> None:
    host.units = [IDLE]
    with pytest.raises(DrainLimitError):
        host.retire(QUIET, WORK)
    assert host.records.texts == ["unit misp-workers.service", "queue default", "ran"]
    assert host.events[-2:] == ["put back", "by hand"]


def test_a_unit_without_a_file_counts_as_by_hand_and_is_stopped(host: Host) -> None:
    host.units = [BY_HAND]
    host.retire()
    assert host.records.texts == ["queue default", "ran"]
    assert "stop misp-old-workers.service" in host.events


def test_a_unit_whose_file_is_elsewhere_is_noted_with_it(host: Host) -> None:
    host.link = "/opt/misp-workers.service"
    host.retire()
    assert host.records.texts == [
        "unit misp-workers.service",
        "link /opt/misp-workers.service",
        "queue default",
    ]


def test_a_timer_is_stopped_before_what_it_starts(host: Host) -> None:
    host.units = [UNIT, UNIT._replace(name="misp-workers.timer")]
    host.retire()
    assert "hold_unit misp-workers.timer" not in host.events
    stops = [one for one in host.events if one.startswith(("stop", "disable"))]
    assert stops == [
        "stop misp-workers.timer",
        "disable misp-workers.timer",
        "stop misp-workers.service",
        "disable misp-workers.service",
    ]


def test_a_unit_that_is_not_there_is_left_alone(host: Host) -> None:
    host.units = [UNIT._replace(is_there=False, active="inactive", enabled="")]
    host.workers = []
    host.retire()
    assert not [one for one in host.events if one.startswith("stop")]
    assert host.records.texts == []


def test_the_way_back_enables_and_starts_what_was(host: Host) -> None:
    supervisor = Unit("supervisor.service", "active", "enabled", 0, True)
    runtime = Unit("b.service", "inactive", "enabled-runtime", 0, True)
    host.records.recorded = [UNIT, runtime, supervisor, IDLE._replace(name="c.service")]
    host.records.add_launcher(old_side.site(), "link /opt/a.service")
    host.workers = []
    host.start()
    assert host.events == [
        "let_unit_go misp-workers.service",
        "reload",
        "link /opt/a.service",
        "enable ('misp-workers.service',)",
        "enable ('--runtime', 'b.service')",
        "put back",
        "start misp-workers.service",
    ]


def test_the_way_back_tells_when_no_worker_lives(host: Host) -> None:
    host.records.recorded = [UNIT]
    host.workers = []
    host.is_dead = True
    with pytest.raises(HostError, match=r"twice, but no old worker lives after 30 s: see"):
        host.start()


def test_a_queue_that_gets_no_worker_has_all_started_anew_without_cutting_a_job(host: Host) -> None:
    host.records.recorded = [UNIT]
    host.records.texts = ["queue default", "queue prio"]
    host.workers = []
    host.start()
    assert host.events[host.events.index("start misp-workers.service") + 1 :] == [
        "hold_unit misp-workers.service",
        "reload",
        "quit",
        "let_unit_go misp-workers.service",
        "reload",
        "restart misp-workers.service",
        "put back",
    ]
    assert {one.environ["QUEUE"] for one in host.workers} == {"default", "prio"}


def test_a_queue_that_gets_no_worker_again_is_named(host: Host) -> None:
    host.records.recorded = [UNIT]
    host.records.texts = ["queue default", "queue email", "queue update"]
    says = r"misp-workers\.service was started twice, but no old worker serves email,.*`setsid -w "
    with pytest.raises(HostError, match=says + ".* bash .*start.sh </dev/null"):
        host.start()


def test_a_job_is_not_cut_to_start_the_workers_anew(host: Host) -> None:
    host.records.recorded = [UNIT]
    host.records.texts = ["queue prio"]
    host.in_a_job = True
    with pytest.raises(DrainLimitError, match=r"old workers still run: 21 \(default\)"):
        host.start()
    assert host.events[-2:] == ["let_unit_go misp-workers.service", "reload"]
    assert "restart misp-workers.service" not in host.events


def test_a_worker_of_all_queues_serves_each(host: Host) -> None:
    host.records.recorded = [UNIT]
    host.records.texts = ["queue default", "queue prio"]
    host.come_up = ["*"]
    host.start()
    assert host.events[-1] == "start misp-workers.service"


def test_names_of_queues_that_the_web_user_makes_up_are_not_recorded(host: Host) -> None:
    host.workers = [host.process(11, environ={"QUEUE": "prio,no-such-queue,link /etc/passwd"})]
    host.retire()
    assert host.records.texts == ["unit misp-workers.service", "queue prio"]


def test_the_way_back_starts_by_hand_what_ran_by_hand_unless_it_runs(host: Host) -> None:
    host.units = []
    host.records.add_launcher(old_side.site(), "ran")
    host.start()
    assert "by hand" not in host.events
    host.workers = []
    host.start()
    assert host.events[-1] == "by hand"
