"""Jobs through the web tier all along a migration: each runs exactly once.

Once in a clean run, and once in a run that is killed at a random point and started again.
`MISP_LOAD_JOBS` says how many jobs (10000 for the long run); `MISP_LOAD_KILLS` how many kills, with
a rollback before each further one; `MISP_LOAD_SEED` where they fall. The figures are printed and
kept in reports/load.json.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from lab import load, misp, run, verify
from lab.console import say
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import secrecy

pytestmark = pytest.mark.resilience

JOBS = int(os.environ.get("MISP_LOAD_JOBS", "800"))  # at least; of both hosts of a run together
KILLS = int(os.environ.get("MISP_LOAD_KILLS", "1"))
SEED = int(os.environ.get("MISP_LOAD_SEED", str(time.time_ns() % 1_000_000)))
PACE = 5.0  # a second to each host: two cores do the jobs of two hosts and a deploy
BEFORE, BEHIND = 0.2, 0.2  # parts of the jobs that are sent before and after the deploy

CLEAN = (
    HostSpec("load-debian", "debian-12", waiting_jobs=0),
    HostSpec("load-el", "el-like", profile="2.4.199", redis="shared", waiting_jobs=0),
)
KILLED = (
    HostSpec("cut-debian", "debian-12", profile="2.4.199", waiting_jobs=0),
    HostSpec("cut-el", "el-like", waiting_jobs=0),
)
SPECS = (*CLEAN, *KILLED)


@dataclass
class Story:
    """A migration under load: what each host's jobs came to."""

    runs: list[run.Run]
    seconds: float
    kills: list[float]
    outcomes: dict[str, load.Outcome]
    sent: dict[str, list[load.Sent]]
    left: dict[str, dict[str, int]]


def limits(specs: Sequence[HostSpec]) -> list[str]:
    return [word for spec in specs for word in ("--limit", spec.name)]


def sent_to_each(producers: list[load.Producer], count: float) -> Callable[[], bool]:
    return lambda: all(len(producer.sent) >= count for producer in producers)


def live_through(
    lab: Lab,
    name: str,
    specs: Sequence[HostSpec],
    deploy: Callable[[], tuple[list[run.Run], list[float]]],
) -> Story:
    """Have jobs sent before, during and after what DEPLOY does."""
    hosts, each = [lab[spec.name] for spec in specs], JOBS / len(specs)
    with secrecy.kept(lab), load.producing(hosts, PACE) as producers:
        # The first deadline is generous: it says "the producer hangs", not "it is slow".
        limit = 120 + 3 * each / PACE
        wait_for(sent_to_each(producers, each * BEFORE), limit, "jobs before the deploy")
        began = time.time()
        runs, kills = deploy()
        ended = time.time()
        behind = max(each, max(len(one.sent) for one in producers) + each * BEHIND)
        wait_for(sent_to_each(producers, behind), limit, "jobs after the deploy")
    sent = {producer.host.name: producer.sent for producer in producers}
    for host in hosts:
        load.settle(host, sent[host.name])
    outcomes = {
        host.name: load.outcome(
            sent[host.name], misp.ledger(host), (began, ended), load.enabled_at(host)
        )
        for host in hosts
    }
    story = Story(
        runs, ended - began, kills, outcomes, sent, {host.name: load.left(host) for host in hosts}
    )
    report(name, story)
    return story


def report(name: str, story: Story) -> None:
    figures = {
        "deploy_seconds": round(story.seconds, 1),
        "killed_after": [round(kill, 1) for kill in story.kills],
        "seed": SEED,
        "hosts": {host: dataclasses.asdict(end) for host, end in story.outcomes.items()},
    }
    load.write_report(name, figures)
    for host, end in story.outcomes.items():
        say(
            f"{name}, {host}: enqueued {end.enqueued}, run {end.run} {dict(end.by)}, "
            f"lost {len(end.lost)}, twice {len(end.twice)}, unsure {len(end.unsure)}; longest wait "
            f"at the cut-over {end.longest_wait} s (otherwise {end.longest_wait_otherwise} s), "
            f"first new job {end.to_first_new_job} s after `enabled`; deploy {story.seconds:.0f} s"
        )


@pytest.fixture(scope="module")
def clean(lab: Lab) -> Story:
    def deploy() -> tuple[list[run.Run], list[float]]:
        return [run.apply(lab, *limits(CLEAN))], []

    return live_through(lab, "clean", CLEAN, deploy)


@pytest.fixture(scope="module")
def killed(lab: Lab, clean: Story) -> Story:
    chance = random.Random(SEED)  # noqa: S311 # where a test cuts, not a secret

    def deploy() -> tuple[list[run.Run], list[float]]:
        runs, cut = [], []
        for number in range(KILLS):
            if number:  # back under the same load, for the next cut in a whole migration
                runs.append(run.apply(lab, *limits(KILLED), deploy="rollback.py"))
            after = chance.uniform(1, clean.seconds)
            if was_killed_after(lab, after, *limits(KILLED)):
                cut.append(after)
            runs.append(run.apply(lab, *limits(KILLED)))
        return runs, cut

    return live_through(lab, "killed", KILLED, deploy)


def was_killed_after(lab: Lab, seconds: float, *options: str) -> bool:
    """SIGKILL a deploy; false when it had ended by itself before."""
    with run.started(lab, "deploy.py", "-y", *options) as running:
        return not running.ends_within(seconds)


STORIES = pytest.mark.parametrize(
    ("story", "name"),
    [("clean", spec.name) for spec in CLEAN] + [("killed", spec.name) for spec in KILLED],
)


@STORIES
def test_each_number_is_in_the_ledger_exactly_once(
    request: pytest.FixtureRequest, story: str, name: str
) -> None:
    seen: Story = request.getfixturevalue(story)
    for one in seen.runs:
        one.check()
    end = seen.outcomes[name]
    assert end.enqueued >= JOBS / 2
    assert (end.lost, end.twice, end.failed) == ([], [], [])
    assert end.run == end.enqueued


@STORIES
def test_nothing_waits_on_either_backend(
    request: pytest.FixtureRequest, story: str, name: str
) -> None:
    seen: Story = request.getfixturevalue(story)
    assert seen.left[name] == {}


@STORIES
def test_the_load_was_what_it_claims_to_be(
    request: pytest.FixtureRequest, story: str, name: str
) -> None:
    seen: Story = request.getfixturevalue(story)
    accepted = [one for one in seen.sent[name] if one.backend]
    assert {one.job.queue for one in accepted if one.backend == "resque"} == set(QUEUES)
    assert {one.job.queue for one in accepted if one.backend == "simple"} == set(QUEUES)
    for kind in ("seconds", "spawned"):
        assert {one.job.queue for one in accepted if getattr(one.job, kind)} == set(QUEUES)


@STORIES
def test_the_host_is_migrated(
    request: pytest.FixtureRequest, lab: Lab, story: str, name: str
) -> None:
    request.getfixturevalue(story)
    host = lab[name]
    checks = [verify.check_worker_set(host), verify.check_old_service(host), verify.check_web(host)]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []


def test_the_web_tier_never_goes_back_to_the_old_backend(clean: Story) -> None:
    for sent in clean.sent.values():
        backends = [one.backend for one in sorted(sent, key=lambda one: one.at) if one.backend]
        switched = backends.index("simple")
        # Children of PHP-FPM that still know the old settings leave at the reload.
        assert "resque" not in backends[switched + round(PACE * 30) :]
