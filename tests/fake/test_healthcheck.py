"""healthcheck.py, run by pyinfra's CLI: what it does on which hosts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.checks.seen import SeenForStatus
from tasks.identity import with_answers
from tasks.report import record
from tests import hosts
from tests.fake.answers import EXAMINE_FOR_STATUS, Answers
from tests.fake.conftest import Run
from tests.hosts import Parts, converged, migrating

Pyinfra = Callable[..., Run]
SAYS = "/usr/local/sbin/misp-workers-check says: MISP WORKERS OK"


def answers(found: Parts) -> Answers:
    return {
        "id -u": hosts.identity("debian"),
        EXAMINE_FOR_STATUS: hosts.look(found),
        "healthcheck.install": hosts.answer([SAYS]),
    }


def there(text: str) -> Parts:
    return converged(health_check={"digest": hashlib.sha256(text.encode()).hexdigest()})


def current() -> str:
    """The text that a host of the samples is to have."""
    seen = hosts.seen(SeenForStatus, converged())
    return with_answers(hosts.target(), seen).health_check(seen.supervisor.unix_socket)


def left(pyinfra: Pyinfra, found: Parts, *flags: str) -> Run:
    return pyinfra(
        {"one": {"fake_responses": answers(found)}},
        *(flags or ("-y",)),
        "-vv",
        deploy="healthcheck.py",
    )


@pytest.mark.parametrize("found", [converged(), there("an older one")], ids=["none", "older"])
def test_it_is_left_on_a_migrated_host_and_says_how_that_is(
    pyinfra: Pyinfra, tmp_path: Path, found: Parts
) -> None:
    run = left(pyinfra, found)
    assert run.exit_code == 0, run.output
    assert run.actions("one") == ["healthcheck.install"]
    assert SAYS in run.output
    (directory,) = (tmp_path / "runs").iterdir()
    (report,) = record.read(directory)
    assert (report.deploy, report.outcome, len(report.changed)) == ("healthcheck", record.DONE, 1)


def test_a_second_run_and_a_dry_one_change_nothing(pyinfra: Pyinfra) -> None:
    assert left(pyinfra, there(current())).actions("one") == []
    dry = left(pyinfra, converged(), "--dry")
    assert (dry.exit_code, dry.actions("one")) == (0, [])


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (
            migrating(),
            "is for a migrated host, and the state of this one is old: run misp-workers status",
        ),
        (converged(proof={"proven": ""}), "and the state of this one is mixed"),
        (converged(supervisor={"unix_socket": ""}), "has no [unix_http_server], by which root"),
        (converged(system={"busy": "ann@desk has been at work"}), "ann@desk has been at work"),
    ],
)
def test_where_it_could_not_tell_anything_it_is_refused(
    pyinfra: Pyinfra, found: Parts, reason: str
) -> None:
    run = left(pyinfra, found)
    assert run.exit_code == 1
    assert "refused before any change" in run.output
    assert reason in run.output
    assert run.actions("one") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "health check: none"),
        (None, "health check: current"),
        (
            "older",
            "health check: outdated, of another version or for another setup: run misp-workers",
        ),
    ],
)
def test_status_says_whether_it_is_there(pyinfra: Pyinfra, text: str | None, words: str) -> None:
    found = there(current() if text is None else text) if text != "" else converged()
    run = pyinfra({"one": {"fake_responses": answers(found)}}, "--dry", deploy="status.py")
    assert run.exit_code == 0, run.output
    assert words in run.output
