from __future__ import annotations

import re

import pytest

from tasks.host import new_backend
from tasks.host.errors import HostError, WebUserError
from tasks.host.new_backend import BusyError, Lock
from tasks.host.queues import NEW_QUEUES, Backend
from tasks.host.redis import RedisError, RedisGoneError, Reply
from tests.unit.host.fakes import LIES, FakeClock, LyingRedis, Refusing

P = "background_jobs:"


def listed(new: Backend, name: str) -> list[bytes]:
    reply = new.redis.command("LRANGE", new.key(name), 0, -1)
    assert isinstance(reply, list)
    return reply


def test_what_waits_is_aside_or_moves_is_counted(new: Backend) -> None:
    for name, count in (("prio", 2), ("scheduler", 1), ("misp-workers-aside:prio", 3)):
        new.redis.command("RPUSH", P + name, *range(count))
    new.redis.command("RPUSH", P + "misp-workers-moving:cache", 1)
    new.redis.command("SET", P + "misp-workers-moving:lock", "t")
    found = new_backend.look(new, 1)
    assert found.waiting == {**dict.fromkeys(NEW_QUEUES, 0), "prio": 2, "scheduler": 1}
    assert (found.aside, found.foreign_keys) == (3, [])
    assert (found.blocked_clients, found.eviction, found.refused) == (0, "noeviction", ())
    assert re.fullmatch(r"\d+\.\d+\.\d+", found.version)


def test_keys_of_somebody_else_are_named(new: Backend) -> None:
    ours = ("default", "job_status:x", "running:prio:x", "data_content:x", "misp-workers-moved:x")
    for name in (*ours, "misp-workers-aside:email", "other", "prio2", "x\x1b"):
        new.redis.command("SET", P + name, 1)
    new.redis.command("SET", "background_jobsX:x", 1)
    assert new_backend.foreign_keys(new) == [P + "other", P + "prio2", P + "x?"]


def test_clients_that_wait_in_the_database_are_counted(new: Backend) -> None:
    text = b"id=1 addr=a:1 db=1 cmd=blpop\nid=2 addr=a:2 db=11 cmd=blpop\nid=3 db=1 cmd=get\n"
    found = new_backend.clients(Backend(LyingRedis(text), P))
    assert [one.id for one in new_backend.waiting_clients(found or [], 1)] == [1]


@pytest.mark.parametrize(
    ("command", "name"),
    [("CLIENT", "CLIENT LIST"), ("INFO", "INFO"), ("SCAN", "SCAN")],
)
def test_what_redis_refuses_is_not_known_and_named(new: Backend, command: str, name: str) -> None:
    new.redis.command("RPUSH", P + "prio", 1)
    refusing = new._replace(redis=Refusing(new.redis, command))
    found = new_backend.look(refusing, 1)
    assert (found.refused, found.waiting["prio"], found.error) == ((name,), 1, "")
    gone = new._replace(redis=Refusing(new.redis, command, error=RedisGoneError))
    with pytest.raises(RedisGoneError):
        new_backend.look(gone, 1)


def test_a_redis_without_scripts_is_known(new: Backend) -> None:
    assert new_backend.takes_scripts(new)
    assert not new_backend.takes_scripts(new._replace(redis=Refusing(new.redis, "EVAL")))


def test_jobs_go_aside_and_come_back_to_the_heads_of_their_queues(new: Backend) -> None:
    new.redis.command("RPUSH", P + "prio", 1, 2)
    assert new_backend.put_aside(new)
    assert listed(new, "prio") == []
    new.redis.command("RPUSH", P + "prio", 3)
    assert new_backend.put_aside(new)
    new.redis.command("RPUSH", P + "prio", 4)
    new_backend.take_back(new)
    assert listed(new, "prio") == [b"1", b"2", b"3", b"4"]
    assert listed(new, "misp-workers-aside:prio") == []
    new_backend.take_back(new)
    assert listed(new, "prio") == [b"1", b"2", b"3", b"4"]


def test_nothing_is_set_aside_where_scripts_are_forbidden(new: Backend) -> None:
    new.redis.command("RPUSH", P + "prio", 1)
    assert not new_backend.put_aside(new._replace(redis=Refusing(new.redis, "EVAL")))
    assert listed(new, "prio") == [b"1"]
    with pytest.raises(RedisGoneError):
        new_backend.put_aside(new._replace(redis=Refusing(new.redis, "EVAL", error=RedisGoneError)))


def test_a_key_of_another_type_changes_nothing(new: Backend) -> None:
    new.redis.command("RPUSH", P + "default", 1)
    new.redis.command("SET", P + "misp-workers-aside:update", "x")
    assert not new_backend.put_aside(new)
    with pytest.raises(RedisError, match="WRONGTYPE"):
        new_backend.take_back(new)
    assert listed(new, "default") == [b"1"]


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_no_lie_of_redis_does_harm(lie: Reply) -> None:
    new = Backend(LyingRedis(lie), P)
    for ask in (
        lambda: new_backend.look(new, 1),
        lambda: new_backend.put_aside(new),
        lambda: new_backend.take_back(new),
    ):
        try:
            ask()
        except WebUserError as error:
            assert len(str(error)) < 400


def test_the_lock_is_held_by_one(new: Backend) -> None:
    clock = FakeClock()
    with Lock(new, clock):
        assert new.redis.command("EXISTS", P + "misp-workers-moving:lock") == 1
        ttl = new.redis.command("TTL", P + "misp-workers-moving:lock")
        assert isinstance(ttl, int) and 25 <= ttl <= 30
        with pytest.raises(BusyError, match="for ten minutes"):
            Lock(new, clock).__enter__()
        assert clock.seconds >= 600
    assert new.redis.command("EXISTS", P + "misp-workers-moving:lock") == 0


def test_the_lock_of_one_who_was_killed_is_waited_for(new: Backend) -> None:
    clock = FakeClock()
    new.redis.command("SET", P + "misp-workers-moving:lock", "dead")

    def expire() -> None:
        if clock.seconds > 29:
            new.redis.command("DEL", P + "misp-workers-moving:lock")

    clock.on_sleep = expire
    with Lock(new, clock):
        assert 29 < clock.seconds < 31


def test_the_lock_is_renewed_now_and_then_and_not_taken_from_another(new: Backend) -> None:
    clock = FakeClock()
    key = P + "misp-workers-moving:lock"
    with pytest.raises(HostError, match="as well"), Lock(new, clock) as lock:
        new.redis.command("EXPIRE", key, 3)
        lock.renew()
        assert new.redis.command("TTL", key) == 3
        clock.seconds += 6
        lock.renew()
        assert new.redis.command("TTL", key) == 30
        new.redis.command("SET", key, "b")
        clock.seconds += 6
        lock.renew()
    assert new.redis.command("GET", key) == b"b"
