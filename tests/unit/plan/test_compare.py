"""A plan that was approved holds as long as what is left of it is what was approved."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.host.diffs import LATER
from tasks.plan.compare import problems
from tasks.plan.document import Document
from tests import hosts
from tests.fake.answers import GROUP_FILE
from tests.unit.plan.plans import plan

RPC_FILE = GROUP_FILE._replace(path="/etc/rpc", after=LATER)
HELD = GROUP_FILE._replace(before="h", after="")
NEW: dict[str, Any] = {"files": {"workers": [GROUP_FILE], "rpc": [RPC_FILE]}}
GROUND = {"MISP's version": "2.5.1", "data misp_workers": '{"cache": 2}'}
# The parts that each step of a migration has changed when it is through.
STEPS = [
    ["packages"],
    ["libraries"],
    ["supervisor", "rpc"],
    ["settings"],
    ["workers", "view"],
    ["proof"],
    ["old_workers"],
]


def approved(**changes: Any) -> dict[str, Document]:
    found = plan(hosts.migrating(), **{**NEW, "rests_on": GROUND, **changes})
    return {found.host: found}


def after(number: int) -> hosts.Parts:
    """The host when so many steps are through."""
    before, done = hosts.migrating(), hosts.converged()
    through = {name for names in STEPS[:number] for name in names}
    return {name: done[name] if name in through else part for name, part in before.items()}


@pytest.mark.parametrize("number", range(len(STEPS) + 1))
def test_a_run_that_ended_after_any_step_is_repeated_with_the_same_plan(number: int) -> None:
    now = plan(after(number), **NEW, rests_on=GROUND)
    assert problems(approved(), now) == []
    assert bool(now.steps) is (number < len(STEPS))


def test_a_step_that_ended_half_way_leaves_less_of_the_same() -> None:
    block = {"redis_host": hosts.BLOCK["redis_host"]}
    found = hosts.migrating(
        settings={"block": block},
        supervisor={"workers": hosts.running()[:7]},
        old_workers={"units": [hosts.OLD_UNIT._replace(active="inactive")]},
    )
    assert problems(approved(), plan(found, **NEW, rests_on=GROUND)) == []


def test_what_is_decided_on_the_host_may_be_decided_by_now() -> None:
    files = {**NEW["files"], "rpc": [RPC_FILE._replace(after="f" * 64)]}
    assert problems(approved(), plan(hosts.migrating(), files=files, rests_on=GROUND)) == []
    known = approved(files=files)
    assert problems(known, plan(hosts.migrating(), **NEW, rests_on=GROUND)) == [
        "since the plan was approved, /etc/rpc is to become another (it was ffffffffffff, it is "
        "decided on the host): make a new plan and approve that"
    ]


def test_a_file_that_an_earlier_step_of_the_plan_removes_may_be_gone() -> None:
    held = {"rpc": [HELD], "workers": [GROUP_FILE._replace(before="h")]}
    now = plan(hosts.migrating(), **NEW, rests_on=GROUND)
    gone = now.model_copy(update={"steps": now.steps[-4:]})
    assert problems(approved(files=held), gone) == []


@pytest.mark.parametrize(
    ("parts", "shown", "data", "what"),
    [
        ({}, {"files": {"workers": [GROUP_FILE._replace(before="x")]}}, {}, "misp-workers.conf is"),
        ({}, {"files": {"workers": [GROUP_FILE._replace(after="x")]}}, {}, "is to become another"),
        ({}, {"packages": {"supervisor": "9"}}, {}, "package supervisor is to become another"),
        (
            {"settings": {"block": {"redis_port": 1}}},
            {},
            {},
            'setting SimpleBackgroundJobs.redis_port is another (it was not set, it is "1")',
        ),
        ({}, {}, {"misp_workers": {"cache": 3}}, "process workers cache is to become another"),
        (
            {"old_workers": {"units": [hosts.OLD_UNIT._replace(name="other.service")]}},
            {},
            {},
            "unit other.service is to be changed as well",
        ),
        ({}, {"rests_on": {**GROUND, "MISP's version": "2.5.2"}}, {}, "it was 2.5.1, it is 2.5.2"),
        ({}, {"rests_on": {"MISP's version": "2.5.1"}}, {}, "data misp_workers has changed"),
        ({}, {"rests_on": {**GROUND, "data epel": "false"}}, {}, "data epel has changed"),
    ],
)
def test_what_is_another_is_named(
    parts: dict[str, Any], shown: dict[str, Any], data: dict[str, Any], what: str
) -> None:
    target = hosts.target(**data)
    now = plan(hosts.migrating("debian", **parts), target, **{**NEW, "rests_on": GROUND, **shown})
    found = problems(approved(), now)
    assert found, now
    assert any(what.replace('"1"', "1") in one for one in found), found
    assert all(one.startswith("since the plan was approved, ") for one in found)


def test_a_library_of_composers_approves_no_package_of_the_systems() -> None:
    """The web user's Composer says what its libraries are called."""
    missing = hosts.migrating("debian")
    has_package = hosts.migrating(
        "debian", packages=hosts.converged("debian")["packages"]._asdict()
    )
    known = plan(has_package, libraries={"supervisor": "9"})
    (problem,) = problems({"misp1": known}, plan(missing, packages={"supervisor": "9"}))
    assert "package supervisor is to be changed as well" in problem


def test_what_changes_by_itself_is_no_other_plan() -> None:
    busy = {"waiting": {"prio": 900}, "running": 4}
    processes = [hosts.migrating()["old_workers"].processes[0]._replace(pid=4711)]
    found = hosts.migrating(old_backend=busy, old_workers={"processes": processes})
    now = plan(found, **NEW, rests_on={**GROUND, "supervisor's version": "4.2.5"})
    assert problems(approved(), now) == []


def test_a_step_that_has_volatile_changes_alone_is_not_approved_by_that() -> None:
    done = hosts.converged("debian", libraries={"missing": ["x"]})
    known = {"misp1": plan(done)}
    aside = hosts.converged("debian", new_backend={"aside": 1})
    (problem,) = problems(known, plan(aside))
    assert "the step 'Workers: the group, exactly its processes' has something to do" in problem


def test_a_host_that_is_done_or_unknown() -> None:
    done = plan(hosts.converged(), rests_on={"MISP's version": "3"})
    assert problems({}, done) == []
    assert problems({}, plan(hosts.migrating())) == [
        "the approved plan does not have this host: make a new plan and approve that"
    ]


def test_a_plan_for_the_way_back_is_none_for_a_migration() -> None:
    back = plan(hosts.converged(), deploy="rollback")
    assert problems({"misp1": back}, plan(hosts.migrating())) == [
        "the approved plan is for rollback.py, and this is deploy.py"
    ]


def test_a_way_back_that_was_cut_off_goes_on_with_its_plan() -> None:
    now = [hosts.OLD_UNIT._replace(active="inactive", enabled="disabled")]
    originals = {"units_before": [hosts.OLD_UNIT], "units_now": now}
    whole = plan(hosts.converged("debian", originals=originals), deploy="rollback")
    off = {"block": hosts.BLOCK | {"enabled": False}}
    half = hosts.converged("debian", originals=originals, settings=off)
    left = plan(half, deploy="rollback")
    assert left.steps[0].step.startswith("Old workers")
    assert problems({"misp1": whole}, left) == []


def test_a_digest_is_short_in_a_sentence() -> None:
    known = approved(files={"workers": [GROUP_FILE._replace(before="b" * 64)]})
    now = plan(hosts.migrating(), files={"workers": [GROUP_FILE._replace(before="c" * 64)]})
    (problem,) = problems(known, now.model_copy(update={"rests_on": GROUND}))
    assert "(it was bbbbbbbbbbbb, it is cccccccccccc)" in problem
