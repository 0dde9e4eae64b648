"""Jobs through the web tier all along a migration that converts what the old workers cannot finish.

Once in a clean run, and once in a run that is killed at a random point and started again; see
under_load.py for what can be set.
"""

from __future__ import annotations

import pytest

from lab import misp, verify
from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import under_load
from tests.e2e.under_load import BACKLOG, BACKLOG_FROM, Story

pytestmark = pytest.mark.resilience

CONVERT = {"on_leftover_jobs": "convert", "drain_timeout": 10}
CLEAN = under_load.as_slow_as_misp(
    HostSpec("turn-debian", "debian-12", waiting_jobs=0, data=CONVERT),
    HostSpec("turn-el", "el-like", profile="2.4.199", redis="shared", waiting_jobs=0, data=CONVERT),
)
KILLED = under_load.as_slow_as_misp(
    HostSpec("twist-debian", "debian-12", profile="2.4.199", waiting_jobs=0, data=CONVERT),
    HostSpec("twist-el", "el-like", waiting_jobs=0, data=CONVERT),
)
SPECS = (*CLEAN, *KILLED)
STORIES = under_load.stories(CLEAN, KILLED)


@pytest.fixture(scope="module")
def clean(lab: Lab) -> Story:
    deploy = under_load.once(lab, CLEAN)
    return under_load.live_through(lab, "converted", CLEAN, deploy, BACKLOG)


@pytest.fixture(scope="module")
def killed(lab: Lab) -> Story:
    deploy = under_load.killed_and_run_again(lab, KILLED, BACKLOG)
    return under_load.live_through(lab, "converted and killed", KILLED, deploy, BACKLOG)


@STORIES
def test_each_number_is_in_the_ledger_exactly_once(
    request: pytest.FixtureRequest, lab: Lab, story: str, name: str
) -> None:
    under_load.check(lab, request.getfixturevalue(story), name)


@STORIES
def test_what_the_old_workers_left_was_done_by_the_new_ones(
    request: pytest.FixtureRequest, lab: Lab, story: str, name: str
) -> None:
    seen: Story = request.getfixturevalue(story)
    jobs = range(BACKLOG_FROM, BACKLOG_FROM + seen.backlog)
    check = verify.check_jobs(lab[name], jobs, "the backlog")
    assert check.ok, check.seen
    by = {e["backend"] for e in misp.ledger(lab[name]) if int(e.get("number") or 0) in jobs}
    assert by == {"resque", "simple"}
