"""Whatever MISP's table and Redis hold, a crontab gets numbers and known words, or nothing."""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.host import cron, old_backend, old_tasks
from tasks.host.errors import WebUserError
from tasks.host.misp import Misp
from tasks.host.queues import Backend
from tasks.host.replies import PAGE
from tests.unit.host.tasks_table import ACTIONS, Table, delay, task_record

LINE = re.compile(
    r"# (pull_all|push_all|cache_feeds|fetch_feeds) of user [0-9]+: (every [0-9]+ h|once) from"
    r" [0-9-]+ [0-9:]+ UTC on\n"
    r"[0-9]+ \* \* \* \* www-data s=\$\(\( \$\(date \+\\%s\) - [0-9]+ \)\);"
    r' \[ "\$s" -ge 0 \] && \[ \$\(\( s / 3600( \\% [0-9]+)? \)\) -eq 0 \]'
    r" && cd /var/www/MISP/app/tmp/logs && exec flock -n misp-task-[a-z_]+\.lock"
    r" /var/www/MISP/app/Console/cake Server (pullAll|pushAll|cacheFeed|fetchFeed) [0-9]+"
    r" (full|all) >> misp-tasks\.log 2>&1"
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.text("0123456789\n% ;*", max_size=12),
    st.integers(0, 3000).map(str),
    st.lists(st.integers(), max_size=2),
)
TIME = st.one_of(ODD, st.just(1_900_000_000), st.just("1900000000"))


def misp(*rows: list[Any], owner: str = "cron") -> Misp:
    return cast(Misp, SimpleNamespace(tasks_owner=owner, bridge=Table(list(rows))))


@example(kind="pull_all", action="", time=math.inf, words=[], row=(0, 0, 0), is_map=False)
@given(  # six kinds of values that the web user has in his hands
    kind=st.sampled_from(sorted(ACTIONS)),
    action=st.one_of(st.sampled_from(sorted(ACTIONS.values())), st.text(max_size=20)),
    time=TIME,
    words=st.lists(ODD, max_size=4),
    row=st.tuples(ODD, ODD, TIME),
    is_map=st.booleans(),
)
def test_a_crontab_has_lines_of_one_form_alone(
    *, kind: str, action: str, time: Any, words: list[Any], row: tuple[Any, Any, Any], is_map: bool
) -> None:
    values = [action, time, *words]
    arguments: Any = {str(at): one for at, one in enumerate(values)} if is_map else values
    record = json.dumps({"class": "ServerShell", "args": [arguments]}).encode()
    entry = old_tasks._entry("_schdlr_:9", record)
    found = old_tasks.find(misp([row[0], kind, row[1], row[2]]), [entry], {})
    tasks = [task._replace(due=task.was) for task in found.tasks.values()]
    text = cron.crontab(tasks, "www-data", "/var/www/MISP").removeprefix(cron._HEADER)
    assert text == "" or LINE.fullmatch(text.removesuffix("\n"))
    assert len(found.tasks) + len(found.unfit) <= 1


def padded(size: int) -> str:
    """A scheduled task of so many bytes."""
    record = task_record("pull_all", 9)
    return record[:-1] + f', "x": "{"y" * (size - len(record) - 9)}"}}'


def test_records_of_any_size_and_number_are_not_kept(old: Backend) -> None:
    """Lists of other jobs may be big; these are kept as a whole, and are few."""
    delay(old, padded(1 << 16), 9)
    old.redis.command("RPUSH", old.key("_schdlr_:9"), "x" * 200_000)
    assert [len(one.record) for one in old_tasks.entries(old)] == [1 << 16]
    delay(old, padded((1 << 16) + 1), 10)
    with pytest.raises(WebUserError, match="more than 64 KiB"):
        old_tasks.entries(old)
    old.redis.command("DEL", old.key("_schdlr_:10"))
    record = task_record("pull_all", 11)
    old.redis.command("RPUSH", old.key("_schdlr_:10"), *[record] * 999)
    assert len(old_tasks.entries(old)) == 1000
    old.redis.command("RPUSH", old.key("_schdlr_:10"), record)
    with pytest.raises(WebUserError, match="more than 1000 scheduled tasks"):
        old_tasks.entries(old)


def hold_all(old: Backend) -> list[old_tasks.Entry]:
    """Hold what is delayed, for the hand-over "t"."""
    found = old_tasks.entries(old)
    for entry in found:
        old_tasks.hold(old, entry, "t")
    return found


def no_parser(_: bytes) -> Any:
    raise AssertionError("parsed")


def test_what_is_held_is_read_again_whatever_its_json_takes(old: Backend) -> None:
    begin = task_record("pull_all", 9)[:-1] + ', "x": "'
    delay(old, begin + "\u00e9" * 32_000 + '"}', 9)
    delay(old, begin + '\\"' * 32_000 + '"}', 10)
    for number in range(700):
        delay(old, begin + f'{number}"}}', 11)
    found = hold_all(old)
    assert len(found) == 702
    assert old_tasks.held(old, "t") == found


@pytest.mark.parametrize(
    "junk", [["x" * ((1 << 18) + 1)], ["{}"] * 1001, ["{}"] * 499 + ["x" * (1 << 19)]]
)
def test_held_ones_of_somebody_elses_are_not_even_parsed(
    old: Backend, monkeypatch: pytest.MonkeyPatch, junk: list[str]
) -> None:
    """Parsed at once they may take all memory, and then nothing would start the workers again."""
    old.redis.command("RPUSH", old.key("misp-workers-tasks:t"), *junk)
    if len(junk) < PAGE:
        monkeypatch.setattr(old_tasks, "parsed", no_parser)
    with pytest.raises(old_tasks.OddTasksError, match=r"256 KiB\. They are not a hand-over's"):
        old_tasks.held(old, "t")


@pytest.mark.parametrize("junk", ["{", "[]", '{"list": 1, "record": "x"}', '{"list": "x"}'])
def test_what_nobody_held_is_passed_over(old: Backend, junk: str) -> None:
    delay(old, task_record("pull_all", 9), 9)
    found = hold_all(old)
    old.redis.command("LPUSH", old.key("misp-workers-tasks:t"), junk)
    assert old_tasks.held(old, "t") == found


@pytest.mark.parametrize("action", ["enqueuePull", "\\u0065nqueuePull", "enqueue\\u0050ull"])
def test_a_long_job_is_not_parsed_to_be_told_from_a_task(
    old: Backend, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    record = padded(1 << 17).replace("enqueuePull", action)
    assert old_backend.is_scheduled_task(record.encode())
    monkeypatch.setattr(old_backend, "parsed", no_parser)
    delay(old, padded(1 << 17).replace("enqueuePull", "publish"), 9)
    assert old_tasks.entries(old) == []
    delay(old, record, 9)
    with pytest.raises(old_tasks.OddTasksError, match="more than 64 KiB"):
        old_tasks.entries(old)


def test_a_task_is_made_of_its_row_and_its_job() -> None:
    words = {"0": "enqueuePull", "1": "1900000000", "2": "7", "3": 2, "id": "x"}
    entry = old_tasks._entry("_schdlr_:1", json.dumps({"args": [words]}).encode())
    found = old_tasks.find(misp(["2", "pull_all", "24", "1900000000"]), [entry], {})
    assert found.tasks == {"pull_all": cron.Task("pull_all", 7, 24, 1_900_000_000, 2)}
    assert found.entries == [entry]


@pytest.mark.parametrize("owner", ["cron", "native"])
def test_a_task_of_one_time_for_two_users_is_nobodys(owner: str) -> None:
    """Who can write to Redis could else have it run for ever as another user, by a copy."""
    one = misp([2, "pull_all", 24, 1_900_000_000], owner=owner)
    cast(Any, one.bridge).native = [["Server", "pull", "all,full"]]
    mine, other = (
        old_tasks._entry("x", task_record("pull_all", 1_900_000_000, user, 2).encode())
        for user in (7, 9)
    )
    known = old_tasks.find(one, [mine, mine], {}).tasks
    assert [task.user for task in known.values()] == [7]
    for entries, handed_over in (([mine, other], {}), ([other, mine], {}), ([other], known)):
        with pytest.raises(old_tasks.OddTasksError, match=r"pull_all at one time for two MISP us"):
            old_tasks.find(one, entries, handed_over)
    later = known["pull_all"]._replace(was=1_800_000_000)
    assert old_tasks.find(one, [other], {"pull_all": later}).tasks["pull_all"].user == 9


@pytest.mark.parametrize(
    ("kind", "row", "is_same"),
    [
        ("pull_all", ["Server", "pull", "all,full"], True),
        ("pull_all", ["Server", "pull", "3,full"], False),
        ("pull_all", ["Server", "push", "all,full"], False),
        ("push_all", ["Server", "push", "all,full"], True),
        ("cache_feeds", ["Feed", "cache", "all,all"], True),
        ("cache_feeds", ["Feed", "cache", "12,all"], False),
        ("fetch_feeds", ["Feed", "fetch", "all"], True),
        ("fetch_feeds", ["Feed", "fetch", "5"], False),
        ("fetch_feeds", ["Feed", "fetch", None], False),
        ("fetch_feeds", ["Feed", "fetch"], False),
    ],
)
def test_misps_own_scheduler_has_a_task_where_it_is_for_all_servers_or_feeds(
    kind: str, row: list[Any], is_same: bool
) -> None:
    """One for a single server, beside it, does not do what the old backend's task does."""
    native = misp(owner="native")
    cast(Any, native.bridge).native = [row]
    record = task_record(kind, 1_900_000_000, user=7, id_=2).encode()
    found = old_tasks.find(native, [old_tasks._entry("_schdlr_:1", record)], {})
    assert (list(found.tasks), found.unfit) == (([kind], []) if is_same else ([], [kind]))


@pytest.mark.parametrize("row", [[], [1, "pull_all", 6], [1, None, 6, 9], [1, 2, 6, 9]])
def test_a_table_of_another_form_is_an_error(row: list[Any]) -> None:
    with pytest.raises(WebUserError, match="is not as it should be"):
        old_tasks.rows(misp(row))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0, 0), (9, 9), ("9", 9), ("0009", 9), (10, -1), (-1, -1), ("-1", -1), ("", -1), (True, -1),
     (9.0, -1), ("9 ", -1), ("9\n", -1), (None, -1), ("\u0667", -1), ("9" * 13, -1), ([9], -1)],
)  # fmt: skip
def test_a_number_is_one_within_its_limit(value: Any, wanted: int) -> None:
    assert old_tasks.number(value, 9) == wanted
