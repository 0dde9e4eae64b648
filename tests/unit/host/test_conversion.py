from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from tasks.host import conversion
from tasks.host.errors import HostError
from tasks.host.new_backend import Lock
from tasks.host.queues import Backend
from tasks.host.redis import RedisError, Reply
from tests.unit.host.cuts import Cut, KilledError, each_cut
from tests.unit.host.fakes import LIES, FakeClock, LyingRedis
from tests.unit.host.records import delayed_record, jobs_in, old_record

Pairs = list[tuple[str, str]]


class Rows:
    """MISP's table `jobs`."""

    def __init__(self) -> None:
        self.pairs: Pairs = []

    def __call__(self, pairs: Pairs) -> None:
        self.pairs += pairs


def enqueue(old: Backend, name: str, *records: str | bytes) -> None:
    old.redis.command("RPUSH", old.key(name), *records)
    if name.startswith("_schdlr_:"):
        when = name.partition(":")[2]
        old.redis.command("ZADD", old.key("_schdlr_"), when, when)


def convert(old: Backend, new: Backend, rows: Rows | None = None) -> conversion.Moved:
    lists = conversion.lists_of_old_jobs(old)
    return conversion.convert(old, new, lists, rows or Rows(), FakeClock())


def numbers(backend: Backend, *names: str) -> list[str]:
    """Which jobs are in some queues, by their second argument."""
    return [job["args"][1] for name in names for job in jobs_in(backend, name)]


def test_each_job_becomes_one_of_the_new_backend_in_order(old: Backend, new: Backend) -> None:
    enqueue(old, "queue:prio", old_record(1), old_record(2))
    enqueue(old, "queue:email", old_record(3, "a", "3", None, class_="ServerShell"))
    enqueue(old, "_schdlr_:9", delayed_record(4, queue="cache"))
    old.redis.command("SET", old.key(f"job:{1:032x}:status"), "x")
    rows = Rows()
    assert convert(old, new, rows) == (4, [])
    assert numbers(new, "prio", "email", "cache") == ["1", "2", "3", "4"]
    job = jobs_in(new, "email")[0]
    assert (job["command"], job["args"], job["status"]) == ("server", ["a", "3", None], 1)
    assert job["createdAt"] == FakeClock().epoch()
    status = new.redis.command("GET", new.key("job_status:" + job["id"]))
    assert isinstance(status, bytes) and json.loads(status) == job
    assert new.redis.command("TTL", new.key("job_status:" + job["id"])) == 86400
    ids = [job["id"] for name in ("prio", "email", "cache") for job in jobs_in(new, name)]
    assert rows.pairs == [(f"{number:032x}", id_) for number, id_ in enumerate(ids, 1)]
    assert old.redis.command("KEYS", "*") == []


def test_scheduled_tasks_and_what_is_no_job_stay(old: Backend, new: Backend) -> None:
    enqueue(old, "queue:prio", "junk\x1b", old_record(1), b"\xff", old_record(2, class_="OwnShell"))
    enqueue(old, "_schdlr_:9", delayed_record(3, "enqueuePull"), delayed_record(4))
    moved, left = convert(old, new)
    assert moved == 2
    assert [words.partition(": no job of MISP's: ")[0] for words in left] == ["queue:prio"] * 3
    assert "junk?" in left[0]
    assert old.redis.command("LLEN", old.key("queue:prio")) == 3
    assert old.redis.command("ZCARD", old.key("_schdlr_")) == 1
    assert numbers(new, "prio", "default") == ["1", "4"]


def test_a_scheduled_task_that_waits_is_delayed_again_where_it_is_to_be_handed_over(
    old: Backend, new: Backend
) -> None:
    waiting = old_record(1, "enqueuePull", 900, 7, 2, class_="ServerShell")
    enqueue(old, "queue:default", waiting, old_record(2))
    enqueue(old, "_schdlr_:9", delayed_record(3, "enqueuePull"))
    lists = conversion.lists_of_old_jobs(old)
    clock = FakeClock()
    for _ in range(2):  # the second time from a copy that is old by now
        done = conversion.convert(old, new, lists, Rows(), clock, postpones=True)
    assert done.left == []
    assert numbers(new, "default") == ["2"]
    when = clock.epoch() + conversion.POSTPONED
    (job,) = jobs_in(old, f"_schdlr_:{when}")
    arguments = {"0": "enqueuePull", "1": 900, "2": 7, "3": 2, "id": f"{1:032x}"}
    assert job["args"] == [{**arguments, "s_time": clock.epoch()}]
    assert (job["class"], job["queue"]) == ("ServerShell", "default")
    assert old.redis.command("ZRANGE", old.key("_schdlr_"), 0, -1) == [b"9", b"%d" % when]
    assert old.redis.command("EXISTS", old.key("queue:default")) == 0


def test_a_job_that_is_not_in_the_copy_stays(old: Backend, new: Backend) -> None:
    lists = conversion.lists_of_old_jobs(old)
    enqueue(old, "queue:prio", old_record(1))
    assert conversion.convert(old, new, lists, Rows(), FakeClock()).moved == 0
    assert old.redis.command("LLEN", old.key("queue:prio")) == 1


def test_a_job_that_a_worker_took_meanwhile_is_not_converted(old: Backend, new: Backend) -> None:
    enqueue(old, "queue:prio", old_record(1), old_record(2))
    lists = conversion.lists_of_old_jobs(old)
    old.redis.command("LPOP", old.key("queue:prio"))
    assert conversion.convert(old, new, lists, Rows(), FakeClock()).moved == 1
    assert numbers(new, "prio") == ["2"]


def test_two_records_that_are_alike_are_two_jobs(old: Backend, new: Backend) -> None:
    enqueue(old, "queue:prio", old_record(1), old_record(1))
    assert convert(old, new).moved == 2


def test_the_copy_is_json_and_keeps_each_byte(old: Backend) -> None:
    enqueue(old, "queue:prio", old_record(1), b"\xff\x00")
    lists = json.loads(json.dumps(conversion.lists_of_old_jobs(old)))
    (_, odd) = lists["queue:prio"]
    assert odd.encode("utf-8", "surrogateescape") == b"\xff\x00"


def test_more_jobs_than_a_page_are_all_converted(old: Backend, new: Backend) -> None:
    enqueue(old, "queue:prio", *[old_record(number) for number in range(1100)])
    rows = Rows()
    assert convert(old, new, rows).moved == 1100
    assert len(rows.pairs) == 1100
    assert numbers(new, "prio") == [str(number) for number in range(1100)]


def filled(old: Backend, new: Backend) -> None:
    old.redis.command("FLUSHALL")
    enqueue(old, "queue:prio", old_record(1), old_record(2))
    enqueue(old, "_schdlr_:9", delayed_record(3))


def unlock(new: Backend) -> None:
    """Half a minute later."""
    new.redis.command("DEL", new.key("misp-workers-moving:lock"))


def test_cut_off_anywhere_and_run_again_each_job_is_there_once(old: Backend, new: Backend) -> None:
    def body(cut: Cut) -> None:
        rows = Rows()

        def rename(pairs: Pairs) -> None:
            cut.count()
            rows(pairs)

        lists = conversion.lists_of_old_jobs(old)
        conversion.convert(cut.backend(old), cut.backend(new), lists, rename, FakeClock())

    cuts = 0
    for cuts in each_cut(lambda: filled(old, new), body):
        unlock(new)
        rows = Rows()
        conversion.convert(old, new, {}, rows, FakeClock())
        convert(old, new, rows)
        assert sorted(numbers(new, "prio", "default")) == ["1", "2", "3"], f"cut at {cuts}"
        assert old.redis.command("KEYS", "*") == []
    assert cuts > 10


def test_cut_off_anywhere_and_released_each_job_is_there_once(old: Backend, new: Backend) -> None:
    """A rollback follows a conversion that was cut off, and is cut off itself."""

    def converted(cut: Cut) -> None:
        lists = conversion.lists_of_old_jobs(old)
        conversion.convert(cut.backend(old), cut.backend(new), lists, Rows(), FakeClock())

    def released(cut: Cut) -> None:
        rolled, other = cut.backend(old), cut.backend(new)
        with Lock(other, FakeClock()) as lock:
            conversion.release_held(rolled, other, Rows(), lock)

    def begin() -> None:
        filled(old, new)
        with suppress(KilledError):
            converted(Cut(before))
        unlock(new)

    for before in range(4, 40, 3):  # noqa: B007  # `begin` uses it
        for _ in each_cut(begin, released):
            unlock(new)
            released(Cut(10_000))
            waiting = [job["args"][0][1] for job in jobs_in(old, "queue:prio")]
            delayed = [job["args"][0]["1"] for job in jobs_in(old, "_schdlr_:9")]
            assert sorted(waiting + delayed + numbers(new, "prio", "default")) == ["1", "2", "3"]
            assert waiting == sorted(waiting)
            assert old.redis.command("EXISTS", old.key("misp-workers-held")) == 0
            assert old.redis.command("ZCARD", old.key("_schdlr_")) == len(delayed)


def test_rows_of_what_was_released_get_their_ids_back(old: Backend, new: Backend) -> None:
    filled(old, new)
    for name, records in conversion.lists_of_old_jobs(old).items():
        for record in records:
            assert conversion.hold(old, name, record.encode())
    held, _ = conversion.held_jobs(old)
    rows = Rows()
    with Lock(new, FakeClock()) as lock:
        assert conversion.release_held(old, new, rows, lock) == (3, [])
    assert rows.pairs == [(one.id, one.job.id) for one in held]


ODD_ENTRIES: list[Any] = [
    "junk",
    [],
    {"list": "queue:prio", "record": old_record(1)},
    {"list": "queue:prio", "record": "junk", "id": "x"},
    {"list": "workers", "record": old_record(1), "id": "x"},
    {"list": 5, "record": old_record(1), "id": "x"},
    {"list": "queue:prio", "record": old_record(1), "id": "x y"},
]


@pytest.mark.parametrize("entry", ODD_ENTRIES)
def test_what_else_is_among_the_held_jobs_stays_and_is_named(
    old: Backend, new: Backend, entry: Any
) -> None:
    fine = {"list": "queue:prio", "record": old_record(2), "id": "u2"}
    enqueue(old, "misp-workers-held", json.dumps(entry), json.dumps(fine))
    moved, left = conversion.convert(old, new, {}, Rows(), FakeClock())
    assert (moved, len(left)) == (1, 1)
    assert left[0].startswith("misp-workers-held: ")
    assert numbers(new, "prio") == ["2"]
    assert old.redis.command("LLEN", old.key("misp-workers-held")) == 1


def test_an_older_versions_held_job_is_taken_over(old: Backend, new: Backend) -> None:
    # As PHP's json_encode writes it, with its escaped slashes.
    record = '{"class":"EventShell","args":[["x","1","a\\/b"]],"id":"' + "a" * 32 + '"}'
    entry = json.dumps({"list": "queue:prio", "record": record, "id": "u1"}).replace("/", "\\/")
    enqueue(old, "misp-workers-held", entry)
    assert conversion.convert(old, new, {}, Rows(), FakeClock()).moved == 1
    (job,) = jobs_in(new, "prio")
    assert (job["id"], job["args"]) == ("u1", ["x", "1", "a/b"])


@pytest.mark.parametrize("key", ["misp-workers-held", "_schdlr_"])
def test_a_key_of_another_type_loses_nothing(old: Backend, new: Backend, key: str) -> None:
    filled(old, new)
    lists = conversion.lists_of_old_jobs(old)
    old.redis.command("SET", old.key(key), "x")
    with pytest.raises(RedisError):
        conversion.convert(old, new, lists, Rows(), FakeClock())
    assert old.redis.command("LLEN", old.key("queue:prio")) == 2
    assert old.redis.command("LLEN", old.key("_schdlr_:9")) == 1


def test_a_queue_of_another_type_loses_nothing(old: Backend, new: Backend) -> None:
    filled(old, new)
    new.redis.command("SET", new.key("prio"), "x")
    with pytest.raises(RedisError):
        convert(old, new)
    new.redis.command("DEL", new.key("prio"))
    assert conversion.convert(old, new, {}, Rows(), FakeClock()).moved == 3
    assert numbers(new, "prio", "default") == ["1", "2", "3"]


def test_a_history_of_no_time_is_no_reason_to_lose_a_job(old: Backend, new: Backend) -> None:
    filled(old, new)
    assert convert(old, new._replace(history_ttl=0)).moved == 3


def test_another_host_that_moves_jobs_is_waited_for(old: Backend, new: Backend) -> None:
    filled(old, new)
    new.redis.command("SET", new.key("misp-workers-moving:lock"), "other")
    clock = FakeClock()
    clock.on_sleep = lambda: unlock(new)
    lists = conversion.lists_of_old_jobs(old)
    assert conversion.convert(old, new, lists, Rows(), clock).moved == 3


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_no_lie_of_redis_does_harm(old: Backend, new: Backend, lie: Reply) -> None:
    filled(old, new)
    lists = conversion.lists_of_old_jobs(old)
    liar = LyingRedis(lie)
    for one, other in (
        (Backend(liar, "resque:"), new),
        (old, Backend(liar, "background_jobs:")),
    ):
        for work in (lists, {}):
            try:
                conversion.convert(one, other, work, Rows(), FakeClock())
            except HostError as error:
                assert len(str(error)) < 400
            unlock(new)
