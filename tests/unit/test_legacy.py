"""Why the wait for the old backend ended, and that it names what goes on using it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import legacy, parse

BY_THEMSELVES = "jobs that no old job can have enqueued"
PERHAPS = "jobs kept coming: if its own jobs do not enqueue them"


def waited(monkeypatch: pytest.MonkeyPatch, looks: Iterator[Mapping[str, Any]]) -> str | None:
    """How a wait of 20 s ends whose looks, a second apart, see this."""
    clock = count()
    monkeypatch.setattr(legacy, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    taken = (legacy._Look(["7 1 prio"], look) for look in looks)
    monkeypatch.setattr(legacy, "_looks", lambda _target: taken)
    host: Any = SimpleNamespace(print_prefix="")
    nothing: Any = None
    return legacy._waited(host, nothing, 20, lambda look: not parse.backlog(look.legacy))


def test_a_backend_that_stays_quiet_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, iter([{"processed": 5}] * 2)) is None


@pytest.mark.parametrize(
    ("work", "grows", "cause"),
    [({}, 1, BY_THEMSELVES), ({"running": 1}, 1, PERHAPS), ({"running": 1}, 0, None)],
)
def test_at_the_limit_it_is_said_where_jobs_may_come_from(
    monkeypatch: pytest.MonkeyPatch, work: dict[str, int], grows: int, cause: str | None
) -> None:
    left = waited(monkeypatch, ({"processed": 5 + n * grows, **work} for n in count()))
    assert left is not None
    assert left.startswith("drain limit of 20 s reached with ")
    assert [words for words in (BY_THEMSELVES, PERHAPS) if words in left] == [cause] * bool(cause)
    assert ("by settings from before: a PHP of the web tier" in left) == bool(cause)
