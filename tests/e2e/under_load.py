"""A migration while jobs come in through the web tier all along: each has to run exactly once.

`MISP_LOAD_JOBS` says how many jobs a story has at least; `MISP_LOAD_KILLS` how many times a run is
killed, with a rollback before each further one; `MISP_LOAD_SEED` where the kills fall. The figures
are printed and kept in reports/load.json.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from lab import load, misp, run, verify
from lab.console import say
from lab.lab import Lab
from lab.topology import OLD_WORKER_INTERVAL, QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import secrecy

JOBS = int(os.environ.get("MISP_LOAD_JOBS", "800"))  # of both hosts of a story together
KILLS = int(os.environ.get("MISP_LOAD_KILLS", "1"))
SEED = int(os.environ.get("MISP_LOAD_SEED", str(time.time_ns() % 1_000_000)))
PACE = 5.0  # a second to each host: two cores do the jobs of two hosts and a deploy
BEFORE, BEHIND = 0.2, 0.2  # parts of the jobs that are sent before and after the deploy
LONGEST_STAY = 2.0  # seconds in the operation that is cut, or the next one
BACKLOG_FROM, BACKLOG, BACKLOG_SECONDS = 50_001, 100, 3
"""Slow jobs that wait for one old worker, where a story has some: five minutes' work for it."""


@dataclass
class Story:
    """A migration under load: what each host's jobs came to."""

    runs: list[run.Run]
    seconds: float
    kills: list[str]
    outcomes: dict[str, load.Outcome]
    sent: dict[str, list[load.Sent]]
    left: dict[str, dict[str, int]]
    backlog: int


Deploy = Callable[[], tuple[list[run.Run], list[str]]]


def as_slow_as_misp(*specs: HostSpec) -> tuple[HostSpec, ...]:
    """Have the old workers sleep as long as MISP's, since the report has times."""
    return tuple(replace(spec, old_worker_interval=OLD_WORKER_INTERVAL) for spec in specs)


def limits(specs: Sequence[HostSpec]) -> list[str]:
    return [word for spec in specs for word in ("--limit", spec.name)]


def sent_to_each(producers: list[load.Producer], count: float) -> Callable[[], bool]:
    return lambda: all(len(producer.sent) >= count for producer in producers)


def once(lab: Lab, specs: Sequence[HostSpec]) -> Deploy:
    """A deploy that nothing disturbs."""
    return lambda: ([run.apply(lab, *limits(specs))], [])


def killed_and_run_again(lab: Lab, specs: Sequence[HostSpec], backlog: int = 0) -> Deploy:
    """A deploy that is killed somewhere in one of its operations, and run again; KILLS times."""
    chance = random.Random(SEED)  # noqa: S311 # where a test cuts, not a secret

    def deploy() -> tuple[list[run.Run], list[str]]:
        runs, cut = [], []
        operations = len(run.plan(lab, *limits(specs)).plan)
        for number in range(KILLS):
            if number:  # back under the same load, for the next cut in a whole migration
                # Its new workers have slow jobs to finish; the rest of the backlog moves.
                patient = ("--data", "drain_timeout=300")
                runs.append(run.apply(lab, *limits(specs), *patient, deploy="rollback.py"))
                pile_up(lab, specs, backlog, number)
            # From the last to the first, since most of it happens late.
            which = operations - 1 - number % operations
            stay = chance.uniform(0, LONGEST_STAY if which < operations - 1 else 0.3)
            cut.append(kill_in(lab, which, stay, *limits(specs)))
            runs.append(run.apply(lab, *limits(specs)))
        return runs, cut

    return deploy


def kill_in(lab: Lab, number: int, seconds: float, *options: str) -> str:
    """SIGKILL a deploy so long after the beginning of its NUMBERth operation; gives its place."""
    with run.started(lab, "deploy.py", "-y", *options) as running:
        wait_for(
            lambda: len(running.operations) > number or running.ends_within(0),
            run.TIME_LIMIT,
            "the operation",
        )
        assert not running.ends_within(seconds), f"it ended by itself:\n{running.stderr[-2000:]}"
        return f"{running.operations[-1]} ({seconds:.1f} s after {running.operations[number]})"


def pile_up(lab: Lab, specs: Sequence[HostSpec], count: int, number: int = 0) -> None:
    """Put COUNT slow jobs into one old queue of each host, the NUMBERth time."""
    for spec in specs if count else ():
        first = BACKLOG_FROM + number * count
        misp.enqueue(
            lab[spec.name], count, queues=["default"], first=first, seconds=BACKLOG_SECONDS
        )


def live_through(
    lab: Lab, name: str, specs: Sequence[HostSpec], deploy: Deploy, backlog: int = 0
) -> Story:
    """Have jobs sent before, during and after what DEPLOY does."""
    hosts, each = [lab[spec.name] for spec in specs], JOBS / len(specs)
    with secrecy.kept(lab), load.producing(hosts, PACE) as producers:
        # The first deadline is generous: it says "the producer hangs", not "it is slow".
        limit = 120 + 3 * each / PACE
        wait_for(sent_to_each(producers, each * BEFORE), limit, "jobs before the deploy")
        pile_up(lab, specs, backlog)
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
        runs=runs,
        seconds=ended - began,
        kills=kills,
        outcomes=outcomes,
        sent=sent,
        left={host.name: load.left(host) for host in hosts},
        backlog=backlog * sum(" deploy.py " in one.command for one in runs),
    )
    report(name, story)
    return story


def report(name: str, story: Story) -> None:
    figures = {
        "deploy_seconds": round(story.seconds, 1),
        "killed_in": story.kills,
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


def check(lab: Lab, story: Story, name: str) -> None:
    """Every job of a host is in the ledger once, the load was one, and the host is migrated."""
    check_each_ran_once(story, name)
    check_the_load(story, name)
    check_migrated(lab, name)


def stories(clean: Sequence[HostSpec], killed: Sequence[HostSpec]) -> pytest.MarkDecorator:
    """Run a test for each host of the fixtures `clean` and `killed`."""
    hosts = [("clean", spec.name) for spec in clean] + [("killed", spec.name) for spec in killed]
    return pytest.mark.parametrize(("story", "name"), hosts)


def check_each_ran_once(story: Story, name: str) -> None:
    """Every job of a host is in the ledger once, and every run of the deploy ended well."""
    for one in story.runs:
        one.check()
    end = story.outcomes[name]
    assert end.enqueued >= JOBS / 2
    assert (end.lost, end.twice, end.failed) == ([], [], [])
    assert end.run == end.enqueued
    assert story.left[name] == {}


def check_the_load(story: Story, name: str) -> None:
    """Both backends got jobs of every kind on every queue."""
    accepted = [one for one in story.sent[name] if one.backend]
    assert {one.job.queue for one in accepted if one.backend == "resque"} == set(QUEUES)
    assert {one.job.queue for one in accepted if one.backend == "simple"} == set(QUEUES)
    for kind in ("seconds", "spawned"):
        assert {one.job.queue for one in accepted if getattr(one.job, kind)} == set(QUEUES)


def check_migrated(lab: Lab, name: str) -> None:
    """The host's new workers run, its old ones do not, and MISP agrees."""
    host = lab[name]
    checks = [verify.check_worker_set(host), verify.check_old_service(host), verify.check_web(host)]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []
