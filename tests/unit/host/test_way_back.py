from __future__ import annotations

import json
from contextlib import suppress

import pytest

from tasks.host import conversion, jobs, way_back
from tasks.host.errors import HostError, WebUserError
from tasks.host.queues import NEW_QUEUES, Backend
from tasks.host.redis import RedisError, Reply, Word
from tests.unit.host.cuts import Cut, each_cut
from tests.unit.host.fakes import LIES, FakeClock, Hooked, LyingRedis
from tests.unit.host.records import jobs_in, new_id, new_record, old_record

DATA = "00000000-0000-4000-9000-00000000000a"


class Misp:
    """MISP's files and its table, on the way back."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.pairs: list[tuple[str, str]] = []

    def store(self, name: str, data: bytes) -> str:
        self.files["/ingest/" + name] = data
        return "/ingest/" + name

    def discard(self, name: str) -> None:
        self.files.pop("/ingest/" + name, None)

    def rename(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs += pairs


def enqueue(new: Backend, queue: str, *records: str | bytes) -> None:
    new.redis.command("RPUSH", new.key(queue), *records)


def with_data(new: Backend, number: int, data: str | bytes = '[{"value":"x"}]') -> str:
    new.redis.command("SETEX", new.key(f"data_content:{DATA}"), 86400, data)
    return new_record(number, "processFreeTextData", str(number), "redis:" + DATA, "7")


def back(old: Backend, new: Backend, misp: Misp | None = None) -> conversion.Moved:
    misp = misp or Misp()
    return way_back.move_back(old, new, misp.store, misp.rename, FakeClock())


def numbers(old: Backend, queue: str) -> list[str]:
    return [job["args"][0][1] for job in jobs_in(old, "queue:" + queue)]


def unlock(new: Backend) -> None:
    """Half a minute later."""
    new.redis.command("DEL", new.key("misp-workers-moving:lock"))


def keys(backend: Backend) -> set[str]:
    """Those that are not meant to stay."""
    found = backend.redis.command("KEYS", "*")
    assert isinstance(found, list)
    names = {key.decode().partition(":")[2] for key in found}
    return {name for name in names if not name.startswith("misp-workers-moved:")}


def test_each_job_becomes_one_of_the_old_backend_in_order(old: Backend, new: Backend) -> None:
    enqueue(new, "prio", new_record(1), new_record(2, "x", "2", None, {"a": 1}, command="server"))
    enqueue(new, "scheduler", new_record(3))
    enqueue(new, "misp-workers-aside:prio", new_record(0))
    new.redis.command("SETEX", new.key("job_status:" + new_id(1)), 9, "{}")
    misp = Misp()
    assert back(old, new, misp) == (4, [])
    assert numbers(old, "prio") == ["0", "1", "2"]
    assert numbers(old, "scheduler") == ["3"]
    job = jobs_in(old, "queue:prio")[2]
    assert job["class"] == "ServerShell"
    assert job["args"] == [["x", "2", None, {"a": 1}]]
    ids = [job["id"] for queue in ("prio", "scheduler") for job in jobs_in(old, "queue:" + queue)]
    assert sorted(misp.pairs) == [(new_id(number), ids[number]) for number in range(4)]
    queues = old.redis.command("SMEMBERS", old.key("queues"))
    assert isinstance(queues, list) and sorted(queues) == [b"prio", b"scheduler"]
    assert keys(new) == set()


def test_input_in_redis_becomes_a_file(old: Backend, new: Backend) -> None:
    enqueue(new, "default", with_data(new, 1))
    misp = Misp()
    assert back(old, new, misp) == (1, [])
    (job,) = jobs_in(old, "queue:default")
    path = f"/ingest/misp-workers-{job['id']}-2"
    assert job["args"] == [["processFreeTextData", "1", path, "7"]]
    assert misp.files == {path: b'[{"value":"x"}]'}
    assert keys(new) == set()


def test_a_job_whose_input_is_gone_stays_and_is_named(old: Backend, new: Backend) -> None:
    lost = with_data(new, 1)
    new.redis.command("DEL", new.key(f"data_content:{DATA}"))
    enqueue(new, "default", new_record(0), lost, new_record(2))
    moved, left = back(old, new)
    assert moved == 2
    assert len(left) == 1
    assert left[0].startswith("default: its input in Redis is gone (MISP keeps it for a day): {")
    assert [job["id"] for job in jobs_in(new, "default")] == [new_id(1)]
    assert numbers(old, "default") == ["0", "2"]


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x02\x14\x00", b"text"])
def test_input_of_another_serializer_is_not_taken_for_json(
    old: Backend, new: Backend, data: bytes
) -> None:
    enqueue(new, "default", with_data(new, 1, data), new_record(2))
    moved, left = back(old, new)
    assert moved == 1
    assert left[0].startswith("default: its input in Redis cannot be used: {")
    assert [job["id"] for job in jobs_in(new, "default")] == [new_id(1)]
    assert keys(new) == {"default", f"data_content:{DATA}"}


def test_input_of_a_monstrous_size_stays(
    old: Backend, new: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_back, "DATA_BYTES", 10)
    enqueue(new, "default", with_data(new, 1))
    assert "larger than" in back(old, new).left[0]


def test_text_that_begins_like_input_is_text(old: Backend, new: Backend) -> None:
    enqueue(new, "email", new_record(1, "contactemail", "1", "redis: is down"))
    assert back(old, new) == (1, [])
    assert jobs_in(old, "queue:email")[0]["args"][0][2] == "redis: is down"


def test_what_is_no_job_stays_and_everything_else_moves(old: Backend, new: Backend) -> None:
    junk: list[str | bytes] = ["junk", b"\xff\x00", '{"id":"x","command":"own","args":[]}', "junk"]
    enqueue(new, "prio", junk[0], new_record(1), junk[1], junk[2], new_record(2), junk[3])
    enqueue(new, "cache", new_record(3))
    moved, left = back(old, new)
    assert moved == 3
    assert len(left) == 3, "records that are alike are named once"
    assert new.redis.command("LLEN", new.key("prio")) == 4
    assert numbers(old, "prio") == ["1", "2"]


def test_more_jobs_than_a_page_all_move_past_what_stays(old: Backend, new: Backend) -> None:
    for start in range(0, 1200, 300):
        enqueue(
            new, "prio", f"junk {start}", *[new_record(start + number) for number in range(300)]
        )
    moved, left = back(old, new)
    assert (moved, len(left)) == (1200, 4)
    assert numbers(old, "prio") == [str(number) for number in range(1200)]


def test_a_job_that_another_hosts_worker_took_meanwhile_does_not_move(
    old: Backend, new: Backend
) -> None:
    enqueue(new, "prio", new_record(1), new_record(2))
    taken: list[Reply] = []

    def pop(words: tuple[Word, ...]) -> None:
        if words[:2] == ("EVAL", way_back._MOVE) and not taken:
            taken.append(new.redis.command("LPOP", new.key("prio")))

    assert back(old, new._replace(redis=Hooked(new.redis, pop))).moved == 1
    assert numbers(old, "prio") == ["2"]


def test_jobs_that_come_meanwhile_move_too(old: Backend, new: Backend) -> None:
    enqueue(new, "prio", new_record(1))
    late = iter([new_record(2), new_record(3)])

    def push(words: tuple[Word, ...]) -> None:
        if words[:2] == ("EVAL", way_back._MOVE) and (record := next(late, None)):
            enqueue(new, "prio", record)

    assert back(old, new._replace(redis=Hooked(new.redis, push))).moved == 3


def filled(old: Backend, new: Backend) -> None:
    old.redis.command("FLUSHALL")
    enqueue(new, "prio", new_record(1), with_data(new, 2), "junk")
    enqueue(new, "misp-workers-aside:prio", new_record(0))
    held = {"list": "queue:cache", "record": old_record(3, "x", "3"), "id": "u3"}
    old.redis.command("RPUSH", old.key("misp-workers-held"), json.dumps(held))


class Cuttable(Misp):
    """Its calls count as commands do."""

    def __init__(self, cut: Cut, misp: Misp) -> None:
        self.files, self.pairs, self._cut = misp.files, misp.pairs, cut

    def store(self, name: str, data: bytes) -> str:
        self._cut.count()
        return super().store(name, data)

    def rename(self, pairs: list[tuple[str, str]]) -> None:
        self._cut.count()
        super().rename(pairs)


def run_file_jobs(old: Backend, misp: Misp) -> list[str]:
    """An old worker takes all that waits, at once; which jobs it ran."""
    ran = []
    for queue in NEW_QUEUES:
        while isinstance(record := old.redis.command("LPOP", old.key("queue:" + queue)), bytes):
            args = json.loads(record)["args"][0]
            if len(args) > 2 and str(args[2]).startswith("/ingest/"):
                del misp.files[args[2]]
            ran.append(args[1])
    return ran


@pytest.mark.parametrize("are_workers_fast", [False, True])
def test_cut_off_anywhere_and_run_again_each_job_is_there_once(
    old: Backend, new: Backend, are_workers_fast: bool
) -> None:
    misp = Misp()

    def begin() -> None:
        filled(old, new)
        misp.files.clear()

    def body(cut: Cut) -> None:
        cuttable = Cuttable(cut, misp)
        way_back.move_back(
            cut.backend(old), cut.backend(new), cuttable.store, cuttable.rename, FakeClock()
        )

    cuts = 0
    for cuts in each_cut(begin, body):
        unlock(new)
        ran = run_file_jobs(old, misp) if are_workers_fast else []
        left = back(old, new, misp).left
        ran += run_file_jobs(old, misp)
        assert sorted(ran) == ["0", "1", "2", "3"], f"cut at {cuts}"
        assert misp.files == {}, f"cut at {cuts}"
        assert len(left) == 1
        assert keys(new) == {"prio"}
    assert cuts > 25


def test_cut_off_anywhere_and_settled_each_job_is_there_once(old: Backend, new: Backend) -> None:
    """A deploy follows a rollback that was cut off, and is cut off itself."""
    misp = Misp()

    def rolled(cut: Cut) -> None:
        cuttable = Cuttable(cut, misp)
        way_back.move_back(
            cut.backend(old), cut.backend(new), cuttable.store, cuttable.rename, FakeClock()
        )

    def settled(cut: Cut) -> None:
        way_back.settle(cut.backend(old), cut.backend(new), misp.discard, misp.rename, FakeClock())

    for first in range(10, 60, 2):

        def begin(first: int = first) -> None:
            filled(old, new)
            misp.files.clear()
            for _ in each_cut(lambda: None, lambda _cut: rolled(Cut(first))):
                break
            unlock(new)

        for _ in each_cut(begin, settled):
            unlock(new)
            settled(Cut(10_000))
            ran = run_file_jobs(old, misp)
            for name in ("prio", "misp-workers-aside:prio"):
                found = new.redis.command("LRANGE", new.key(name), 0, -1)
                assert isinstance(found, list)
                ran += [json.loads(one)["args"][1] for one in found if one != b"junk"]
            found = old.redis.command("LRANGE", old.key("misp-workers-held"), 0, -1)
            assert isinstance(found, list)
            assert sorted(ran + ["3"] * len(found)) == ["0", "1", "2", "3"]
            assert misp.files == {}
            has_data = new.redis.command("EXISTS", new.key(f"data_content:{DATA}"))
            assert has_data == 1 or "2" in ran
            assert not any(name.startswith("misp-workers-moving:") for name in keys(new))


def test_jobs_that_return_come_to_the_head_of_their_queue_in_order(
    old: Backend, new: Backend
) -> None:
    enqueue(new, "misp-workers-moving:prio", new_record(1), new_record(2))
    enqueue(new, "prio", new_record(3))
    misp = Misp()
    assert way_back.settle(old, new, misp.discard, misp.rename, FakeClock()) == 2
    assert [job["id"] for job in jobs_in(new, "prio")] == [new_id(1), new_id(2), new_id(3)]


def test_rows_follow_in_both_directions(old: Backend, new: Backend) -> None:
    """A deploy after a rollback after a deploy: the row names the job each time."""
    misp = Misp()
    enqueue(new, "prio", new_record(1))
    back(old, new, misp)
    copy = conversion.lists_of_old_jobs(old)
    conversion.convert(old, new, copy, misp.rename, FakeClock())
    (job,) = jobs_in(new, "prio")
    back(old, new, misp)
    (again,) = jobs_in(old, "queue:prio")
    row = new_id(1)
    for before, after in misp.pairs:
        assert before == row
        row = after
    assert row == again["id"]
    assert len(misp.pairs) == 3
    assert job["id"] not in (new_id(1), again["id"])


def test_a_job_that_cannot_be_stored_is_not_lost(old: Backend, new: Backend) -> None:
    enqueue(new, "default", with_data(new, 1))

    class Full(Misp):
        def store(self, name: str, data: bytes) -> str:
            raise WebUserError("no space left on device")

    with pytest.raises(WebUserError, match="no space"):
        back(old, new, Full())
    assert new.redis.command("EXISTS", new.key("misp-workers-moving:lock")) == 0
    assert back(old, new) == (1, [])


def test_a_path_that_is_none_is_refused(old: Backend, new: Backend) -> None:
    enqueue(new, "default", with_data(new, 1))

    class Odd(Misp):
        def store(self, name: str, data: bytes) -> str:
            return "ingest/" + name

    with pytest.raises(WebUserError, match="full path"):
        back(old, new, Odd())
    assert numbers(old, "default") == []


@pytest.mark.parametrize("key", ["queues", "queue:prio"])
def test_a_key_of_another_type_loses_nothing(old: Backend, new: Backend, key: str) -> None:
    enqueue(new, "prio", new_record(1))
    old.redis.command("SET", old.key(key), "x")
    with pytest.raises(RedisError):
        back(old, new)
    old.redis.command("DEL", old.key(key))
    assert back(old, new) == (1, [])


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_no_lie_of_redis_does_harm(old: Backend, new: Backend, lie: Reply) -> None:
    liar = LyingRedis(lie)

    class HalfLying(LyingRedis):
        """The lock and scripts are as they are."""

        def command(self, *words: Word) -> Reply:
            if words[0] in ("SET", "EVAL"):
                return new.redis.command(*words)
            return super().command(*words)

    misp = Misp()
    for one, other in (
        (Backend(liar, "resque:"), new),
        (old, Backend(liar, "background_jobs:")),
        (old, Backend(HalfLying(lie), "background_jobs:")),
    ):
        filled(old, new)
        with suppress(HostError):
            back(one, other, misp)
        unlock(new)
        with suppress(HostError):
            way_back.settle(one, other, misp.discard, misp.rename, FakeClock())
        unlock(new)


def test_the_old_id_is_the_former_versions(old: Backend, new: Backend) -> None:
    """A host may be half-way with an older version: its mark is found."""
    job = jobs.new_job(new_record(1).encode())
    assert job is not None
    enqueue(new, "prio", new_record(1))
    old.redis.command("SET", old.key("misp-workers-moved:" + job.old_id), "1")
    assert back(old, new) == (1, [])
    assert numbers(old, "prio") == []
