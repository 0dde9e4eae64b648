"""Actors that take turns, a clock that only they move, and the end of any of them at any moment.

Each actor is a greenlet. It lives through `Kernel.step`, which lets a random small time go by, so
others come between any two of its commands. Whatever is random comes from one seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from math import inf
from typing import Any

from greenlet import getcurrent, greenlet

from tasks.host.waiting import Clock

MOST_STEPS = 30_000  # of one schedule


class KilledError(BaseException):
    """SIGKILL, as far as Python can have it: what still runs in a dead actor may do nothing."""


class Actor:
    """A process, or a thread of one."""

    def __init__(self, name: str, body: Callable[[], object], hurry: float, hub: Any) -> None:
        self.name = name
        self.hurry = hurry  # the longest time between two of its steps
        self.is_dead = False
        self.is_frozen = False
        self.steps = 0
        self.dies_at = 0  # which step it does not live to take
        self.turn = 0  # the one of its entries in the queue that counts
        self.is_due = False  # its turn came while it was frozen
        self.error: BaseException | None = None
        self.result: object = None
        self.on_end: list[Callable[[], object]] = []
        self._body = body
        self.greenlet: Any = greenlet(self._run, hub)  # where it goes when it has ended

    def _run(self) -> None:
        try:
            self.result = self._body()
        except KilledError:
            pass
        except Exception as error:
            self.error = error
        self.is_dead = True

    def __repr__(self) -> str:
        return self.name


class Kernel(Clock):
    """The clock, and who is next."""

    def __init__(self, seed: int, trace: bool = False) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.time = 0.0
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.is_over = False
        self.steps = 0
        self._queue: list[tuple[float, int, int, Actor]] = []
        self._count = 0
        self._horizon = inf
        self._hub = getcurrent()
        self.is_traced = trace

    # --- for actors ---

    def now(self) -> float:
        return self.time

    def epoch(self) -> int:
        return 1_800_000_000 + int(self.time)

    def sleep(self, seconds: float) -> None:
        self._pass(self._me(), seconds)

    def step(self) -> None:
        """A moment in which anything may happen; the caller may not live to see its end."""
        actor = self._me()
        actor.steps += 1
        if actor.steps == actor.dies_at:
            self.trace("is killed")
            self.kill(actor)
        self._pass(actor, actor.hurry * self.random.random())

    def wait(self, seconds: float) -> None:
        """Wait for `wake`, but not longer than that."""
        self.sleep(seconds)

    def trace(self, *words: object) -> None:
        if self.is_traced:
            print(f"{self.time:9.4f} {self.current or 'world'!s:14}", *words)

    # --- for anybody ---

    def spawn(self, name: str, body: Callable[[], object], hurry: float, after: float = 0) -> Actor:
        actor = Actor(name, body, hurry, self._hub)
        self.actors.append(actor)
        self._plan(actor, after)
        return actor

    def wake(self, actor: Actor) -> None:
        self._plan(actor, 0)

    def kill(self, actor: Actor) -> None:
        actor.is_dead = True
        self._ended(actor)
        if actor is self.current:
            self._hub.switch()

    def freeze(self, actor: Actor) -> None:
        actor.is_frozen = True

    def thaw(self, actor: Actor) -> None:
        actor.is_frozen = False
        if actor.is_due:
            actor.is_due = False
            self._plan(actor, 0)

    # --- the hub ---

    def run(self, until: Callable[[], bool], horizon: float = inf) -> bool:
        """Let them live until something is so, or it is that late; False: they live too long."""
        self._horizon = horizon
        while not until():
            if not self._queue or self._queue[0][0] >= horizon:
                self.time = max(self.time, min(horizon, 1e9))
                return horizon < inf
            if self.steps >= MOST_STEPS:
                return False
            when, _, turn, actor = heapq.heappop(self._queue)
            if actor.is_dead or turn != actor.turn:
                continue
            self.time = max(self.time, when)
            if actor.is_frozen:
                actor.is_due = True
                continue
            self.steps += 1
            self.current = actor
            actor.greenlet.switch()
            self.current = None
            if actor.greenlet.dead:
                self._ended(actor)
        return True

    def run_to(self, horizon: float) -> bool:
        """Let them live until then; False: they do too much."""
        return self.run(lambda: False, horizon)

    def end(self) -> None:
        """Nobody may do anything any more."""
        self.is_over = True
        self.actors.clear()
        self._queue.clear()

    def _me(self) -> Actor:
        if self.is_over or self.current is None or self.current.is_dead:
            raise KilledError
        return self.current

    def _plan(self, actor: Actor, seconds: float) -> None:
        self._count += 1
        actor.turn = self._count
        heapq.heappush(self._queue, (self.time + seconds, self._count, self._count, actor))

    def _pass(self, actor: Actor, seconds: float) -> None:
        """Let time go by; without a switch where nobody else is before."""
        when = self.time + seconds
        is_next = when < self._horizon and not (self._queue and self._queue[0][0] <= when)
        if not is_next or actor.is_frozen:
            self._plan(actor, seconds)
            self._switch()
        else:
            self.time = when
            self.steps += 1
            if self.steps >= MOST_STEPS:
                self._switch()
        if self.is_over or actor.is_dead:
            raise KilledError

    def _switch(self) -> None:
        self._hub.switch()

    def _ended(self, actor: Actor) -> None:
        callbacks, actor.on_end = actor.on_end, []
        for callback in callbacks:
            callback()
