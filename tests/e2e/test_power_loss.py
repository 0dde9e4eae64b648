"""The power of a host lost at points all over a deploy and a rollback; then run again."""

from __future__ import annotations

import pytest

from lab.lab import Lab
from tests.e2e import cuts, secrecy

pytestmark = pytest.mark.resilience

SPECS = cuts.specs()


@pytest.fixture(scope="module")
def story(lab: Lab) -> cuts.Story:
    with secrecy.kept(lab):
        return cuts.story(lab, cuts.power)


@pytest.mark.parametrize("number", range(cuts.POINTS))
def test_the_next_run_ends_like_an_undisturbed_one(story: cuts.Story, number: int) -> None:
    assert story.faults(number) == []


def test_after_a_rollback_in_the_dark_the_next_one_puts_everything_back(story: cuts.Story) -> None:
    with secrecy.kept(story.lab):
        assert cuts.rollback_faults(story) == []
