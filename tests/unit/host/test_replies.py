from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.host import replies
from tasks.host.errors import WebUserError
from tasks.host.queues import Backend
from tasks.host.redis import Reply
from tests.unit.host.fakes import LyingRedis


@pytest.mark.parametrize("reply", [0, 7, 2**63 - 1])
def test_a_count_is_a_number_from_0_on(reply: int) -> None:
    assert replies.number(reply, "x") == reply


@pytest.mark.parametrize("reply", [-1, 2**63, True, None, b"7", [7]])
def test_anything_else_is_no_count(reply: Reply) -> None:
    with pytest.raises(WebUserError, match="asked for the number of x: see whether"):
        replies.number(reply, "the number of x")


@pytest.mark.parametrize(("reply", "count"), [(None, 0), (b"0", 0), (b"12", 12)])
def test_a_counter_is_kept_as_text(reply: Reply, count: int) -> None:
    assert replies.counter(reply, "x") == count


@pytest.mark.parametrize("reply", [b"-1", b"", b"1.5", b"9" * 20, b"\xb2", 12, [b"1"]])
def test_other_text_is_no_counter(reply: Reply) -> None:
    with pytest.raises(WebUserError):
        replies.counter(reply, "x")


@pytest.mark.parametrize(
    ("check", "reply"),
    [
        (replies.text, 1),
        (replies.text, [b"x"]),
        (replies.text, b"x" * 1025),
        (replies.texts, None),
        (replies.texts, b"x"),
        (replies.texts, [1]),
        (replies.texts, [None]),
        (replies.texts, [[b"x"]]),
        (replies.texts, [b"x" * 1025]),
        (replies.texts, [b""] * 100_001),
    ],
)
def test_texts_are_of_a_sane_size(check: Callable[[Reply, str], object], reply: Reply) -> None:
    with pytest.raises(WebUserError) as error:
        check(reply, "names")
    assert len(str(error.value)) < 300, "nothing of the reply is in the sentence"


def test_a_long_list_comes_in_pages(old: Backend) -> None:
    many = [str(number) for number in range(1203)]
    old.redis.command("RPUSH", "list", *many)
    assert [record.decode() for record in replies.records(old.redis, "list")] == many


def test_a_list_without_an_end_is_given_up() -> None:
    with pytest.raises(WebUserError, match="half a gigabyte"):
        replies.records(LyingRedis([b"x" * 10_000] * replies.PAGE), "list")


def test_keys_are_found_by_pattern_with_each_once(old: Backend) -> None:
    for number in range(1100):
        old.redis.command("SET", f"a[*]:{number}", 1)
    old.redis.command("SET", "ab:1", 1)
    pattern = replies.escaped("a[*]:") + "*"
    assert len(replies.matching(old.redis, pattern, 10_000)) == 1100
    assert 10 <= len(replies.matching(old.redis, pattern, 10)) <= 1100


@pytest.mark.parametrize(
    "reply", [[b"7", []], [b"x", []], [7, []], [b"0"], [b"0", [], []], [b"0", b"x"], [b"0", [1]], 0]
)
def test_a_scan_without_an_end_or_a_sense_is_given_up(reply: Reply) -> None:
    with pytest.raises(WebUserError):
        replies.matching(LyingRedis(reply), "*", 10)


def test_what_is_shown_is_fit_for_a_terminal() -> None:
    assert (
        replies.plain("ä\x1b[31m\r\n\x07".encode() + b"\xff" + b"x" * 300)
        == "ä?[31m????" + "x" * 189
    )


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff",
        b"{",
        b"NaN",
        b'{"a":Infinity}',
        b"[" * 100_000,
        b"9" * 101,
        b'{"a":' + b"9" * 1_000_000 + b"}",
    ],
)
def test_what_is_no_json_is_nothing(record: bytes) -> None:
    assert replies.parsed(record) is None


def test_json_keeps_its_types_and_order() -> None:
    text = b'{"b":[1,null,"\\u00e4\\/",1.5,true],"a":{}}'
    assert replies.parsed(text) == {"b": [1, None, "ä/", 1.5, True], "a": {}}
    assert list(replies.parsed(text)) == ["b", "a"]
