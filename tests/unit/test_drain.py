"""When the wait for a backend's jobs is over, and what the operator is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, repeat
from typing import Any

import pytest

from tasks import drain
from tasks.backlog import Look
from tasks.drain import Convert, Done, Drain, Limit, Stuck, Wait
from tasks.host.queues import OldBackend, RunningJob

QUIET = OldBackend({}, {})
BY_THEMSELVES = "jobs arrive that no old job can have enqueued"
PERHAPS = "jobs kept coming: if its own jobs do not enqueue them"


def old(waiting: dict[str, int] | None = None, **fields: Any) -> OldBackend:
    return QUIET._replace(waiting=waiting or {}, **fields)


class Run:
    """A drain with looks a second apart; `seen` is what it decided."""

    def __init__(
        self, mode: str = "stop", limit: int = 20, workers: Iterable[str] = ("*",)
    ) -> None:
        self.drain = Drain(mode, limit)
        self.workers = [names.split(",") for names in workers]
        self.can_return, self.converts = True, mode == "convert"
        self.seconds = 0.0
        self.seen: list[drain.Decision] = []

    def see(self, state: OldBackend) -> drain.Decision:
        look = Look(state, self.workers, self.can_return, self.seconds, converts=self.converts)
        decision = self.drain.see(look)
        self.seen.append(decision)
        self.seconds += 1
        return decision

    def through(self, states: Iterable[OldBackend]) -> drain.Decision:
        """The first decision that is no wait."""
        for state in states:
            decision = self.see(state)
            if not isinstance(decision, Wait):
                return decision
        raise AssertionError(f"still waiting after {self.seconds} s")

    @property
    def said(self) -> list[str]:
        return [one.says for one in self.seen if isinstance(one, Wait) and one.says]

    @property
    def warned(self) -> list[str]:
        return [one.warns for one in self.seen if isinstance(one, Wait) and one.warns]


def test_two_quiet_looks_end_it() -> None:
    run = Run()
    assert run.through(repeat(QUIET)) == Done()
    assert len(run.seen) == 2


def test_work_is_waited_for_and_told_now_and_then() -> None:
    run = Run(limit=1800)
    states = [old({"prio": 2}, running=1)] * 45 + [QUIET] * 5
    assert run.through(states) == Done()
    assert len(run.seen) == 47
    assert run.said == [
        "drain: 2 waiting in prio, 1 running; 0 s of 30 min gone",
        "drain: 2 waiting in prio, 1 running; 30 s of 30 min gone",
    ]


def test_a_line_names_the_jobs_and_comes_when_they_are_other_ones() -> None:
    def job(pid: int, seconds: int) -> OldBackend:
        return old(running=1, jobs=(RunningJob(pid, "prio", "ServerShell pull", seconds),))

    run = Run(limit=1800)
    states = [job(7, n) for n in range(25)] + [job(8, n + 720) for n in range(3)] + [QUIET] * 2
    assert run.through(states) == Done()
    assert run.said == [
        "drain: 1 running (ServerShell pull, PID 7, prio, 0 s); 0 s of 30 min gone",
        "drain: 1 running (ServerShell pull, PID 8, prio, 12 min); 25 s of 30 min gone",
    ]


def test_every_look_tells_what_is_waited_for_and_of_which_limit() -> None:
    run = Run(limit=1800)
    run.through([old({"prio": 2}), old({"prio": 1}), QUIET, QUIET])
    waits = [one[2:] for one in run.seen if isinstance(one, Wait)]
    assert waits == [
        ("2 waiting in prio", 0, 1800),
        ("1 waiting in prio", 1, 1800),
        ("the old backend is quiet, and has to stay so", 2, 1800),
    ]


def test_what_is_stuck_has_its_jobs_names() -> None:
    state = old({"prio": 1}, first=(("prio", "ServerShell pull"),))
    decision = Run(limit=1000, workers=["default"]).through(repeat(state))
    assert isinstance(decision, Stuck)
    assert "1 waiting in prio (first: ServerShell pull), and no old worker" in decision.reason


@pytest.mark.parametrize(
    "work", [{"waiting": {"prio": 1}}, {"delayed": 1}, {"held": 0, "delayed": 2}]
)
def test_what_a_gone_cakeresque_left_behind_is_no_wait(work: dict[str, Any]) -> None:
    state = QUIET._replace(is_installed=False, at="h:1", **work)
    run = Run(workers=())
    run.can_return = False
    decision = run.see(state)
    assert isinstance(decision, Stuck)
    assert "no CakeResque any more" in decision.reason
    run = Run("convert", workers=())
    run.can_return = False
    assert run.see(state) == Convert()
    assert run.see(QUIET._replace(is_installed=False)) == Done()


def test_delayed_jobs_without_any_old_worker_are_not_forgotten() -> None:
    run = Run(workers=())
    run.can_return = False
    decision = run.see(old(delayed=1))
    assert isinstance(decision, Stuck)
    assert "no old worker lives to do them" in decision.reason


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        ("stop", "run again later, or raise drain_timeout, or set on_leftover_jobs to convert"),
        ("wait", "Now run again later, or set on_leftover_jobs to convert (for waiting jobs)"),
        ("convert", "Now run again later, or raise drain_timeout. Both"),
    ],
)
def test_no_remedy_is_an_option_that_is_set_or_does_not_count(mode: str, advice: str) -> None:
    run = Run(mode, limit=20)
    decision: drain.Decision = Wait()
    while isinstance(decision, Wait):
        decision = run.see(old(running=1))
        run.seconds += 4000 if mode == "wait" else 0
    assert isinstance(decision, Limit)
    assert advice in decision.reason


def test_before_a_conversion_a_redis_that_does_not_answer_has_its_remedy() -> None:
    state = old(error="no connection", at="h:1")
    run = Run("convert", workers=())
    run.can_return = False
    decision = run.see(state)
    assert isinstance(decision, Stuck)
    assert (
        "the old workers' Redis (h:1) cannot be asked: no connection. Start it" in decision.reason
    )


def test_a_redis_that_does_not_answer_is_not_quiet() -> None:
    decision = Run().through(repeat(old(error="no connection")))
    assert isinstance(decision, Limit)
    words = "a Redis that cannot be asked: no connection. Start that Redis, then run again"
    assert words in decision.reason


@pytest.mark.parametrize(
    ("work", "grows", "cause"),
    [({}, 1, BY_THEMSELVES), ({"running": 1}, 1, PERHAPS), ({"running": 1}, 0, None)],
)
def test_at_the_limit_it_is_said_where_jobs_may_come_from(
    work: dict[str, Any], grows: int, cause: str | None
) -> None:
    decision = Run().through(old(processed=5 + n * grows, **work) for n in count())
    assert isinstance(decision, Limit)
    assert decision.reason.startswith("drain limit of 20 s reached with ")
    found = [words for words in (BY_THEMSELVES, PERHAPS) if words in decision.reason]
    assert found == [cause] * bool(cause)
    assert ("with settings from before: a PHP of the web tier" in decision.reason) == bool(cause)


def test_jobs_that_arrive_by_themselves_make_it_look_longer() -> None:
    run = Run(limit=1000)
    states: Iterator[OldBackend] = iter(
        [QUIET, old(processed=1), old(processed=1), old(processed=2)]
    )
    assert run.through([*states, *repeat(old(processed=2), 40)]) == Done()
    assert run.warned == [f"old backend: {drain.ARRIVED}"]
    assert len(run.seen) == 30


def test_once_may_be_a_job_that_was_just_taken() -> None:
    run = Run(limit=1000)
    run.through([QUIET, *repeat(old(processed=1), 40)])
    assert run.warned == []
    assert len(run.seen) == 6


def test_jobs_of_a_queue_that_nobody_serves_are_stuck_after_half_a_minute() -> None:
    run = Run(limit=1000, workers=["default"])
    decision = run.through(repeat(old({"prio": 1})))
    assert isinstance(decision, Stuck)
    assert "1 waiting in prio, and no old worker lives for prio" in decision.reason
    assert len(run.seen) == drain.STUCK_LOOKS


def test_a_worker_that_comes_back_in_time_is_waited_for() -> None:
    run = Run(limit=1000, workers=["default"])
    for _ in range(25):
        run.see(old({"prio": 1}))
    run.workers.append(["prio"])
    assert run.through([old({"prio": 1})] * 10 + [QUIET] * 2) == Done()


def test_workers_of_another_host_are_warned_of_once_and_named_at_the_limit() -> None:
    """As those of a host that was renamed."""
    run = Run(limit=60, workers=["default"])
    decision = run.through(repeat(old({"prio": 1}, elsewhere={"former": ["prio"]})))
    assert len(run.warned) == 1
    assert "only workers of former are entered for prio" in run.warned[0]
    assert isinstance(decision, Limit)
    assert "If former is a former name of this host" in decision.reason


def test_without_any_worker_it_is_stuck_at_once() -> None:
    decision = Run(workers=[]).see(old({"prio": 1}))
    assert isinstance(decision, Stuck)
    assert "no old worker lives to do them: start the old workers" in decision.reason


def test_without_any_worker_and_any_work_it_is_over_soon() -> None:
    assert Run(workers=[]).through(repeat(QUIET)) == Done()


@pytest.mark.parametrize("mode", ["stop", "wait", "convert"])
def test_where_nothing_can_come_back_there_is_nothing_to_drain(mode: str) -> None:
    run = Run(mode, workers=[])
    run.can_return = False
    assert run.see(old(scheduled=3)) == Done("no old worker is left to wait for")


def test_what_is_due_too_late_is_a_limit_at_once() -> None:
    decision = Run().see(old(delayed=1, last_due=21))
    assert isinstance(decision, Limit)
    assert "due in 21 s" in decision.reason
    assert isinstance(Run("wait").see(old(delayed=1, last_due=21)), Wait)


def test_scheduled_tasks_that_renew_themselves_never_end() -> None:
    run = Run("wait")
    run.see(old(scheduled=1, last_due=1))
    decision = run.see(old(scheduled=1, last_due=3600))
    assert isinstance(decision, Stuck)
    assert "out of the inventory, or set on_leftover_jobs to convert" in decision.reason


def test_patience_has_a_limit_too() -> None:
    run = Run("wait", limit=20)
    run.see(old(running=1))
    run.seconds = drain.LONGEST_WAIT + 1
    assert isinstance(run.see(old(running=1)), Limit)


# --- convert ---


def test_what_old_workers_will_not_do_is_converted() -> None:
    run = Run("convert", workers=["default"])
    state = old({"prio": 2})
    assert run.through([state] * 3) == Convert()
    assert len(run.seen) == 2
    run.drain.converted([])
    assert run.see(QUIET) == Done()


def test_old_workers_get_their_time_first() -> None:
    run = Run("convert", limit=20)
    assert run.through(repeat(old({"default": 9}))) == Convert()
    assert run.seconds >= 20


def test_after_a_conversion_running_jobs_may_enqueue_more() -> None:
    run = Run("convert", workers=[])
    assert run.see(old({"prio": 1})) == Convert()
    more = old({"prio": 1}, running=1)
    assert run.through([old(running=1), old(running=1), more, more]) == Convert()
    assert run.through([old(running=1), QUIET, QUIET]) == Done()


def test_a_running_job_without_an_end_is_a_limit() -> None:
    run = Run("convert", workers=[])
    run.see(old({"prio": 1}))
    decision = run.through(repeat(old(running=1)))
    assert isinstance(decision, Limit)
    assert decision.reason.startswith(
        "all waiting jobs are converted, but then: drain limit of 20 s"
    )


def test_jobs_that_arrive_by_themselves_end_it_before_a_conversion() -> None:
    """None would be the last one."""
    run = Run("convert", limit=8)
    quiet = [old(processed=n) for n in range(10)]
    decision = run.through(quiet)
    assert isinstance(decision, Limit)
    assert BY_THEMSELVES in decision.reason


def test_conversions_are_not_endless() -> None:
    run = Run("convert", workers=[])
    for _ in range(drain.CONVERSIONS + 1):
        assert run.see(old({"prio": 1})) == Convert()
    decision = run.see(old({"prio": 1}))
    assert isinstance(decision, Limit)
    assert "as fast as they are converted" in decision.reason


def test_records_that_are_no_jobs_end_it_with_their_names() -> None:
    run = Run("convert", workers=[])
    assert run.see(old({"prio": 2})) == Convert()
    run.drain.converted(["queue:prio: no job of MISP's: junk"])
    decision = run.see(old({"prio": 1}))
    assert isinstance(decision, Stuck)
    assert "1 record(s) that are no jobs of MISP's" in decision.reason
    assert "queue:prio: no job of MISP's: junk" in decision.reason


def test_and_are_no_reason_to_convert_again_while_a_job_runs() -> None:
    run = Run("convert", workers=[])
    run.see(old({"prio": 2}))
    run.drain.converted(["queue:prio: junk"])
    state = old({"prio": 1}, running=1)
    assert [type(run.see(state)) for _ in range(5)] == [Wait] * 5


def test_a_redis_that_does_not_answer_is_not_converted() -> None:
    decision = Run("convert", workers=[]).see(old(error="gone"))
    assert isinstance(decision, Stuck)
    assert "gone" in decision.reason


@pytest.mark.parametrize("mode", ["stop", "wait", "convert"])
def test_a_conversion_that_was_cut_off_is_finished_first(mode: str) -> None:
    run = Run(mode)
    assert run.see(old(held=2)) == Convert(only_held=True)
    run.drain.converted([])
    assert run.through(repeat(QUIET)) == Done()


def test_what_it_cannot_finish_is_told() -> None:
    run = Run("stop")
    run.see(old(held=2))
    run.drain.converted(["misp-workers-held: junk"])
    decision = run.see(old(held=1))
    assert isinstance(decision, Stuck)
    assert "misp-workers-held: junk" in decision.reason
