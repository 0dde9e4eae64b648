"""Plans of fake hosts: told, shown, approved, and held to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.host.preview import Preview
from tasks.plan import document, forecast
from tasks.plan.document import Document
from tests import hosts
from tests.fake.answers import GROUP_FILE, Answers, converged, first, migrating
from tests.fake.conftest import Run

Pyinfra = Callable[..., Run]
Data = dict[str, dict[str, Any]]
NEW = [
    forecast.PACKAGES,
    forecast.LIBRARIES,
    forecast.RPC,
    forecast.SETTINGS,
    forecast.WORKERS,
    forecast.PROOF,
    forecast.DRAIN,
    forecast.RETIRE,
]


def with_group_file(answers: Answers, **changes: Any) -> Answers:
    found = Preview({"workers": [GROUP_FILE._replace(**changes)]}, {}, [])
    return first({"preview.deploy": hosts.answer(found)}, answers)


@pytest.fixture
def planned(pyinfra: Pyinfra) -> Callable[..., dict[str, Document]]:
    """The plans that a dry run tells of these hosts."""

    def plan(found: Data, *, deploy: str = "deploy.py") -> dict[str, Document]:
        run = pyinfra(found, "--dry", "--json", "-vv", deploy=deploy)
        assert run.exit_code == 0, run.output
        for host in found:
            assert run.actions(host) == []
        plans = [Document(**one["plan"]) for one in run.events if one["kind"] == "plan"]
        return {plan.host.removeprefix("@fake/"): plan for plan in plans}

    return plan


def test_a_dry_run_tells_each_hosts_plan(planned: Callable[..., dict[str, Document]]) -> None:
    found = {
        "new": {"fake_responses": migrating("debian")},
        "done": {"fake_responses": converged("rhel")},
    }
    plans = planned(found)
    assert [step.step for step in plans["new"].steps] == [step.title for step in NEW]
    assert plans["done"].steps == []
    offered = {one.name: one.after for step in plans["new"].steps[:2] for one in step.changes}
    assert offered.items() >= (hosts.SOURCES.packages | hosts.SOURCES.libraries).items()
    workers = plans["new"].steps[4].changes
    assert (workers[0].name, workers[0].diff) == (GROUP_FILE.path, GROUP_FILE.diff)
    assert "workers prio: 5 running" in {f"{one.name}: {one.after}" for one in workers}


def test_a_plan_takes_one_round_trip_more_and_none_where_nothing_changes(
    pyinfra: Pyinfra,
) -> None:
    found = {
        "new": {"fake_responses": migrating("debian")},
        "done": {"fake_responses": converged("debian")},
        "unproven": {"fake_responses": converged("debian", proof={"proven": ""})},
    }
    run = pyinfra(found, "--dry", "-vv")
    calls = {name: [call.split()[0] for call in run.calls(name)] for name in found}
    look = "look.take"
    new = [look, "sources.look", "preview.deploy"]  # it lacks packages, so these are tried
    assert calls == {"new": new, "done": [look], "unproven": [look]}


@pytest.mark.parametrize("deploy", ["deploy.py", "rollback.py"])
def test_a_diff_is_printed_where_it_is_asked_for(pyinfra: Pyinfra, deploy: str) -> None:
    answers = migrating("debian") if deploy == "deploy.py" else converged("debian")
    found = {"one": {"fake_responses": answers}}
    run = pyinfra(found, "--dry", "--diff", deploy=deploy)
    assert run.exit_code == 0, run.output
    assert ("[@fake/one]       +[group:misp-workers]" in run.output) is (deploy == "deploy.py")
    assert "(at most" in run.output
    assert "(at most" not in pyinfra(found, "--dry", deploy=deploy).output


def test_what_was_approved_is_done_and_nothing_else(
    pyinfra: Pyinfra, planned: Callable[..., dict[str, Document]], tmp_path: Path
) -> None:
    new = migrating("debian")
    others = ["same", "half", "data", "file", "more", "done"]
    plans = planned({name: {"fake_responses": new} for name in others})
    path = tmp_path / "plan.json"
    document.save(path, {one.host: one for one in plans.values()}, "hosts.py")
    half = migrating(
        "debian", packages={"installed": {"supervisor": "4"}}, libraries={"missing": []}
    )
    found: Data = {
        "same": {"fake_responses": new},
        "half": {"fake_responses": half},
        "done": {"fake_responses": converged("debian")},
        "data": {"fake_responses": new, "supervisor_port": 9009},
        "file": {"fake_responses": with_group_file(new, before="b" * 64)},
        "more": {"fake_responses": migrating("debian", packages={"is_masked": True})},
        "else": {"fake_responses": new},
    }
    run = pyinfra(found, "-y", "-vv", "--data", f"approved_plan={path}")
    assert run.exit_code == 1
    goes_on = [name for name in found if run.actions(name)]
    assert goes_on == ["same", "half", "more"]
    assert "@fake/done: done, no operations changed" in run.output
    refusals = {
        "data": "since the plan was approved, data supervisor_port has changed",
        "file": f"since the plan was approved, {GROUP_FILE.path} is another (it was nothing, it is "
        "bbbbbbbbbbbb): make a new plan and approve that",
        "else": "the approved plan does not have this host",
    }
    for name, words in refusals.items():
        assert f"[@fake/{name}] refused before any change:" in run.output
        assert f"[@fake/{name}]   1. {words}" in run.output, run.output


def test_a_file_that_is_no_plan_refuses_the_host(pyinfra: Pyinfra, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"format": 1, "made": "now", "inventory": "x", "documents": {"one": {}}}')
    answers = {"fake_responses": migrating("debian")}
    run = pyinfra({"one": answers}, "-y", "-vv", "--data", f"approved_plan={path}")
    assert run.exit_code == 1
    assert f"1. {path} is no plan of this version: documents.one.host: Field required" in run.output
    assert run.actions("one") == []
