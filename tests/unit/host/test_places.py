from __future__ import annotations

from typing import Any

import pytest

from tasks.host.places import Place, left_place, old_place, stored_place, wanted_place

GUIDE = Place("127.0.0.1", 6379, 1, "background_jobs", "", 86400)


@pytest.mark.parametrize(
    ("desired", "block", "misp", "changes"),
    [
        ({}, {}, {}, {}),
        # MISP's own server, but never its database: its other keys are there.
        (
            {},
            {},
            {"redis_host": "r", "redis_port": 6380, "redis_database": 13},
            {"host": "r", "port": 6380},
        ),
        (
            {},
            {"redis_host": "b", "redis_database": "13"},
            {"redis_host": "r"},
            {"host": "b", "database": 13},
        ),
        ({"redis_host": "o"}, {"redis_host": "b"}, {"redis_host": "r"}, {"host": "o"}),
        ({"redis_database": 0}, {"redis_database": 13}, {}, {"database": 0}),
        ({"redis_namespace": "x"}, {"redis_namespace": "y"}, {}, {"namespace": "x"}),
        ({}, {"redis_namespace": "", "max_job_history_ttl": 60}, {}, {"history_ttl": 60}),
        (
            {"redis_host": "/run/r.sock"},
            {"redis_port": 6379},
            {},
            {"host": "/run/r.sock", "port": 0},
        ),
        (
            {},
            {"redis_port": "63x", "redis_database": [1], "redis_host": None},
            {},
            {"port": 63, "database": 0},
        ),
        ({}, {"redis_port": 10**40, "redis_database": "9" * 50}, {}, {"port": 0, "database": 0}),
        ({}, {"redis_host": 5}, {}, {"host": "5"}),
    ],
)
def test_the_first_that_is_given_counts(
    desired: dict[str, Any], block: dict[str, Any], misp: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert wanted_place(desired, block, misp) == GUIDE._replace(**changes)


MISPS = {"redis_host": "localhost", "redis_password": "misp's"}
BLOCK = {"redis_host": "127.0.0.1", "redis_password": "block's"}


@pytest.mark.parametrize(
    ("desired", "block", "misp", "password"),
    [
        ({"redis_password": ""}, BLOCK, MISPS, ""),
        ({"redis_password": "own"}, BLOCK, MISPS, "own"),
        ({}, BLOCK, MISPS, "block's"),
        ({}, {}, MISPS, "misp's"),
        ({}, {}, {"redis_password": "misp's"}, "misp's"),
        ({}, {}, {"redis_host": "::1", "redis_password": "misp's", "redis_port": "6379"}, "misp's"),
        ({"redis_port": 7000}, {}, MISPS, ""),
        ({"redis_host": "other"}, {}, MISPS, ""),
        # To MISP's own server: its password, not the one of the server that the block names so far.
        ({"redis_host": "localhost"}, BLOCK | {"redis_host": "elsewhere"}, MISPS, "misp's"),
        # To a third one: the block's may be it.
        ({"redis_host": "third"}, BLOCK | {"redis_host": "elsewhere"}, MISPS, "block's"),
        (
            {"redis_host": "/s"},
            {},
            {"redis_host": "/s", "redis_password": "p", "redis_port": 1},
            "p",
        ),
        ({}, {"redis_password": ["x"]}, {}, ""),
    ],
)
def test_the_password_is_that_of_the_server(
    desired: dict[str, Any], block: dict[str, Any], misp: dict[str, Any], password: str
) -> None:
    assert wanted_place(desired, block, misp).password == password


def test_the_stored_place_is_where_misps_own_settings_say() -> None:
    stored = stored_place({"enabled": True, "redis_database": 2}, {})
    assert stored == GUIDE._replace(database=2, namespace="")
    assert stored.prefix == ":"
    named = stored_place({"enabled": 1, "redis_namespace": "n"}, {"redis_host": "r"})
    assert named == GUIDE._replace(host="r", namespace="n")


def test_the_old_place_is_cakeresques() -> None:
    assert old_place({}) == Place("127.0.0.1", 6379, 0, "resque", "")
    config = {"host": "/r.sock", "port": 6379, "database": "2", "namespace": "", "password": "x"}
    assert old_place(config) == Place("/r.sock", 0, 2, "", "x")


@pytest.mark.parametrize(
    ("desired", "block", "misp", "left"),
    [
        ({}, {}, {}, Place("127.0.0.1", 6379, 0, "resque", "")),
        ({}, BLOCK, MISPS, Place("localhost", 6379, 0, "resque", "block's")),
        (
            {},
            {"redis_host": "far"} | BLOCK,
            MISPS,
            Place("localhost", 6379, 0, "resque", "block's"),
        ),
        (
            {},
            {"redis_host": "far", "redis_password": "p"},
            MISPS,
            Place("localhost", 6379, 0, "resque", "misp's"),
        ),
        (
            {"redis_password": "own", "redis_database": 5, "redis_namespace": "n"},
            {},
            {"redis_host": "/r.sock"},
            Place("/r.sock", 0, 0, "resque", "own"),
        ),
    ],
)
def test_cakeresque_left_its_queues_at_misps_own_redis(
    desired: dict[str, Any], block: dict[str, Any], misp: dict[str, Any], left: Place
) -> None:
    assert left_place(desired, block, misp) == left


def test_a_place_is_shown_without_its_password() -> None:
    place = GUIDE._replace(password="secret-1")
    assert str(place) == "127.0.0.1:6379, database 1, namespace background_jobs"
    assert "secret-1" not in repr(place) + f"{place}"
    assert "(none)" in str(place._replace(namespace=""))
    assert place._replace(host="/s").is_socket
