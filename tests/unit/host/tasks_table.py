"""A MISP with scheduled tasks: its table, its two Redis, and root's files in a folder of a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.host.misp import Misp
from tasks.host.queues import Backend
from tests.unit.host import old_side
from tests.unit.host.fakes import FakeClock

NOW = FakeClock().epoch()
ACTIONS = {
    "pull_all": "enqueuePull",
    "push_all": "enqueuePush",
    "cache_feeds": "enqueueFeedCache",
    "fetch_feeds": "enqueueFeedFetch",
    "cache_exports": "enqueueCaching",
}


class Table:
    """MISP's table `tasks`, as far as it is asked; the place of a bridge."""

    def __init__(self, rows: list[list[Any]]) -> None:
        self.rows = rows  # id, type, timer, next_execution_time
        self.native: list[list[Any]] = []
        self.process_ids: dict[int, str] = {}

    def sql(self, statement: str, *values: Any) -> list[list[Any]]:
        if statement.startswith("UPDATE tasks SET next_execution_time = ?, process_id = ?"):
            time, process_id, id_ = values
            self.process_ids[id_] = process_id
            for row in self.rows:
                if row[0] == id_:
                    row[3] = time
            return []
        return self.native if "enabled" in statement else [list(row) for row in self.rows]


class TaskedMisp(Misp):
    """Without PHP and gate."""

    def __init__(self, old: Backend, new: Backend, folder: Path, owner: str) -> None:
        self.site = old_side.site(scheduled_tasks=owner, state_dir=str(folder / "state"))
        self.user = old_side.WEB
        self.table = Table([])
        self.bridge = self.table  # type: ignore[assignment]
        self._backends = old, new

    def old(self) -> Backend:
        return self._backends[0]

    def new(self) -> Backend:
        return self._backends[1]

    def through(self, old: Backend, new: Backend) -> None:
        """Have other connections."""
        self._backends = old, new

    def add(self, kind: str, due: int, hours: int = 6, user: int = 7, id_: int = 0) -> None:
        """Have a task that is on: a row and a delayed job."""
        id_ = id_ or len(self.table.rows) + 1
        self.table.rows.append([id_, kind, hours, due])
        delay(self._backends[0], task_record(kind, due, user, id_), due)


def task_record(kind: str, due: Any, user: Any = 7, id_: Any = 1) -> str:
    """As MISP writes it."""
    numbers = (id_, user) if kind == "push_all" else (user, id_)
    words = {"0": ACTIONS[kind], "1": due, "2": numbers[0], "3": numbers[1]}
    arguments = {**words, "id": "f" * 32, "s_time": 1}
    record = {"class": "ServerShell", "args": [arguments], "queue": "default", "track": True}
    return json.dumps(record)


def delay(old: Backend, record: str, due: int) -> None:
    old.redis.command("RPUSH", old.key(f"_schdlr_:{due}"), record)
    old.redis.command("ZADD", old.key("_schdlr_"), due, due)


def delayed(old: Backend) -> dict[int, list[Any]]:
    """What waits for its time, as its words without id and time of writing."""
    times = old.redis.command("ZRANGE", old.key("_schdlr_"), 0, -1)
    assert isinstance(times, list)
    found = {}
    for time in map(int, times):
        records = old.redis.command("LRANGE", old.key(f"_schdlr_:{time}"), 0, -1)
        assert isinstance(records, list)
        arguments = [json.loads(record)["args"][0] for record in records]
        found[time] = [[one[key] for key in sorted(one) if key.isdigit()] for one in arguments]
    return found
