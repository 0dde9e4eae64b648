"""Jobs through the web tier all along a migration whose old workers finish their work.

Once in a clean run, and once in a run that is killed at a random point and started again; see
under_load.py for what can be set.
"""

from __future__ import annotations

import pytest

from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import under_load
from tests.e2e.under_load import PACE, Story

pytestmark = pytest.mark.resilience

CLEAN = under_load.as_slow_as_misp(
    HostSpec("load-debian", "debian-12", waiting_jobs=0),
    HostSpec("load-el", "el-like", profile="2.4.199", redis="shared", waiting_jobs=0),
)
KILLED = under_load.as_slow_as_misp(
    HostSpec("cut-debian", "debian-12", profile="2.4.199", waiting_jobs=0),
    HostSpec("cut-el", "el-like", waiting_jobs=0),
)
SPECS = (*CLEAN, *KILLED)
STORIES = under_load.stories(CLEAN, KILLED)


@pytest.fixture(scope="module")
def clean(lab: Lab) -> Story:
    return under_load.live_through(lab, "clean", CLEAN, under_load.once(lab, CLEAN))


@pytest.fixture(scope="module")
def killed(lab: Lab) -> Story:
    deploy = under_load.killed_and_run_again(lab, KILLED)
    return under_load.live_through(lab, "killed", KILLED, deploy)


@STORIES
def test_each_number_is_in_the_ledger_exactly_once(
    request: pytest.FixtureRequest, lab: Lab, story: str, name: str
) -> None:
    under_load.check(lab, request.getfixturevalue(story), name)


def test_the_web_tier_never_goes_back_to_the_old_backend(clean: Story) -> None:
    for sent in clean.sent.values():
        backends = [one.backend for one in sorted(sent, key=lambda one: one.at) if one.backend]
        switched = backends.index("simple")
        # Children of PHP-FPM that still know the old settings leave at the reload.
        assert "resque" not in backends[switched + round(PACE * 30) :]
