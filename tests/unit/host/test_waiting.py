"""The loop that waits."""

from __future__ import annotations

import pytest

from tasks.host import waiting


class Time:
    """A clock that naps move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture(name="time")
def _time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(waiting, "time", time)
    return time


def test_no_nap_where_it_is_so_already(time: Time) -> None:
    assert waiting.wait_until(lambda: "answer", 0) == "answer"
    assert time.naps == []


def test_short_naps_first_then_longer_ones(time: Time) -> None:
    assert waiting.wait_until(lambda: time.now > 5, 10)
    assert time.naps == sorted(time.naps)
    assert (time.naps[0], time.naps[-1]) == (0.02, 0.5)
    assert time.now < 5.6


def test_the_last_answer_comes_at_the_end_of_the_time(time: Time) -> None:
    asked: list[float] = []

    def ask() -> str:
        asked.append(time.now)
        return ""

    assert waiting.wait_until(ask, 3) == ""
    assert asked[-1] == pytest.approx(3)
    assert waiting.wait_until(lambda: time.now >= 6, 3)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (1.6, "2 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h 0 min"),
        (11_100, "3 h 5 min"),
    ],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert waiting.span(seconds) == words
