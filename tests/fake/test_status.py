"""status.py, run by pyinfra's CLI; each fault is in tests/unit/checks/test_faults.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.report.status import Status, read
from tests import hosts
from tests.fake.answers import EXAMINE_FOR_STATUS, Answers
from tests.fake.conftest import Run

Pyinfra = Callable[..., Run]


def host(found: hosts.Parts) -> Answers:
    return {"id -u": hosts.identity("debian"), EXAMINE_FOR_STATUS: hosts.look(found)}


WELL = host(hosts.converged(new_backend={"waiting": {"prio": 3, "email": 0}}))
SICK = host(hosts.converged(supervisor={"workers": hosts.running()[1:]}))


def seen(pyinfra: Pyinfra, answers: Answers, *flags: str, **data: Any) -> Run:
    run = pyinfra(
        {"one": {"fake_responses": answers, **data}}, *(flags or ("--dry",)), deploy="status.py"
    )
    assert run.actions("one") == []
    return run


def told(run: Run) -> dict[str, Status]:
    """The documents that the process which started the run gets."""
    return {one["host"]: read(one["status"]) for one in run.events if one["kind"] == "status"}


def test_a_migrated_host_is_healthy_and_described(pyinfra: Pyinfra) -> None:
    run = seen(pyinfra, WELL, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert "MISP 2.5.1, new backend on" in run.output
    assert "new queues: 3 waiting in prio, 0 running" in run.output
    assert "healthy" in run.output
    assert len(run.commands["one"]) == 2


def test_a_host_before_its_migration_is_healthy(pyinfra: Pyinfra) -> None:
    run = seen(pyinfra, host(hosts.migrating()))
    assert run.exit_code == 0, run.output
    assert "state: old" in run.output
    assert "new backend off" in run.output


def test_a_rollback_that_nobody_expects_is_a_fault(pyinfra: Pyinfra) -> None:
    expected = {"fake_responses": WELL, "expect": "migrated"}
    rolled_back = {"fake_responses": host(hosts.migrating()), "expect": "migrated"}
    run = pyinfra({"good": expected, "back": rolled_back}, "--dry", "--json", deploy="status.py")
    assert run.exit_code == 1
    assert (
        "the host is on its old workers, but expect says migrated: run misp-workers apply"
        in run.output
    )
    found = {name.removeprefix("@fake/"): one for name, one in told(run).items()}
    assert {name: (one.state, len(one.faults)) for name, one in found.items()} == {
        "good": ("migrated", 0),
        "back": ("old", 1),
    }


SECRETS = {
    "misp_redis_password": "r3" * 20,
    "misp_api_key": "k3" * 20,
    "supervisor_password": "s3" * 20,
}


def test_no_document_has_a_secret_though_the_host_repeats_all_it_was_given(
    pyinfra: Pyinfra,
) -> None:
    said = " ".join([*SECRETS.values(), "r3" * 20])
    lying = hosts.converged(
        new_backend={"error": said},
        php={"version_text": said},
        run_state={"last_run": said, "has_state": True},
        system={"busy": said},
        supervisor={"workers": [hosts.worker(f"misp-workers:{said}")]},
    )
    data = {key: {"env": key.upper()} for key in SECRETS}
    run = pyinfra(
        {"one": {"fake_responses": host(lying), **data, "misp_url": "https://127.0.0.1:1"}},
        *("--dry", "--json"),
        deploy="status.py",
        **{key.upper(): value for key, value in SECRETS.items()},
    )
    (document,) = [one for one in run.events if one["kind"] == "status"]
    assert document["status"]["versions"]["php"] == " ".join(["***"] * 4)
    everything = json.dumps(run.events) + run.output
    assert [name for name, secret in SECRETS.items() if secret in everything] == []


def test_it_leaves_no_report(pyinfra: Pyinfra, tmp_path: Path) -> None:
    seen(pyinfra, WELL, "-y")
    assert not (tmp_path / "runs").exists()


def test_a_fault_is_printed_and_ends_with_status_1(pyinfra: Pyinfra) -> None:
    run = seen(pyinfra, SICK)
    assert run.exit_code == 1
    assert "[@fake/one] 1 fault:" in run.output
    assert "[@fake/one]   1. misp-workers:cache_00 is missing: run the deploy again" in run.output
    assert "healthy" not in run.output


def test_misps_web_view_counts_when_there_is_a_url(pyinfra: Pyinfra) -> None:
    data = {"misp_url": "https://127.0.0.1:1", "misp_api_key": {"env": "KEY"}}
    run = pyinfra(
        {"one": {"fake_responses": WELL, **data}}, "--dry", deploy="status.py", KEY="k3" * 20
    )
    assert run.exit_code == 1
    assert "https://127.0.0.1:1/servers/getWorkers cannot be reached" in run.output
    assert "k3" * 20 not in run.output


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ([], "the host gave no answer"),
        (["misp-workers 00 {}"], "the host's answer is not whole"),
        ([hosts.signed('{"value": ' + "[" * 100_000)], "the host's answer cannot be read"),
        (
            [hosts.signed('{"value": {"System": {"init": 1e999}}}')],
            "the answer to System is not",
        ),
        (hosts.answer({}), "the host's answer lacks System"),
        (
            hosts.look(hosts.converged(tree={"version": ("2", 5, 1)})),
            "the answer to Tree is not what is due (version.0)",
        ),
        (hosts.refusal("WebUserError", "config.php belongs to root"), "config.php belongs to root"),
        (hosts.refusal("WebUserError", "\x1b[2Jgone"), " [2Jgone"),
    ],
    ids=["none", "half", "depth", "infinity", "empty", "type", "error", "escape"],
)
def test_one_sick_or_lying_host_hides_no_other(
    pyinfra: Pyinfra, answer: list[str], fault: str
) -> None:
    found = {
        "sick": {"fake_responses": SICK},
        "liar": {"fake_responses": {"id -u": hosts.identity("debian"), "look.take": answer}},
        "well": {"fake_responses": WELL},
        "odd": {"fake_responses": WELL, "misp_wrokers": {}},
    }
    run = pyinfra(found, "-y", deploy="status.py")
    assert run.exit_code == 1
    assert "[@fake/well] healthy" in run.output
    assert "[@fake/sick]   1. misp-workers:cache_00 is missing" in run.output
    assert f"[@fake/liar]   1. {fault}" in run.output
    assert "did you mean 'misp_workers'?" in run.output
    assert "Traceback" not in run.output
    assert {one.state for name, one in told(run).items() if "liar" in name} == {"unknown"}
    assert len(told(run)) == 4
