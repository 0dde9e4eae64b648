"""A network cut and a loss of power in the middle of a deploy; the long suites have many points."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from lab import run
from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import cuts, observe, secrecy

CUTS = {"network": cuts.network, "power": cuts.power}
SPECS = (
    HostSpec("network", "el-like", profile="2.4.199", waiting_jobs=0),
    HostSpec("power", "debian-12", waiting_jobs=0),
)
HOSTS = pytest.mark.parametrize("name", list(CUTS))


@dataclass
class Story:
    lab: Lab
    ends: dict[str, cuts.Ending]


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    for host in lab:
        cuts.make_redis_durable(host)
    # The workers' step: half of the operations lie behind it, and the old workers still run.
    operations = [operation.name for operation in run.plan(lab).plan]
    point = cuts.Point(next(n for n, name in enumerate(operations) if "Workers" in name), 1.0)

    def live_through(name: str) -> cuts.Ending:
        return cuts.Attempt(lab, "deploy.py", CUTS[name], 1000).live_through(name, point)

    with secrecy.kept(lab), ThreadPoolExecutor(len(CUTS)) as pool:
        return Story(lab, dict(zip(CUTS, pool.map(live_through, CUTS), strict=True)))


@HOSTS
def test_the_next_run_ends_well_and_every_job_is_done(story: Story, name: str) -> None:
    host, ending = story.lab[name], story.ends[name]
    assert [*ending.faults(), *ending.job_faults(host), *observe.faults(host)] == []
