"""Whether somebody can take over MISP's scheduled tasks."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.checks import scheduled_tasks
from tasks.checks.seen import SeenToMigrate
from tasks.identity import with_answers
from tests import hosts
from tests.hosts import converged, migrating

OLD, NEW = (2, 5, 17), (2, 5, 18)


def problems(
    version: tuple[int, int, int], tasks: dict[str, Any], *, web_user: str = "www-data", **data: Any
) -> list[str]:
    found = migrating(scheduled_tasks=tasks, tree={"version": version, "web_user": web_user})
    seen = hosts.seen(SeenToMigrate, found)
    return list(scheduled_tasks.check(with_answers(hosts.target(**data), seen), seen))


@pytest.mark.parametrize(
    ("version", "data", "owner"),
    [
        (OLD, {}, "cron"),
        (NEW, {}, "native"),
        (NEW, {"scheduled_tasks": "leave"}, "leave"),
        (OLD, {"scheduled_tasks": "native"}, "native"),
        (NEW, {"scheduled_tasks": "cron"}, "cron"),
    ],
)
def test_who_gets_them(version: tuple[int, int, int], data: dict[str, Any], owner: str) -> None:
    seen = hosts.seen(SeenToMigrate, migrating(tree={"version": version}))
    target = with_answers(hosts.target(**data), seen)
    assert target.scheduled_tasks == owner
    assert target.site().scheduled_tasks == data.get("scheduled_tasks", "")  # the host knows too


@pytest.mark.parametrize("version", [OLD, NEW])
def test_tasks_that_have_an_owner_are_no_problem(version: tuple[int, int, int]) -> None:
    assert problems(version, {"left": 2}) == []


@pytest.mark.parametrize(
    ("version", "tasks", "data", "words"),
    [
        (OLD, {"error": "no PDO"}, {}, "its table of them cannot be read: no PDO. Mend what"),
        (OLD, {"refuses_scripts": True}, {}, "Redis refuses EVAL to MISP's user: allow it (its"),
        (OLD, {"odd": "They are odd"}, {}, "They are odd: remove them from Redis, or set sched"),
        (OLD, {"lacks": ["cron", "flock"]}, {}, "this host lacks cron and flock: install"),
        (OLD, {"unfit": ["cache_exports"] * 2}, {}, "task cache_exports is on, and cron cannot"),
        (NEW, {"unfit": ["pull_all"]}, {}, "own scheduler has none that does the same: add it"),
        (NEW, {}, {"misp_scheduler": False}, "nobody would run them: set misp_scheduler to true"),
    ],
)
def test_what_keeps_them_from_their_new_owner_is_said_with_a_remedy(
    version: tuple[int, int, int], tasks: dict[str, Any], data: dict[str, Any], words: str
) -> None:
    (problem,) = problems(version, {"left": 1, **tasks}, **data)
    assert words in problem
    assert problems(version, {**tasks, "left": 0, "unfit": []}, **data) == []


@pytest.mark.parametrize(
    ("version", "owner", "words"),
    [
        (
            (2, 5, 20),
            "cron",
            "scheduled_tasks is cron, but MISP 2.5.20 has a scheduler of its own: ",
        ),
        (NEW, "cron", "scheduled_tasks is cron, but MISP 2.5.18 has a scheduler of its own: "),
        (
            OLD,
            "native",
            "scheduled_tasks is native, but MISP 2.5.17 has no scheduler of its own (it",
        ),
        (NEW, "native", ""),
        (OLD, "cron", ""),
        (NEW, "leave", ""),
        ((0, 0, 0), "native", ""),  # another check says that the version is not known
    ],
)
def test_an_owner_that_this_misp_does_not_have_is_the_only_cause_that_is_named(
    version: tuple[int, int, int], owner: str, words: str
) -> None:
    """MISP's table has other columns then: with cron no task was found, with native an error."""
    tasks: dict[str, Any]
    for tasks in ({"left": 0}, {"left": 1, "error": "Unknown column 'action'"}):
        found = problems(version, tasks, scheduled_tasks=owner)
        if words:
            (problem,) = found
            assert problem.startswith(words)
            assert "take the key out of the inventory, or set scheduled_tasks to leave" in problem
        else:
            assert not any("take the key out" in problem for problem in found)


@pytest.mark.parametrize("left", [0, 1])
def test_a_migrated_host_has_no_owner_to_choose(left: int) -> None:
    """Its MISP was updated since, and cron has the tasks."""
    found = converged(scheduled_tasks={"left": left}, tree={"version": NEW})
    seen = hosts.seen(SeenToMigrate, found)
    target = with_answers(hosts.target(scheduled_tasks="cron"), seen)
    assert len(list(scheduled_tasks.check(target, seen))) == left


def test_tasks_do_not_wait_for_a_hand_over_that_the_new_redis_refuses_each_time() -> None:
    """The old workers would be ended first, in every run."""
    found = migrating(
        scheduled_tasks={"left": 1}, tree={"version": OLD}, new_backend={"refused": ("EVAL",)}
    )
    seen = hosts.seen(SeenToMigrate, found)
    target = with_answers(hosts.target(), seen)
    assert target.settings.on_leftover_jobs != "convert"  # which the check of Redis is about
    (problem,) = scheduled_tasks.check(target, seen)
    assert "MISP's scheduled tasks move by a script" in problem


def test_a_web_user_whom_cron_cannot_name_is_named() -> None:
    (problem,) = problems(OLD, {"left": 1}, web_user="CORP\\misp")
    assert problem.startswith("cron cannot name the web user CORP\\misp: set scheduled_tasks to")
    assert problems(OLD, {"left": 1}, web_user="www.misp") == []
    assert problems(NEW, {"left": 1}, web_user="CORP\\misp") == []
