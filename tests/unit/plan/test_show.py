"""Plans as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.host.diffs import LATER
from tasks.plan import show
from tests import hosts
from tests.fake.answers import GROUP_FILE
from tests.unit.plan.plans import plan

FILES = {"workers": [GROUP_FILE], "rpc": [GROUP_FILE._replace(path="/etc/rpc", after=LATER)]}


def new(name: str = "misp1", files: Any = FILES, **changes: Any) -> Any:
    return plan(hosts.migrating("debian", **changes), name=name, files=files)


def lines(plans: Any, **how: bool) -> list[str]:
    return show.lines({one.host: one.model_dump() for one in plans}, **how)


def test_a_plan_reads_step_by_step() -> None:
    busy = {"waiting": {"prio": 3}}
    text = "\n".join(lines([new(old_backend=busy)]))
    assert text.startswith(
        """misp1
  Packages: supervisor (at most 30 min)
    - package supervisor: the newest that is offered
  PHP libraries: Composer's five (at most 15 min)
    - library supervisorphp/supervisor: ^4.0
"""
    )
    assert (
        "    - file /etc/rpc: new, a part of it decided on the host\n      +[group:misp-workers]\n"
        in text
    )
    assert "    - unit supervisor.service: stopped -> running\n" in text
    assert "    - setting SimpleBackgroundJobs.enabled: not set -> true\n" in text
    assert "    - now: old jobs waiting in prio: 3\n" in text
    assert "  Drain: the old workers finish their jobs (at most 30 min)\n" in text


def test_files_may_be_left_out_and_are_named_all_the_same() -> None:
    found = lines([new()], diffs=False)
    assert f"    - file {GROUP_FILE.path}: new" in found
    assert not [line for line in found if "[group:" in line]


def test_hosts_with_the_same_plan_are_shown_once() -> None:
    others = {"rpc": [FILES["rpc"][0]], "workers": [GROUP_FILE._replace(after="c" * 64)]}
    plans = [
        new("misp1", old_backend={"waiting": {"prio": 3}}),
        new("misp2", others, old_backend={"waiting": {"prio": 0}}),
        plan(hosts.converged(), name="misp3"),
        new("misp4", {"workers": [GROUP_FILE._replace(diff=["+another"])]}),
    ]
    found = lines(plans)
    heads = [line for line in found if line.startswith("misp")]
    assert heads == ["misp1, misp2", "misp3", "misp4"]
    assert found[found.index("misp3") + 1] == "  nothing to do"
    assert "    - now: old jobs waiting in prio: 3 (misp1)" in found


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"after": "b" * 64}, {"after": "c" * 64}, False),  # the content is not shown
        ({"before": "b" * 64}, {"before": "c" * 64}, False),
        ({"after": ""}, {"after": "b" * 64}, False),
        ({"after": "written by MISP"}, {"after": "written by Composer"}, False),
        ({"after": LATER, "before": "b" * 64}, {"after": LATER}, False),
        ({"after": "written by MISP", "before": "b" * 64}, {"after": "written by MISP"}, True),
        ({"diff": ["+a"], "before": "b" * 64}, {"diff": ["+a"], "before": "c" * 64}, True),
        ({"diff": ["+a"], "before": "b" * 64}, {"diff": ["+a"], "after": ""}, False),
    ],
)
def test_a_file_without_a_diff_counts_by_its_content(
    one: dict[str, Any], other: dict[str, Any], is_same: bool
) -> None:
    base = GROUP_FILE._replace(diff=[])
    plans = [
        new(name, {"workers": [base._replace(**changes)]})
        for name, changes in (("misp1", one), ("misp2", other))
    ]
    assert ("misp1, misp2" in lines(plans)) is is_same


def test_twenty_hosts_fit_into_80_columns() -> None:
    found = lines([new(f"misp{number}.example.org", {}) for number in range(20)])
    assert sum("misp19.example.org" in line for line in found) == 1
    assert max(map(len, found)) <= 80


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"before": "b" * 64}, "changed"),
        ({"before": "a" * 64, "diff": []}, "owner and mode"),
        ({"before": "a" * 64, "after": ""}, "removed"),
        ({"after": "written by MISP", "diff": []}, "written by MISP"),
    ],
)
def test_what_becomes_of_a_file(changes: dict[str, Any], words: str) -> None:
    found = lines([new(files={"workers": [GROUP_FILE._replace(**changes)]})])
    assert f"    - file {GROUP_FILE.path}: {words}" in found


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(60, "60 s"), (119, "119 s"), (120, "2 min"), (374, "7 min"), (86_400, "24 h")],
)
def test_a_duration_is_never_shown_shorter_than_it_is(seconds: int, words: str) -> None:
    assert show.duration(seconds) == words
