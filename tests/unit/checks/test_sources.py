"""What keeps a host from being migrated when its sources were tried, and what is noted."""

from __future__ import annotations

import pytest

from tasks.checks import sources
from tasks.host.parts import Room
from tests.hosts import SOURCES

ROOM = Room("/var/lib", "copies of Vendor", 300_000, 204_800, 5_000, 100)


@pytest.mark.parametrize(
    ("room", "sentence"),
    [
        (
            ROOM._replace(free_kb=102_400),
            "the file system of /var/lib has 100 MiB free, but 200 are needed for copies of Vendor"
            ": make room",
        ),
        (
            ROOM._replace(free_inodes=99),
            "the file system of /var/lib has 99 inodes free, but 100 are needed for copies of "
            "Vendor: remove files there",
        ),
    ],
)
def test_a_lack_of_room_is_named(room: Room, sentence: str) -> None:
    assert list(sources.check(SOURCES._replace(rooms=[ROOM, room]))) == [sentence]


def test_what_is_enough_or_unknown_is_no_reason() -> None:
    unknown = ROOM._replace(free_kb=-1, free_inodes=-1)
    assert list(sources.check(SOURCES._replace(rooms=[ROOM, unknown]))) == []


def test_a_problem_of_the_hosts_is_told_as_it_is() -> None:
    found = SOURCES._replace(problems=["no way to Packagist"])
    assert list(sources.check(found)) == ["no way to Packagist"]


def test_what_was_late_is_noted_and_refuses_nothing() -> None:
    found = SOURCES._replace(late=["php did not end in time"])
    assert list(sources.check(found)) == []
    [note] = sources.noted(found)
    assert note.startswith("nobody knows yet whether all that is missing can be fetched (php did")
