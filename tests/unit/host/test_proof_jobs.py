from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tasks.host import proof_jobs
from tasks.host.errors import HostError
from tasks.host.proof_jobs import Limits
from tasks.host.queues import Backend
from tasks.host.redis import RedisError, Reply
from tests.unit.host.fakes import LIES, FakeClock, LyingRedis

READY = "Successfully connected to Redis."


class Workers:
    """What workers do at each of the proof's naps."""

    def __init__(self, new: Backend, clock: FakeClock) -> None:
        self.new, self.clock = new, clock

    def take(self, queue: str) -> Any:
        record = self.new.redis.command("LPOP", self.new.key(queue))
        return json.loads(record) if isinstance(record, bytes) else None

    def say(self, job: Any, **state: Any) -> None:
        key = self.new.key("job_status:" + job["id"])
        self.new.redis.command("SETEX", key, 100, json.dumps({**job, **state}))

    def mark(self, queue: str, id_: str) -> None:
        self.new.redis.command("SETEX", self.new.key(f"running:{queue}:{id_}"), 60, "{}")


@pytest.fixture
def workers(new: Backend) -> Workers:
    return Workers(new, FakeClock())


def prove(
    workers: Workers, on_nap: Callable[[], None], marks_running: bool = True, **counts: int
) -> dict[str, str]:
    workers.clock.on_sleep = on_nap
    outcomes = proof_jobs.prove(
        workers.new, counts or {"prio": 1}, Limits(20, 100), marks_running, workers.clock
    )
    left = workers.new.redis.command("KEYS", workers.new.key("job_status:*"))
    assert left == []
    assert all(one.job.queue == queue for queue, one in outcomes.items())
    return {queue: one.problem for queue, one in outcomes.items()}


def test_a_job_through_each_queue(workers: Workers) -> None:
    workers.new.redis.command("RPUSH", workers.new.key("prio"), "a backlog")
    seen = []

    def work() -> None:
        for queue in ("prio", "email"):
            if workers.new.redis.command("LLEN", workers.new.key(queue)) != (queue == "prio"):
                job = workers.take(queue)
                seen.append((queue, job["command"], job["args"], job["status"]))
                workers.say(job, status=4, output=READY)

    assert prove(workers, work, prio=1, email=5) == {"prio": "", "email": ""}
    assert seen == [("prio", "admin", ["redisReady"], 1), ("email", "admin", ["redisReady"], 1)]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"status": 3, "error": "no\n", "output": "x"}, "failed: no x"),
        ({"status": 3}, "failed without a word"),
        ({"status": 4, "output": "odd"}, "failed: odd"),
        ({"status": 4, "output": ["odd"]}, "failed: ['odd']"),
    ],
)
def test_a_job_that_fails_is_told(workers: Workers, state: Any, problem: str) -> None:
    def work() -> None:
        if job := workers.take("prio"):
            workers.say({"id": job["id"]}, **state)

    assert prove(workers, work) == {"prio": problem}


def test_without_a_worker_it_is_taken_back(workers: Workers) -> None:
    workers.new.redis.command("RPUSH", workers.new.key("prio"), "other")
    assert prove(workers, lambda: None) == {"prio": "not done after 20 s"}
    left = workers.new.redis.command("LRANGE", workers.new.key("prio"), 0, -1)
    assert left == [b"other"]


def test_a_long_job_of_its_queues_worker_is_no_fault(workers: Workers) -> None:
    def work() -> None:
        if workers.clock.seconds < 60:
            workers.mark("prio", "another")
        else:
            workers.new.redis.command("DEL", workers.new.key("running:prio:another"))
            if job := workers.take("prio"):
                workers.say(job, status=4, output=READY)

    assert prove(workers, work) == {"prio": ""}


def test_but_not_for_ever(workers: Workers) -> None:
    problem = prove(workers, lambda: workers.mark("prio", "another"))["prio"]
    assert problem.startswith("not done after 10")


def test_while_it_runs_it_is_given_time(workers: Workers) -> None:
    def work() -> None:
        job = workers.take("prio")
        if job:
            workers.job = job  # type: ignore[attr-defined]
        job = workers.job  # type: ignore[attr-defined]
        workers.mark("prio", job["id"])
        is_done = workers.clock.seconds > 90
        workers.say(job, **({"status": 4, "output": READY} if is_done else {"status": 2}))

    assert prove(workers, work) == {"prio": ""}


@pytest.mark.parametrize(("marks_running", "seconds"), [(True, 30), (False, 20)])
def test_a_worker_that_dies_over_it_is_told(
    workers: Workers, marks_running: bool, seconds: int
) -> None:
    def work() -> None:
        if job := workers.take("prio"):
            workers.say(job, status=2)

    assert prove(workers, work, marks_running) == {"prio": "failed: its worker died over it"}
    assert seconds < workers.clock.seconds < seconds + 1


def test_an_odd_state_is_none(workers: Workers) -> None:
    def work() -> None:
        if job := workers.take("prio"):
            key = workers.new.key("job_status:" + job["id"])
            workers.new.redis.command("SETEX", key, 100, '{"status":4,"output":')

    assert prove(workers, work) == {"prio": "not done after 20 s"}


def test_a_proof_that_is_cut_short_takes_its_jobs_back(workers: Workers) -> None:
    def work() -> None:
        raise RedisError("gone")

    with pytest.raises(RedisError):
        prove(workers, work, prio=1, email=1)
    assert workers.new.redis.command("LLEN", workers.new.key("prio")) == 0
    assert workers.new.redis.command("LLEN", workers.new.key("email")) == 0


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_no_lie_of_redis_proves_anything(lie: Reply) -> None:
    new = Backend(LyingRedis(lie), "background_jobs:")
    try:
        outcomes = proof_jobs.prove(new, {"prio": 1}, Limits(20, 100), True, FakeClock())
    except HostError as error:
        assert len(str(error)) < 400
    else:
        assert all(one.problem for one in outcomes.values())
