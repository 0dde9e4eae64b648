"""The simulation finds what is broken: the logic is broken here on purpose, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.host import (
    conversion,
    drain,
    idle,
    jobs,
    new_backend,
    old_workers_stop,
    retire,
    way_back,
)
from tasks.host.errors import DrainLimitError
from tasks.host.jobs import OldJob
from tasks.host.queues import ASIDE, NEW_QUEUES, Backend
from tests.simulation.conftest import Lines
from tests.simulation.schedule import Schedule
from tests.simulation.world import SimulatedGroup

LIMIT = 3000  # schedules until one has to fail

pytestmark = pytest.mark.simulation

Mutation = Callable[[pytest.MonkeyPatch], None]


def _swap(module: Any, name: str, *pieces: tuple[str, str]) -> Mutation:
    """Another text for a script."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        script = getattr(module, name)
        for before, after in pieces:
            assert before in script
            script = script.replace(before, after)
        patch.setattr(module, name, script)

    return mutate


def _mark_of_its_own_step(patch: pytest.MonkeyPatch) -> None:
    """The job arrives in one step, and its mark is made in the next."""
    script = conversion._ARRIVE
    mark = 'redis.call("SET", KEYS[1], "1", "EX", ARGV[3])\n'
    assert mark in script
    arrive = conversion.arrive

    def in_two_steps(new: Backend, job: OldJob, id_: str, clock: Any) -> None:
        arrive(new, job, id_, clock)
        new.redis.command("SET", new.key("misp-workers-moved:" + id_), "1")

    patch.setattr(conversion, "_ARRIVE", script.replace(mark, ""))
    patch.setattr(conversion, "arrive", in_two_steps)


def _no_look_after_quit(patch: pytest.MonkeyPatch) -> None:
    def end_workers(look: Any, convert: Any, workers: Any, limit: float, clock: Any) -> None:
        if look().has_work(with_scheduled=convert is None):
            raise DrainLimitError("work")
        workers.hold()
        old_workers_stop.wait_until_gone(workers, limit, clock)

    patch.setattr(retire, "end_workers", end_workers)


def _nothing_taken_back(patch: pytest.MonkeyPatch) -> None:
    for module in (idle, way_back):
        patch.setattr(module, "take_back", lambda _new: None)


def _aside_in_steps(patch: pytest.MonkeyPatch) -> None:
    """Each list is copied, and deleted afterwards."""

    def put_aside(new: Backend) -> bool:
        for queue in NEW_QUEUES:
            found = new.redis.command("LRANGE", new.key(queue), 0, -1)
            assert isinstance(found, list)
            for record in found:
                new.redis.command("RPUSH", new.key(ASIDE + queue), record)
            new.redis.command("DEL", new.key(queue))
        return True

    patch.setattr(idle, "put_aside", put_aside)


def _id_not_derived(patch: pytest.MonkeyPatch) -> None:
    """Each run gives a job another old id."""
    run = [0]
    move_back = way_back.move_back

    def counted(*args: Any) -> conversion.Moved:
        run[0] += 1
        return move_back(*args)

    patch.setattr(jobs.NewJob, "old_id", property(lambda job: f"{job.id}-{run[0]}"))
    patch.setattr(way_back, "move_back", counted)


def _input_removed_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    args = way_back._Move._args

    def eager(self: Any, job: jobs.NewJob) -> Any:
        found = args(self, job)
        for id_ in job.data.values():
            self.new.redis.command("DEL", way_back._data(self.new, id_))
        return found

    patch.setattr(way_back._Move, "_args", eager)


def _input_left_in_redis(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(way_back._Move, "_args", lambda _self, job: list(job.args))


def _idle_by_child(patch: pytest.MonkeyPatch) -> None:
    """A worker without a child counts as idle, whatever Redis says."""
    patch.setattr(idle._Freezer, "_waits", lambda *_: True)
    patch.setattr(idle._Freezer, "_all_wait", lambda *_: True)


def _starting_ones_stopped_late(patch: pytest.MonkeyPatch) -> None:
    """A worker that had no process at the look is stopped after the others were frozen."""
    late: list[str] = []
    stop = SimulatedGroup.stop

    def stop_later(self: SimulatedGroup, names: list[str], frozen: list[int]) -> None:
        if frozen:
            stop(self, [*names, *late], frozen)
            late.clear()
        else:
            late.extend(names)

    patch.setattr(SimulatedGroup, "stop", stop_later)


def _no_row_of_what_had_arrived(patch: pytest.MonkeyPatch) -> None:
    """A rollback forgets the rows of what a conversion that was cut off had moved."""
    release = conversion.release_held

    def forgetful(old: Backend, new: Backend, rename: jobs.Rename, lock: Any) -> Any:
        def only_back(pairs: list[tuple[str, str]]) -> None:
            rename([pair for pair in pairs if "-" in pair[0]])  # a new id

        return release(old, new, only_back, lock)

    patch.setattr(way_back, "release_held", forgetful)


def _no_settling(patch: pytest.MonkeyPatch) -> None:
    """A deploy puts back what a rollback was moving, arrived or not."""
    patch.setattr(way_back, "has_arrived", lambda *_: False)


def _no_thaw(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drain, "thaw_all", lambda _group: None)


MUTATIONS: dict[str, Mutation] = {
    "mark made in a step of its own": _mark_of_its_own_step,
    "mark never looked at": _swap(
        conversion, "_ARRIVE", ('"EXISTS", KEYS[1]) == 1', '"EXISTS", KEYS[1]) == 2')
    ),
    "no look after QUIT": _no_look_after_quit,
    "what was set aside is not taken back": _nothing_taken_back,
    "what was set aside overwrites the queue": _swap(
        new_backend, "_MOVE", ('redis.call("RPUSH", KEYS[i + 1], job)', "")
    ),
    "set aside in more than one step": _aside_in_steps,
    "held without a look whether it was still there": _swap(
        conversion, "_HOLD", ("== 0 then return 0 end", "== 9 then return 0 end")
    ),
    "moved back without a look whether it was still there": _swap(
        way_back, "_MOVE", ("== 0 then return 0 end", "== 9 then return 0 end")
    ),
    "released, and left among the held ones": _swap(
        conversion, "_RELEASE", ('redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0', "false")
    ),
    "old id not derived from the new one": _id_not_derived,
    "input removed before the job has arrived": _input_removed_before_it_is_stored,
    "input left in Redis": _input_left_in_redis,
    "idle by its child alone": _idle_by_child,
    "marks of a way back that was cut off not looked at": _no_settling,
    "frozen workers not thawed": _no_thaw,
    "starting workers stopped late": _starting_ones_stopped_late,
    "rows of what had arrived not renamed": _no_row_of_what_had_arrived,
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_what_is_broken_is_found(
    mutation: Mutation, lines: Lines, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    mutation(monkeypatch)
    for seed in range(LIMIT):
        outcome = Schedule(seed, *lines).run()
        if outcome.faults:
            record_property("schedules", seed + 1)
            print(f"found after {seed + 1}: {outcome.faults[0]}")
            return
    pytest.fail(f"not found in {LIMIT} schedules")
