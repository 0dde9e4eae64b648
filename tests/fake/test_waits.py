"""What a reader of a run's events learns of the steps that may take long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks.host.queues import RunningJob
from tests.fake.answers import draining, failing, migrating
from tests.fake.conftest import Run

Pyinfra = Callable[..., Run]


def waits_of(pyinfra: Pyinfra, answers: dict[str, Any]) -> tuple[Run, list[dict[str, Any]]]:
    """A run of one host, and its events of that kind; between two steps it waits for nobody."""
    data = {"fake_responses": answers, "drain_timeout": 3}
    run = pyinfra({"one": data}, "-y", "-vv")
    return run, [event for event in run.events if event["kind"] == "waits"]


def test_each_step_that_may_take_long_says_what_it_waits_for_and_how_long(
    pyinfra: Pyinfra,
) -> None:
    run, found = waits_of(pyinfra, migrating("debian"))
    assert run.exit_code == 0, run.output
    told = [(event["text"], event["limit"]) for event in found]
    assert told == [
        ("apt-get installs supervisor", 1800),
        ("Composer installs 5 PHP libraries", 900),
        ("supervisord starts", 3),
        ("MISP's command line stores 11 settings, one after the other", 3300),
        ("the web tier is reloaded, and ends requests that know the old settings", 300),
        ("supervisord starts 21 workers; any that run end first", 3),
        ("each worker has to live for 6 s without a restart", 96),
        ("a test job passes through each of 5 queues", 180),
        ("each worker has to live for 8 s without a restart", 98),
        ("the old backend is quiet, and has to stay so", 3),
        ("the old workers end, each after its job", 3),
    ]


def test_a_way_back_says_so(pyinfra: Pyinfra) -> None:
    _, found = waits_of(pyinfra, failing(migrating("debian"), "proof.prove"))
    assert found[-1]["text"] == "the host goes back to its old workers"


def test_the_drain_names_its_jobs_in_lines_and_at_each_look(pyinfra: Pyinfra) -> None:
    job = RunningJob(4711, "prio", "ServerShell pull", 725)
    old = {"waiting": {"default": 3}, "running": 1, "jobs": (job,)}
    run, found = waits_of(pyinfra, draining(migrating("debian"), {"old_backend": old}))
    assert run.exit_code == 1
    words = "3 waiting in default, 1 running (ServerShell pull, PID 4711, prio, 12 min)"
    assert f"drain: {words}; 0 s of 3 s gone" in run.output
    assert [event["text"] for event in found[-3:]] == [words] * 3
    assert 2 <= found[-1]["elapsed"] < 3
    assert f"drain limit of 3 s reached with {words}" in run.output
