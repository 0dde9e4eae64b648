"""Which steps a run will take, on hosts that are new, done, and changed by hand since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.plan import forecast
from tasks.target import Target
from tests import hosts
from tests.unit.plan.plans import asking
from tests.unit.test_layers import ROOT

GONE = hosts.running()[1:]
STOPPED = [hosts.worker("misp-workers:cache_00", "STOPPED"), *GONE]
BY_HAND = [*hosts.running(), hosts.worker("misp-workers:cache_05")]
NO_VIEW = hosts.get_workers(supervisord_status=False)
UNIT = hosts.converged()["supervisor"].unit
STOPPED_DAEMON: dict[str, Any] = {
    "supervisor": {
        "unit": UNIT._replace(active="inactive", main_pid=0),
        "workers": [],
        "is_listening": False,
        "listeners": [],
    },
    "rpc": {"answer": "supervisord does not run"},
    "view": {"workers": NO_VIEW},
}
OFF = {"block": hosts.BLOCK | {"enabled": False}}
PROVE = ["Workers", "Proof"]
DRIFT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a worker was stopped": ({"supervisor": {"workers": STOPPED}}, PROVE),
    "the file has another count": (
        {
            "workers": {"digest": "x"},
            "supervisor": {"workers": BY_HAND},
            "proof": {"evidence": "x"},
        },
        PROVE,
    ),
    "only the group's text is another": ({"workers": {"digest": "x", "applied": "x"}}, PROVE),
    "the file is gone": ({"workers": {"digest": ""}, "proof": {"evidence": "x"}}, PROVE),
    "its logs' folder is gone": ({"workers": {"has_log_dir": False}}, PROVE),
    "supervisord was stopped": (STOPPED_DAEMON, ["supervisord"]),
    "supervisord was stopped and the file is gone": (
        STOPPED_DAEMON | {"workers": {"digest": ""}, "proof": {"evidence": "x"}},
        ["supervisord", *PROVE],
    ),
    "supervisord was stopped with the logs' folder": (
        STOPPED_DAEMON | {"workers": {"has_log_dir": False}},
        ["supervisord"],
    ),
    "it does not start at boot": (
        {"supervisor": {"unit": UNIT._replace(enabled="disabled")}},
        ["supervisord"],
    ),
    "libraries were removed": (
        {"libraries": {"missing": ["fXmlRpc\\Client"]}, "view": {"workers": NO_VIEW}},
        ["PHP libraries"],
    ),
    "the new backend was turned off": (
        {"settings": OFF, "proof": {"evidence": "x"}},
        ["MISP", "Proof"],
    ),
    "it was turned off and supervisord stopped": (
        STOPPED_DAEMON | {"settings": OFF, "proof": {"evidence": "x"}},
        ["supervisord", "MISP", *PROVE],
    ),
    "another setting": (
        {"settings": {"block": hosts.BLOCK | {"max_job_history_ttl": 60}}},
        ["MISP"],
    ),
    "MISP sees another set": ({"view": {"workers": NO_VIEW}}, ["Proof"]),
    "MISP was updated": ({"proof": {"evidence": "x"}}, ["Proof"]),
    "a step was cut off": ({"new_backend": {"aside": 2}}, ["Workers"]),
    "dead workers are entered": ({"old_backend": {"stale": 2}}, ["Retire"]),
}


def titles(found: hosts.Parts, target: Target | None = None) -> list[str]:
    target = target or hosts.target()
    target = replace(target, is_on=found["settings"].is_on)
    steps = forecast.foreseen(forecast.DEPLOY, target, asking(found))
    assert all(one.reasons for one in steps)
    return [one.step.title.partition(":")[0] for one in steps]


def test_a_new_host_takes_all_steps_but_those_of_others() -> None:
    every = [step.title.partition(":")[0] for step in forecast.DEPLOY]
    assert titles(hosts.migrating()) == [
        one for one in every if one not in ("SELinux", "Scheduled tasks")
    ]


def test_a_host_that_is_done_takes_none() -> None:
    assert titles(hosts.converged()) == []
    assert titles(hosts.converged("rhel"), hosts.target("rhel")) == []


@pytest.mark.parametrize(("changes", "steps"), DRIFT.values(), ids=DRIFT.keys())
def test_what_was_changed_by_hand_is_put_back(changes: dict[str, Any], steps: list[str]) -> None:
    assert titles(hosts.converged("debian", **changes)) == steps


def test_other_data_takes_the_steps_that_it_is_for() -> None:
    more = hosts.target(misp_workers={"cache": 7})
    assert titles(hosts.converged(), more) == PROVE
    rotated = hosts.target(rotate_password=True)
    assert titles(hosts.converged(), rotated) == ["supervisord", "MISP"]


def test_selinux_takes_its_step_only_where_it_is_on() -> None:
    loads = replace(hosts.target("rhel"), selinux="load")
    assert titles(hosts.converged("rhel"), loads) == ["Packages", "SELinux"]


def test_a_step_is_seen_by_what_the_ones_before_it_leave() -> None:
    found = hosts.converged("debian", **STOPPED_DAEMON)
    target = replace(hosts.target(rotate_password=True), is_on=True)
    rpc, settings = forecast.foreseen(forecast.DEPLOY, target, asking(found))
    assert rpc.ask(type(found["rpc"])).answer == "supervisord does not run"
    assert settings.ask(type(found["rpc"])).answer == "ok"


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, ["MISP", "New queues", "RPC, libraries, SELinux"]),
        ({"settings": OFF}, ["Old workers", "New queues", "RPC, libraries, SELinux"]),
        ({"settings": OFF, "originals": {"is_kept": False, "units_before": []}}, []),
    ],
)
def test_the_way_back_starts_the_old_workers_once(
    changes: dict[str, Any], steps: list[str]
) -> None:
    ask = asking(hosts.converged("debian", **changes))
    found = forecast.foreseen(forecast.ROLLBACK, hosts.target(), ask)
    assert [one.step.title.partition(":")[0] for one in found] == steps


@pytest.mark.parametrize(
    ("script", "steps"), [("deploy.py", forecast.DEPLOY), ("rollback.py", forecast.ROLLBACK)]
)
def test_a_step_is_named_as_the_script_names_it(
    script: str, steps: tuple[forecast.Step, ...]
) -> None:
    text = (ROOT / script).read_text(encoding="utf-8")
    places = [text.index(f'name="{step.title}"') for step in steps]
    assert places == sorted(places)
    assert text.count("name=") == len(steps)


@pytest.mark.parametrize("leftovers", ["stop", "wait", "convert"])
def test_no_step_goes_on_for_ever(leftovers: str) -> None:
    target = hosts.target(on_leftover_jobs=leftovers, drain_timeout=600)
    limits = [step.limit(target) for step in (*forecast.DEPLOY, *forecast.ROLLBACK)]
    assert all(0 < limit <= 86_400 for limit in limits)
    assert forecast.DRAIN.limit(target) == {"stop": 600, "wait": 86_400, "convert": 1200}[leftovers]
