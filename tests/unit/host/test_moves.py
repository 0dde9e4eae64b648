"""Jobs between the backends on one host: a real Redis through the bridge, the web user's files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.host import bridge, files, gate, moves, old_workers
from tasks.host.done import Done
from tasks.host.errors import HostError, RefusedError, WebUserError
from tasks.host.misp import Misp
from tasks.host.moves import MoveError
from tasks.host.new_backend import Client
from tasks.host.places import Place
from tasks.host.processes import TcpRow
from tasks.host.queues import Backend
from tasks.host.site import Desired, Site
from tests.redis_server import Connection, server
from tests.unit.host.fake_misp import FakeMisp
from tests.unit.host.records import delayed_record, jobs_in, new_record, old_record

CODE = (Path(bridge.__file__).with_suffix(".php")).read_text()


@pytest.fixture
def site(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(bridge, "CODE", CODE)
    monkeypatch.setattr(old_workers, "processes", lambda *_: [])
    return misp.site()


@pytest.fixture
def redis(misp: FakeMisp, site: Site) -> Iterator[Path]:
    """Both backends in one server; MISP's configuration says so."""
    (misp.folder / "redis").mkdir(mode=0o755)
    folder = misp.app / "Plugin/CakeResque/Config"
    folder.mkdir(parents=True)
    with server(misp.folder / "redis") as path:
        path.chmod(0o777)
        (folder / "config.php").write_text(
            f'<?php $config["CakeResque"]["Redis"] = array("host" => "{path}");'
        )
        misp.configure({"enabled": True, "redis_host": str(path), "redis_namespace": "n"})
        yield path


@pytest.fixture
def old(redis: Path) -> Iterator[Backend]:
    connection = Connection(redis, 0)
    yield Backend(connection, "resque:")
    connection.close()


@pytest.fixture
def new(redis: Path) -> Iterator[Backend]:
    connection = Connection(redis, 1)
    yield Backend(connection, "n:", 86400)
    connection.close()


def enqueue(backend: Backend, name: str, *records: str | bytes) -> None:
    backend.redis.command("RPUSH", backend.key(name), *records)


def copies(site: Site) -> list[Path]:
    return sorted(Path(site.state_dir).glob("old-jobs-*.json"))


# --- to the new backend --------------------------------------------------------------------------


def test_what_waits_is_converted_and_a_copy_of_it_stays(
    site: Site, old: Backend, new: Backend
) -> None:
    enqueue(old, "queue:prio", old_record(1), b"junk \xff\x00")
    done = moves.convert(site, Desired())
    first, left, message = done.lines
    assert done.converted == 1
    assert first == "1 job(s) of the old backend became jobs of the new one"
    assert left.startswith(moves.LEFT + "queue:prio")
    assert "MISP's page of jobs" in message
    [job] = jobs_in(new, "prio")
    assert job["args"][1] == "1"
    assert old.redis.command("LLEN", old.key("queue:prio")) == 1
    [copy] = copies(site)
    assert files.mode_of(str(copy)) == "0:0 600"
    kept = json.loads(copy.read_text())
    assert kept["lists"]["queue:prio"][0] == old_record(1)
    assert kept["namespace"] == "resque"
    assert kept["taken"].endswith("Z")


def test_a_conversion_without_jobs_moves_none_and_may_be_finished(
    site: Site, old: Backend, new: Backend
) -> None:
    assert moves.convert(site, Desired()).lines[0].startswith("0 job(s)")
    assert moves.finish_conversion(site, Desired()).lines[0].startswith("0 job(s)")


@pytest.mark.parametrize("convert", [moves.convert, moves.finish_conversion])
def test_nothing_is_converted_to_a_backend_that_misp_does_not_use(
    misp: FakeMisp, site: Site, old: Backend, convert: Any
) -> None:
    misp.configure({"enabled": False})
    enqueue(old, "queue:prio", old_record(1))
    with pytest.raises(RefusedError, match="does not use the new backend any more"):
        convert(site, Desired())
    assert old.redis.command("LLEN", old.key("queue:prio")) == 1


def test_a_copy_that_cannot_be_written_moves_nothing(
    site: Site, old: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(old, "queue:prio", old_record(1))

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(HostError, match="No space left"):
        moves.convert(site, Desired())
    assert old.redis.command("LLEN", old.key("queue:prio")) == 1


# --- CakeResque is gone, and its jobs are not -------------------------------------------------


def remove_cakeresque(misp: FakeMisp, redis: Path, **given: Any) -> None:
    shutil.rmtree(misp.app / "Plugin")
    block = {"enabled": True, "redis_host": str(redis), "redis_namespace": "n"}
    misp.configure(block, **{"redis_host": str(redis), **given})


def test_jobs_that_cakeresque_left_behind_are_seen_and_converted(
    misp: FakeMisp, site: Site, redis: Path, old: Backend, new: Backend
) -> None:
    remove_cakeresque(misp, redis)
    enqueue(old, "queue:prio", old_record(1))
    delayed = old.key("_schdlr_")
    old.redis.command("ZADD", delayed, 2**31, 2**31)
    enqueue(old, f"_schdlr_:{2**31}", delayed_record(2))
    with Misp(site, Desired()) as one:
        found = moves.old_state(one, [])
    assert (found.is_installed, found.error, found.stale) == (False, "", 0)
    assert (found.waiting["prio"], found.delayed) == (1, 1)
    assert found.has_work(with_scheduled=True)
    assert found.at == f"{redis}:0, database 0, namespace resque"
    assert moves.convert(site, Desired()).lines[0].startswith("2 job(s)")
    assert [job["args"][1] for job in jobs_in(new, "prio")] == ["1"]
    assert old.redis.command("KEYS", "resque:queue*") == []


@pytest.mark.parametrize("is_there", [True, False])
def test_a_scheduled_task_that_waits_is_postponed_only_for_a_hand_over_that_comes(
    misp: FakeMisp, site: Site, redis: Path, old: Backend, new: Backend, *, is_there: bool
) -> None:
    """Without CakeResque nobody reads delayed jobs any more, and nothing is handed over."""
    if not is_there:
        remove_cakeresque(misp, redis)
    enqueue(old, "queue:default", old_record(1, "enqueuePull", "1", "2", "3", class_="ServerShell"))
    moves.convert(site._replace(scheduled_tasks="cron"), Desired())
    assert len(jobs_in(new, "default")) == (0 if is_there else 1)
    assert old.redis.command("ZCARD", old.key("_schdlr_")) == (1 if is_there else 0)
    assert old.redis.command("LLEN", old.key("queue:default")) == 0


def test_jobs_that_another_hosts_workers_serve_are_left_to_them(
    misp: FakeMisp, site: Site, redis: Path, old: Backend, new: Backend
) -> None:
    """Two MISPs may share a Redis, and this one has no CakeResque that says which queues it had."""
    remove_cakeresque(misp, redis)
    old.redis.command("SADD", old.key("workers"), "there:1:prio")
    enqueue(old, "queue:prio", old_record(1))
    enqueue(old, "queue:cache", old_record(2))
    with patched_clients(bool):
        with Misp(site, Desired()) as one:
            found = moves.old_state(one, [])
        assert (found.waiting["prio"], found.waiting["cache"]) == (0, 1)
        assert moves.convert(site, Desired()).lines[0].startswith("1 job(s)")
    assert old.redis.command("LLEN", old.key("queue:prio")) == 1


@contextmanager
def patched_clients(has_others: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moves, "_others_of", lambda _: has_others)
        yield


def test_jobs_that_may_have_been_left_behind_are_never_called_none(
    misp: FakeMisp, site: Site, redis: Path
) -> None:
    remove_cakeresque(misp, redis, redis_host="/nowhere/redis.sock")
    with Misp(site, Desired()) as one:
        found = moves.old_state(one, [])
    assert (found.is_installed, found.at) == (
        False,
        "/nowhere/redis.sock:0, database 0, namespace resque",
    )
    assert found.error == "nobody listens there"
    with pytest.raises(
        HostError,
        match=r"^Redis at /nowhere/redis\.sock does not answer: nobody listens.* then run again$",
    ):
        moves.convert(site, Desired())


def test_a_cakeresque_that_cannot_be_looked_at_is_not_gone(
    misp: FakeMisp, site: Site, redis: Path
) -> None:
    os.chown(misp.app / "Plugin", 0, 0)
    (misp.app / "Plugin").chmod(0o700)
    with Misp(site, Desired()) as one:
        found = moves.old_state(one, [])
        assert found.is_installed
        assert "Permission denied" in found.error
        with pytest.raises(WebUserError, match="Permission denied"):
            one.old()


def test_without_cakeresque_nothing_moves_back(misp: FakeMisp, site: Site, redis: Path) -> None:
    remove_cakeresque(misp, redis)
    with Misp(site, Desired()) as one:
        moves.settle(one)
        with pytest.raises(MoveError, match="there is no CakeResque"):
            moves.move_back(one)
    assert moves.forget_old_workers(site, Desired()) == []


def test_a_move_back_that_was_cut_off_is_ended_without_cakeresque(
    misp: FakeMisp, site: Site, redis: Path, new: Backend
) -> None:
    remove_cakeresque(misp, redis)
    enqueue(new, "misp-workers-moving:prio", new_record(1))
    with Misp(site, Desired()) as one:
        moves.settle(one)
    assert [job["args"][1] for job in jobs_in(new, "prio")] == ["1"]


def test_a_host_that_was_renamed_knows_its_former_workers_for_dead(
    site: Site, old: Backend, redis: Path
) -> None:
    old.redis.command("SADD", old.key("workers"), "former:1:prio")
    enqueue(old, "queue:prio", old_record(1))
    with Misp(site, Desired()) as one:  # asks through connections of its own, which are here
        found = moves.old_state(one, [])
    assert (found.elsewhere, found.dead_hosts) == ({}, ("former",))


# --- whose connection is it? -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "client", "is_foreign"),
    [
        ("127.0.0.1", Client(1, 40001, b"lpop", 0), False),
        ("redis", Client(1, 40001, b"lpop", 0), False),
        ("redis", Client(1, 40002, b"lpop", 0), True),
        ("redis", Client(1, 40003, b"lpop", 0), True),  # of another connection of this host's
        ("redis", Client(1, 40002, b"lpop", 13), False),  # MISP's other database
        ("redis", Client(1, 0, b"lpop", 0), True),  # by a socket file over there
        ("127.0.0.1", Client(1, 0, b"lpop", 0), False),
        ("/redis.sock", Client(1, 0, b"lpop", 0), False),
    ],
)
def test_a_client_is_this_hosts_where_its_port_is(
    monkeypatch: pytest.MonkeyPatch, host: str, client: Client, is_foreign: bool
) -> None:
    rows = [b"0: 0100007F:%04X 0100007F:%04X 01 0 0 0 0 0 7 " % pair for pair in PAIRS]
    monkeypatch.setattr(moves, "tcp_rows", lambda: [TcpRow(row.split()) for row in rows])
    place = Place(host, 6379, 0, "resque", "")
    assert moves._others_of(place)([client]) is is_foreign
    assert not moves._others_of(place)([])


PAIRS = [(40001, 6379), (40003, 3306), (6379, 40001)]


# --- and back ------------------------------------------------------------------------------------


def test_what_waits_moves_back(site: Site, old: Backend, new: Backend) -> None:
    enqueue(new, "prio", new_record(1))
    with Misp(site, Desired()) as one:
        done = moves.move_back(one)
    first, message = done.lines
    assert done.moved == 1
    assert first == "1 job(s) of the new backend moved to the old one"
    assert "MISP's page of jobs" in message
    assert old.redis.command("LLEN", old.key("queue:prio")) == 1
    assert new.redis.command("LLEN", new.key("prio")) == 0


def test_a_host_without_jobs_says_nothing(site: Site, old: Backend, new: Backend) -> None:
    with Misp(site, Desired()) as one:
        assert moves.move_back(one) == Done([])
        moves.settle(one)


def test_input_of_a_job_is_the_web_users_file_under_its_name(misp: FakeMisp, site: Site) -> None:
    with Misp(site, Desired()) as one:
        store, discard = moves._store(one), moves._discard(one)
        path = Path(store("ingest_1", b"first"))
        assert path == misp.app / "tmp/cache/ingest/ingest_1"
        assert store("ingest_1", b"data \xff\x00" * 200_000) == str(path)
        assert path.read_bytes() == b"data \xff\x00" * 200_000
        assert path.stat().st_uid == misp.user.uid
        discard("ingest_1")
        discard("ingest_1")
        assert list(path.parent.iterdir()) == []


def test_input_that_is_stored_elsewhere_is_an_error(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "feed_bytes", lambda *_: "/etc/passwd")
    with Misp(site, Desired()) as one, pytest.raises(WebUserError, match="could not be stored"):
        moves._store(one)("ingest_1", b"x")


def test_a_link_in_the_folders_place_takes_root_nowhere(misp: FakeMisp, site: Site) -> None:
    (misp.folder / "roots").mkdir(mode=0o755)
    (misp.app / "tmp/cache").symlink_to(misp.folder / "roots")
    with Misp(site, Desired()) as one, pytest.raises(WebUserError, match="Permission denied"):
        moves._store(one)("ingest_1", b"x")
    assert list((misp.folder / "roots").iterdir()) == []


def test_rows_are_renamed_a_page_at_a_time_and_trouble_is_told_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(f"a{number}", f"b{number}") for number in range(1100)]
    messages: list[str] = []
    seen: list[dict[str, str]] = []

    def rename(names: dict[str, str]) -> str:
        seen.append(names)
        return "no database"

    with Misp(site, Desired()) as one:
        monkeypatch.setattr(one.bridge, "rename", rename)
        moves._rename(one, messages)(pairs)
    assert [len(names) for names in seen] == [500, 500, 100]
    assert {**seen[0], **seen[1], **seen[2]} == dict(pairs)
    assert len(messages) == 1


# --- what the old backend has --------------------------------------------------------------------


def test_the_old_backends_state_or_why_it_is_unknown(
    misp: FakeMisp, site: Site, old: Backend
) -> None:
    enqueue(old, "queue:prio", old_record(1))
    with Misp(site, Desired()) as one:
        found = moves.old_state(one, [])
        assert (found.waiting["prio"], found.error, found.is_installed) == (1, "", True)
        (misp.app / "Plugin/CakeResque/Config/config.php").write_text("<?php exit;")
        one.forget()
        found = moves.old_state(one, [])
        assert "ended without an answer" in found.error
        (misp.app / "Plugin/CakeResque/Config/config.php").unlink()
        found = moves.old_state(one, [])
        assert not found.is_installed


def test_dead_old_workers_of_this_host_are_forgotten(site: Site, old: Backend) -> None:
    mine, other = f"{moves.host_name()}:123:prio", "elsewhere:123:prio"
    old.redis.command("SADD", old.key("workers"), mine, other)
    assert moves.forget_old_workers(site, Desired()) == []
    assert old.redis.command("SMEMBERS", old.key("workers")) == [other.encode()]
