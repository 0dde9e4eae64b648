"""Hosts that are refused by pyinfra's CLI; each reason is in tests/unit/checks/."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests import hosts
from tests.fake.answers import EXAMINE, SOURCES, converged, migrating
from tests.fake.conftest import Run

Pyinfra = Callable[..., Run]


def refused(pyinfra: Pyinfra, data: dict[str, Any], *flags: str) -> str:
    """What is printed of a host that is refused; nothing was sent that changes it."""
    run = pyinfra({"one": data}, *(flags or ("-y",)), "-vv")
    assert run.exit_code == 1, run.output
    assert "refused before any change" in run.output
    assert run.actions("one") == []
    return run.output


def test_every_problem_is_printed_with_its_number(pyinfra: Pyinfra) -> None:
    answers = migrating("debian", tree={"composer": ""}, system={"init": "bash"})
    for flags in (("-y",), ("--dry",)):
        output = refused(pyinfra, {"fake_responses": answers}, *flags)
        assert "  1. PID 1 is bash, but supervisor's service needs systemd" in output
        assert "  2. Composer is neither at" in output


def test_what_cannot_be_had_is_a_problem_as_any_other(pyinfra: Pyinfra) -> None:
    found = hosts.SOURCES._replace(problems=["supervisor cannot be installed"], late=["apt-get"])
    answers = {**migrating("debian", system={"init": "bash"}), SOURCES: hosts.answer(found)}
    output = refused(pyinfra, {"fake_responses": answers}, "--dry")
    assert "  1. PID 1 is bash" in output
    assert "  2. supervisor cannot be installed" in output
    assert "note: nobody knows yet whether all that is missing can be fetched (apt-get)" in output
    assert "packages that would be installed: supervisor 4.2.5-1" in output
    assert "PHP libraries that would be installed: guzzlehttp/guzzle 7.9.2" in output


def test_a_rollback_calls_no_host_unmigrated_whose_settings_it_could_not_read(
    pyinfra: Pyinfra,
) -> None:
    link = "config.php is a link"
    answers = migrating("debian", tree={"error": link}, settings={"error": link})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv", deploy="rollback.py")
    assert run.exit_code == 1
    assert f"  1. {link}" in run.output
    assert "nothing to put back" not in run.output


def test_a_note_refuses_nothing(pyinfra: Pyinfra) -> None:
    answers = migrating("debian", system={"memory_kb": 500_000})
    run = pyinfra({"one": {"fake_responses": answers}}, "--dry")
    assert (run.exit_code, "refused" in run.output) == (0, False)
    assert "note: the host has 488 MiB of memory free" in run.output


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([], "the host gave no answer"),
        ({"success": False, "stderr": "Killed"}, "the host gave no answer"),
        ([hosts.signed("[" * 100_000)], "the host's answer cannot be read"),
        (hosts.look(hosts.migrating(tree={"version": (2, 5, "1")})), "the answer to Tree is not"),
        (
            hosts.refusal("WebUserError", "config.php belongs to root"),
            "config.php belongs to root",
        ),
    ],
    ids=["none", "killed", "depth", "type", "error"],
)
def test_a_host_without_a_good_answer_ends_alone(
    pyinfra: Pyinfra, answer: object, problem: str
) -> None:
    liar = {"id -u": hosts.identity("debian"), EXAMINE: answer}
    found = {"liar": {"fake_responses": liar}, "well": {"fake_responses": converged("rhel")}}
    run = pyinfra(found, "-y", "-vv")
    assert run.exit_code == 1
    assert f"[@fake/liar]   1. {problem}" in run.output
    assert "@fake/well: done" in run.output
    assert "Traceback" not in run.output


def test_an_address_without_a_misp_is_refused_and_the_key_not_shown(pyinfra: Pyinfra) -> None:
    data = {
        "fake_responses": migrating("debian"),
        "misp_url": "https://127.0.0.1:1",
        "misp_api_key": {"env": "KEY"},
    }
    run = pyinfra({"one": data}, "-y", "-vvv", "--debug", KEY="k3" * 20)
    assert run.exit_code == 1
    assert "https://127.0.0.1:1/servers/getWorkers cannot be reached" in run.output
    assert run.actions("one") == []
    assert "k3" * 20 not in run.output


def test_a_misp_that_waits_for_its_redis_is_not_asked(pyinfra: Pyinfra) -> None:
    gone = {"error": "read error"}
    answers = migrating("debian", old_backend=gone, new_backend=gone)
    data = {"fake_responses": answers, "misp_url": "https://127.0.0.1:1"}
    run = pyinfra({"one": {**data, "misp_api_key": {"env": "KEY"}}}, "-y", KEY="k3" * 20)
    assert run.exit_code == 1
    assert "will have: read error" in run.output
    assert "https://127.0.0.1:1" not in run.output


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"misp_workers": {"default": 0}}, "default: must be 1 to 99, not 0"),
        ({"misp_workers": {"emial": 2}}, "did you mean email?"),
        ({"misp_wrokers": {}}, "did you mean 'misp_workers'?"),
        ({"supervisor_password": "hunter2hunter2"}, "a secret is given as a reference"),
        ({"supervisor_password": {"env": "NOT_SET"}}, "NOT_SET is not set"),
    ],
)
def test_bad_data_is_refused_before_the_host_is_asked(
    pyinfra: Pyinfra, data: dict[str, Any], message: str
) -> None:
    run = pyinfra({"one": {"fake_responses": migrating("debian"), **data}}, "-y", "-vv")
    assert run.exit_code == 1
    assert message in run.output
    assert run.commands == {}
    assert "hunter2" not in run.output


@pytest.mark.parametrize("password", ["short1", "a;" * 20, "ä" * 40])
def test_a_password_that_would_break_something_is_refused_and_not_shown(
    pyinfra: Pyinfra, password: str
) -> None:
    data = {"fake_responses": migrating("debian"), "supervisor_password": {"env": "PASSWORD"}}
    run = pyinfra({"one": data}, "-y", "-vvv", PASSWORD=password)
    assert run.exit_code == 1
    assert "supervisor_password: it " in run.output
    assert password not in run.output


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"success": False, "stderr": "sudo: a password is required"}, "no command runs as root"),
        (["user\t1000"], "the login is not root: set _sudo = True"),
        (
            ["user\t0", 'os-release\tPRETTY_NAME="Alpine"', "os-release\tID=alpine"],
            "Alpine (ID=alp",
        ),
        (hosts.identity("debian", "/usr/bin/python3 3.5"), "no Python 3.6 or newer"),
    ],
    ids=["no sudo", "no root", "system", "python"],
)
def test_a_host_that_cannot_be_worked_on_is_refused(
    pyinfra: Pyinfra, answer: object, message: str
) -> None:
    answers = {**migrating("debian"), "id -u": answer}
    assert message in refused(pyinfra, {"fake_responses": answers})
