"""The proof: what it holds for, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import bridge, complaints, files, proof, proof_jobs, workers
from tasks.host.done import ProofJob
from tasks.host.misp import Misp
from tasks.host.proof import ProofError
from tasks.host.proof_jobs import Outcome
from tasks.host.site import Desired, Site
from tasks.host.workers import WorkersError
from tests.unit.host.fake_misp import FakeMisp

CODE = (Path(bridge.__file__).with_suffix(".php")).read_text()
BLOCK = {"enabled": True, "redis_host": "h", "redis_password": "p", "supervisor_port": 1}


@pytest.fixture
def site(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(bridge, "CODE", CODE)
    monkeypatch.setattr(complaints.Logs, "say", lambda _, *names: f". The logs: {names}")
    (misp.folder / "conf.d").mkdir()
    (misp.folder / "conf.d/misp-workers.conf").write_text("[group:misp-workers]\n")
    misp.configure(BLOCK)
    return misp.site()


def evidence(site: Site) -> str:
    with Misp(site, Desired()) as one:
        return proof.evidence(one)


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What goes wrong with further test jobs; afterwards how they were asked for."""
    found: list[Any] = []

    def prove(_new: Any, queues: dict[str, int], *rest: Any) -> dict[str, Outcome]:
        found[:0] = [rest]
        problems = {**dict.fromkeys(queues, ""), **dict(found[1:])}
        return {name: Outcome(why, ProofJob(name, "id", 9, 0.5)) for name, why in problems.items()}

    monkeypatch.setattr(proof_jobs, "prove", prove)
    yield found


def test_the_evidence_is_the_same_while_nothing_changes(misp: FakeMisp, site: Site) -> None:
    first = evidence(site)
    assert len(first) == 64
    misp.configure({**BLOCK, "supervisor_port": 2}, org="another")
    assert evidence(site) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.configure({**BLOCK, "enabled": False}),
        lambda one: one.configure({**BLOCK, "redis_host": "other"}),
        lambda one: one.configure({**BLOCK, "redis_password": "other"}),
        lambda one: (one.root / "VERSION.json").write_text("{}"),
        lambda one: (one.folder / "conf.d/misp-workers.conf").write_text("[other]"),
    ],
)
def test_the_evidence_is_another_once_the_proof_may_not_hold(
    misp: FakeMisp, site: Site, change: Callable[[FakeMisp], object]
) -> None:
    first = evidence(site)
    change(misp)
    assert evidence(site) not in (first, "")


def test_without_a_configuration_there_is_no_evidence(misp: FakeMisp, site: Site) -> None:
    misp.config("exit;")
    assert evidence(site) == ""


def test_a_proof_is_recorded_once_the_workers_have_stayed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(workers, "wait_until_stable", lambda _, seconds: waits.append(seconds))
    assert proof.record(site, Desired(), 5) == []
    assert waits == [5]
    with Misp(site, Desired()) as one:
        found = proof.look(one)
    assert found.proven == found.evidence != ""
    assert files.mode_of(site.state_dir + "/proven") == "0:0 600"


def test_workers_that_do_not_stay_prove_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unstable(*_: Any) -> None:
        raise WorkersError("they crash")

    monkeypatch.setattr(workers, "wait_until_stable", unstable)
    with pytest.raises(WorkersError):
        proof.record(site, Desired(), 5)
    with Misp(site, Desired()) as one:
        assert proof.look(one).proven == ""


def test_each_queue_gets_a_job_and_an_older_proof_counts_no_more(
    misp: FakeMisp, site: Site, outcomes: list[Any]
) -> None:
    (misp.folder / "state").mkdir(0o700)
    files.write(site.state_dir + "/proven", b"older")
    done = proof.prove(site._replace(drain_timeout=7), Desired(), {"prio": 5, "email": 1}, 3)
    assert done.lines == ["prio: completed", "email: completed"]
    assert done.proof == tuple(ProofJob(name, "id", 9, 0.5) for name in ("prio", "email"))
    assert not Path(site.state_dir, "proven").exists()
    limits, marks, _clock = outcomes[0]
    assert (limits, marks) == (proof_jobs.Limits(3, 7), True)


def test_a_job_that_does_not_come_through_is_named_with_the_logs(
    site: Site, outcomes: list[Any]
) -> None:
    failure = "failed: Error: it breaks\n#0 /var/www/MISP/app/a.php(3): b()\n#1 {main}"
    outcomes.extend([("cache", failure), ("email", failure), ("update", "not done after 3 s")])
    with pytest.raises(ProofError) as caught:
        proof.prove(site, Desired(), {"prio": 1}, 3)
    words = str(caught.value)
    assert words == (
        "a test job did not come through: failed: Error: it breaks (cache, email); not done after "
        "3 s (update). The logs: (['cache', 'email', 'update'], ['Error: it breaks', 'Error: it "
        "breaks', '']). Correct that, then run again. `setsid -w runuser -u www-data -- "
        f"{site.app}/Console/cake Admin redisReady </dev/null 2>&1 | cat -v` does what such a job "
        "does; the whole logs are in /var/log/misp-workers"
    )
    assert caught.value.details == [failure, failure, "not done after 3 s"]


@pytest.mark.parametrize(
    ("version", "marks"),
    [
        ('{"major":2, "minor":4, "hotfix":183}', False),
        ('{"major":2, "minor":4, "hotfix":184}', True),
        ('{"major":2, "minor":5, "hotfix":0}', True),
        ("{", False),
        ("", False),
    ],
)
def test_which_misps_mark_a_running_job(
    misp: FakeMisp, site: Site, version: str, marks: bool
) -> None:
    (misp.root / "VERSION.json").write_text(version)
    with Misp(site, Desired()) as one:
        assert proof._marks_running_jobs(one) is marks
