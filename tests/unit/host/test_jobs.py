from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.host import jobs
from tests.unit.host.records import delayed_record, new_id, new_record, old_record


@pytest.mark.parametrize(
    ("name", "record", "job"),
    [
        (
            "queue:prio",
            old_record(1, "a", None, {}, 2),
            ("prio", f"{1:032x}", "event", ["a", None, {}, 2]),
        ),
        (
            "queue:cache",
            old_record(1, "a", class_="WorkflowShell"),
            ("cache", f"{1:032x}", "workflow", ["a"]),
        ),
        (
            "_schdlr_:9",
            delayed_record(2, "x", "email"),
            ("email", f"{2:032x}", "server", ["x", "2"]),
        ),
        ("queue:scheduler", old_record(1, "a"), ("scheduler", f"{1:032x}", "event", ["a"])),
    ],
)
def test_a_job_of_the_old_backend_is_known_by_its_shell(
    name: str, record: str, job: tuple[Any, ...]
) -> None:
    assert jobs.old_job(name, record.encode()) == job


ODD: list[Any] = [
    "junk",
    [],
    {},
    {"class": "EventShell"},
    {"class": "EventShell", "args": []},
    {"class": "EventShell", "args": ["x"], "id": "1"},
    {"class": "EventShell", "args": [["x"]]},
    {"class": "EventShell", "args": [["x"]], "id": ""},
    {"class": "EventShell", "args": [["x"]], "id": 7},
    {"class": "EventShell", "args": [["x"]], "id": "a b"},
    {"class": "EventShell", "args": [["x"]], "id": "a\ud800"},
    {"class": "EventShell", "args": [["x"]], "id": "a" * 201},
    {"class": "OtherShell", "args": [["x"]], "id": "1"},
    {"class": ["EventShell"], "args": [["x"]], "id": "1"},
]


@pytest.mark.parametrize("value", ODD)
def test_what_is_no_job_of_the_old_backend_is_nothing(value: Any) -> None:
    assert jobs.old_job("queue:prio", json.dumps(value).encode()) is None
    assert jobs.old_job("_schdlr_:7", json.dumps(value).encode()) is None


def test_a_job_of_a_queue_that_the_new_backend_lacks_is_none() -> None:
    assert jobs.old_job("queue:own", old_record(1).encode()) is None
    assert jobs.old_job("workers", old_record(1).encode()) is None
    assert jobs.old_job("_schdlr_:9", delayed_record(1, queue="own").encode()) is None


@pytest.mark.parametrize(
    "record",
    [
        b"junk",
        b"[]",
        b'{"id":"1","args":[]}',
        b'{"id":"1","command":"other","args":[]}',
        b'{"id":"1","command":["event"],"args":[]}',
        b'{"id":1,"command":"event","args":[]}',
        b'{"id":"1","command":"event","args":{}}',
        b'{"id":"1","command":"event","args":"x"}',
        b"\x00\x00\x00\x02\x17\x0dBackgroundJob",
    ],
)
def test_what_is_no_job_of_the_new_backend_is_nothing(record: bytes) -> None:
    assert jobs.new_job(record) is None


def test_an_old_id_follows_from_the_new_one() -> None:
    job = jobs.new_job(new_record(1).encode())
    assert job is not None
    assert job.id == new_id(1)
    assert job.old_id == "459c7999f440244b163b38e375fededd"
    assert job.old_id == jobs.NewJob(new_id(1), "admin", []).old_id


def test_only_an_id_after_redis_is_input_in_redis() -> None:
    args: list[Any] = [
        "redis:" + new_id(7),
        "redis: is down",
        "redis:",
        5,
        None,
        ["redis:" + new_id(8)],
    ]
    assert jobs.NewJob("1", "event", args).data == {0: new_id(7)}


def test_records_are_in_misps_wire_format() -> None:
    job = jobs.OldJob("prio", "1", "event", ["ä", None, 5, {"a": []}])
    assert jobs.new_record(job, "u", 17) == (
        '{"id":"u","command":"event","args":["\\u00e4",null,5,{"a":[]}],"createdAt":17,'
        '"updatedAt":null,"status":1,"output":null,"error":null,"metadata":[]}'
    )
    old = json.loads(jobs.old_record(jobs.NewJob("u", "admin", ["x"]), ["y"]))
    assert list(old) == ["class", "args", "id"]
    assert old["class"] == "AdminShell"
    assert old["args"] == [["y"]]


def test_a_record_that_stays_is_named_fit_for_a_terminal() -> None:
    assert jobs.named("queue:x", b"\x1b[2J" + b"x" * 500, "odd") == "queue:x: odd: ?[2J" + "x" * 196


def test_new_ids_are_misps() -> None:
    assert jobs.new_id() != jobs.new_id()
    assert len(jobs.new_id()) == 36
