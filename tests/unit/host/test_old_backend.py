from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tasks.host import job_names, old_backend
from tasks.host.errors import WebUserError
from tasks.host.queues import QUEUES, Backend, OldBackend, RunningJob
from tasks.host.redis import Redis, RedisError, RedisGoneError, Reply, Word
from tests.unit.host.fakes import LIES, LyingRedis, Refusing
from tests.unit.host.records import delayed_record, old_record

NOW = 1_000
EMPTY = OldBackend(dict.fromkeys(QUEUES, 0), {})


def look(old: Backend, *living: int) -> OldBackend:
    return old_backend.look(old, living, "here", NOW)


def delay(old: Backend, when: int, *records: str) -> None:
    old.redis.command("ZADD", "resque:_schdlr_", when, when)
    old.redis.command("RPUSH", f"resque:_schdlr_:{when}", *records)


def test_an_empty_backend_has_nothing(old: Backend) -> None:
    assert look(old) == EMPTY


def test_jobs_wait_in_misps_queues_and_in_others_by_name(old: Backend) -> None:
    old.redis.command("SADD", "resque:queues", "default", "own", b"\xff")
    old.redis.command("RPUSH", "resque:queue:default", "a", "b")
    old.redis.command("RPUSH", "resque:queue:own", "c")
    old.redis.command("RPUSH", "resque:misp-workers-held", "d")
    old.redis.command("SET", "resque:stat:processed", "41")
    found = look(old)
    assert found.waiting == {**EMPTY.waiting, "default": 2, "own": 1, "": 0}
    assert (found.waits, found.held, found.processed) == (3, 1, 41)


def test_a_job_runs_only_where_its_worker_lives(old: Backend) -> None:
    for name in ("here:7:default", "here:7:default:started", "here:8:prio", "x", "here:no:x"):
        old.redis.command("SET", f"resque:worker:{name}", "{}")
    old.redis.command("SET", "resquexworker:here:7:prio", "{}")
    assert look(old, 7).running == 1
    assert look(old, 7, 8).running == 2
    assert look(old).running == 0


def run_job(old: Backend, pid: int, record: str, queue: str = "prio") -> None:
    found = f'{{"queue":"{queue}","run_at":"then","payload":{record}}}'
    old.redis.command("SET", f"resque:worker:here:{pid}:{queue}", found)


def test_jobs_that_run_and_the_first_that_wait_have_names(old: Backend) -> None:
    run_job(old, 7, old_record(1, "pull", class_="ServerShell"))
    run_job(old, 8, delayed_record(2, "push"), "default")
    run_job(old, 9, "junk", "email")
    old.redis.command("RPUSH", "resque:queue:cache", old_record(3), old_record(4, "x"))
    old.redis.command("RPUSH", "resque:queue:email", "\x1b[2J")
    found = look(old, 7, 8, 9)
    assert sorted(found.jobs) == [
        RunningJob(7, "prio", "ServerShell pull"),
        RunningJob(8, "default", "ServerShell push"),
        RunningJob(9, "email", ""),
    ]
    assert dict(found.first) == {"cache": "EventShell publish", "email": ""}
    aged = found.aged({7: 720, 1: 5})
    assert aged.backlog == (
        "2 waiting in cache (first: EventShell publish), 1 waiting in email, 3 running "
        "(ServerShell pull, PID 7, prio, 12 min; ServerShell push, PID 8, default; "
        "a job, PID 9, email)"
    )


def test_many_jobs_are_counted_and_some_named(old: Backend) -> None:
    for pid in range(1, 101):
        run_job(old, pid, old_record(pid))
    found = look(old, *range(1, 101))
    assert (found.running, len(found.jobs)) == (100, 20)
    assert found.backlog.endswith("; 97 more)")


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (b'{"class":"EventShell","args":[["publish",1]]}', "EventShell publish"),
        (b'{"class":"EventShell","args":[{"0":"publish"}]}', "EventShell publish"),
        (b'{"class":"EventShell","args":[[]]}', "EventShell"),
        (b'{"class":"Event\x1b[2J","args":[["publish"]]}', ""),
        (b'{"class":"' + b"x" * 50 + b'"}', ""),
        (b'{"class":"EventShell","args":[["`id`"]]}', "EventShell"),
        (b" " * 5000 + b'{"class":"EventShell"}', ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_name_has_letters_and_digits_alone(record: bytes, name: str) -> None:
    assert job_names.name(record) == name


@pytest.mark.parametrize("command", ["GETRANGE", "LINDEX"])
def test_a_job_whose_name_redis_does_not_tell_counts(old: Backend, command: str) -> None:
    run_job(old, 7, old_record(1))
    old.redis.command("RPUSH", "resque:queue:cache", old_record(3))
    found = look(old._replace(redis=Refusing(old.redis, command)), 7)
    assert (found.waits, found.running) == (1, 1)
    assert "" in [found.jobs[0].name, *dict(found.first).values()]


def test_delayed_jobs_and_scheduled_tasks_are_told_apart(old: Backend) -> None:
    delay(old, NOW - 70, delayed_record(1, "enqueuePull"), delayed_record(2))
    delay(old, NOW + 100, delayed_record(3, "enqueueFeedCache"))
    delay(old, NOW + 30, json.dumps({"class": "X", "args": [["enqueueCaching"]]}), "junk")
    found = look(old)
    assert (found.delayed, found.scheduled) == (2, 3)
    assert (found.next_due, found.last_due, found.overdue) == (0, 100, 70)


def test_the_next_delayed_job_is_not_a_scheduled_task(old: Backend) -> None:
    delay(old, NOW + 10, delayed_record(1, "enqueuePull"))
    delay(old, NOW + 20, delayed_record(2))
    delay(old, NOW + 30, delayed_record(3))
    found = look(old)
    assert (found.next_due, found.last_due, found.overdue) == (20, 30, 0)


def test_a_time_that_is_none_is_due(old: Backend) -> None:
    old.redis.command("ZADD", "resque:_schdlr_", 1, "soon")
    old.redis.command("RPUSH", "resque:_schdlr_:soon", delayed_record(1))
    assert look(old).delayed == 1


def test_workers_of_other_hosts_are_known_by_their_host(old: Backend) -> None:
    workers = ("here:7:default", "there:7:default,prio", "fe80::1:9:cache", "there:8:*", "odd")
    old.redis.command("SADD", "resque:workers", *workers)
    assert look(old, 7).elsewhere == {"fe80::1": ["cache"], "there": ["*", "default", "prio"]}


def test_without_scan_the_set_of_workers_says_who_runs_a_job(old: Backend) -> None:
    old.redis.command("SADD", "resque:workers", "here:7:default", "here:8:prio")
    old.redis.command("SET", "resque:worker:here:7:default", "{}")
    old.redis.command("SET", "resque:worker:here:8:prio:started", "x")
    refusing = old._replace(redis=Refusing(old.redis, "SCAN"))
    assert look(refusing, 7, 8).running == look(old, 7, 8).running == 1
    assert look(refusing, 8).running == 0


CLIENTS = b"id=1 addr=h:1 db=0 cmd=client\nid=2 addr=h:2 db=0 cmd=lpop\n"


@pytest.mark.parametrize(
    ("mine", "clients", "elsewhere", "dead"),
    [
        ({1, 2}, CLIENTS, {}, ("former",)),  # this host's own connections are all there are
        ({1}, CLIENTS, {"former": ["prio"]}, ()),
        ({1, 2}, None, {"former": ["prio"]}, ()),  # an ACL forbids the question
    ],
)
def test_entered_workers_of_another_host_are_dead_if_nobody_else_is_connected(
    old: Backend,
    mine: set[int],
    clients: bytes | None,
    elsewhere: dict[str, list[str]],
    dead: tuple[str, ...],
) -> None:
    old.redis.command("SADD", "resque:workers", "former:7:prio", "here:8:default")
    redis = Clients(old.redis, clients)
    found = old_backend.look(
        old._replace(redis=redis),
        [8],
        "here",
        NOW,
        lambda found: any(one.port not in mine for one in found),
    )
    assert (found.elsewhere, found.dead_hosts) == (elsewhere, dead)
    assert redis.asked == 1


@pytest.mark.parametrize("while_asked", [False, True])
def test_a_worker_of_another_host_that_runs_a_job_lives_without_a_connection(
    old: Backend, *, while_asked: bool
) -> None:
    """php-resque closes it before it forks."""
    old.redis.command("SADD", "resque:workers", "there:7:prio", "there:8:cache")

    def begin_a_job() -> None:
        old.redis.command("SET", "resque:worker:there:8:cache", "{}")

    redis = Clients(old.redis, b"")
    if while_asked:  # it had a connection when it was asked for its job
        redis.before = begin_a_job
    else:
        begin_a_job()
    found = look(old._replace(redis=redis), 8)
    assert (found.elsewhere, found.dead_hosts) == ({"there": ["cache", "prio"]}, ())
    old.redis.command("DEL", "resque:worker:there:8:cache")
    assert look(old._replace(redis=Clients(old.redis, b""))).dead_hosts == ("there",)


def test_clients_are_asked_for_only_where_another_host_is_entered(old: Backend) -> None:
    old.redis.command("SADD", "resque:workers", "here:8:default")
    redis = Clients(old.redis, CLIENTS)
    assert look(old._replace(redis=redis), 8).dead_hosts == ()
    assert redis.asked == 0


class Clients(Redis):
    def __init__(self, redis: Redis, text: bytes | None) -> None:
        self._redis, self._text, self.asked = redis, text, 0
        self.before: Callable[[], object] = int

    def command(self, *words: Word) -> Reply:
        if words[0] != "CLIENT":
            return self._redis.command(*words)
        self.asked += 1
        self.before()
        if self._text is None:
            raise RedisError("NOPERM")
        return self._text


def test_what_is_left_behind_is_what_no_other_host_serves() -> None:
    found = OldBackend({"prio": 1, "cache": 2}, {}, delayed=3, scheduled=4, stale=5, held=6)
    alone = old_backend.left_behind(found)
    assert (alone.waits, alone.delayed, alone.stale, alone.held) == (3, 3, 0, 6)
    shared = old_backend.left_behind(found._replace(elsewhere={"there": ["prio"]}))
    assert (shared.waiting, shared.delayed, shared.held) == ({"prio": 0, "cache": 2}, 0, 6)
    every = old_backend.left_behind(found._replace(elsewhere={"there": ["*"]}))
    assert every.waits == 0


STALE = [
    ("SADD", "resque:workers", "here:8:prio"),
    ("SET", "resque:worker:here:8:prio", "{}"),
    ("SET", "resque:worker:here:8:prio:started", "x"),
    ("HSET", "resque:workerLogger", "here:8:prio", "x"),
    ("SADD", "PausedWorker", "here:8:prio"),
    ("HSET", "resque:ResqueWorker", "8", "x"),
    ("HSET", "ResqueWorker", "8", "x"),
    ("SET", "resque:ResqueSchedulerWorker", "8"),
]
FINE = [
    ("SADD", "resque:workers", "here:7:default"),
    ("SADD", "resque:workers", "there:9:default"),
    ("SADD", "resque:PausedWorker", "here:7:default"),
    ("SADD", "resque:PausedWorker", "there:9:default"),
    ("HSET", "resque:ResqueWorker", "7", "x"),
    ("HSET", "resque:ResqueWorker", "9", "of another host"),
    ("SET", "ResqueSchedulerWorker", "9"),
]


def test_what_dead_workers_left_is_counted_and_removed(old: Backend) -> None:
    for words in (*STALE, *FINE):
        old.redis.command(*words)
    assert look(old, 7).stale == 5
    assert old_backend.forget_dead_workers(old, [7], "here") == 5
    left = old.redis.command("KEYS", "*")
    assert isinstance(left, list)
    assert sorted(left) == [
        b"ResqueSchedulerWorker",
        b"resque:PausedWorker",
        b"resque:ResqueWorker",
        b"resque:workers",
    ]
    assert old.redis.command("HLEN", "resque:ResqueWorker") == 2
    assert look(old, 7).stale == 0
    assert old_backend.forget_dead_workers(old, [7], "here") == 0


def test_without_a_prefix_each_entry_is_there_once(old: Backend) -> None:
    bare = old._replace(prefix="")
    bare.redis.command("HSET", "ResqueWorker", "8", "x")
    assert look(bare).stale == 1


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_no_lie_of_redis_does_harm(lie: Reply) -> None:
    redis = Backend(LyingRedis(lie), "resque:")
    for ask in (
        lambda: look(redis, 7),
        lambda: old_backend.forget_dead_workers(redis, [], "here"),
        lambda: old_backend.old_lists(redis),
    ):
        try:
            ask()
        except WebUserError as error:
            assert len(str(error)) < 400


def test_a_redis_that_has_gone_away_is_no_answer(old: Backend) -> None:
    class Gone(LyingRedis):
        def command(self, *_words: object) -> Reply:
            raise RedisGoneError("gone")

    with pytest.raises(RedisGoneError):
        look(Backend(Gone(None), "resque:"))


def test_lists_that_are_too_big_together_are_an_error(
    old: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be as big as a list may be, and the web user makes as many as he likes."""
    monkeypatch.setattr(old_backend, "LIST_BYTES", 3000)
    for queue in ("prio", "cache"):
        old.redis.command("RPUSH", f"resque:queue:{queue}", "x" * 1000)
    assert len(old_backend.old_lists(old)) == 2
    old.redis.command("RPUSH", "resque:queue:email", "x" * 1000)
    with pytest.raises(WebUserError, match="lists in Redis hold more than half a gigabyte"):
        old_backend.old_lists(old)


def test_lists_are_those_with_jobs(old: Backend) -> None:
    old.redis.command("RPUSH", "resque:queue:prio", old_record(1))
    delay(old, 5, delayed_record(2), b"\xff".decode("latin-1"))
    assert sorted(old_backend.old_lists(old)) == ["_schdlr_:5", "queue:prio"]
