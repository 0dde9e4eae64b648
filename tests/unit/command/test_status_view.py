"""What `status` prints of a fleet, as a table and as JSON, and how it ends."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from tasks.command import status_view
from tasks.report.status import Fault, Jobs, Status, Workers

STOPPED = Fault.of(
    "workers",
    "21 workers (5 cache, 5 default, 5 email, 5 prio, 1 update) are STOPPED: run "
    "`supervisorctl start 'misp-workers:*'`",
)
GONE = Fault.of("redis", "Redis at 127.0.0.1:6379, database 1, cannot be used: gone. Start it")
STEP = "nothing is to be done"


def host(name: str, **changes: Any) -> Status:
    made: dict[str, Any] = {
        "state": "migrated",
        "backend": "on",
        "workers": {"default": Workers(5, 5), "prio": Workers(16, 16)},
        "old_workers": 0,
        "new_jobs": Jobs(3, 1, 0),
        "old_jobs": Jobs(0, 0, 0),
        "next_step": STEP,
    }
    return Status(name, **{**made, **changes})


OLD = host(
    "misp-old",
    state="old",
    backend="off",
    workers={},
    old_workers=6,
    old_jobs=Jobs(7, 2, 1),
    next_step="plan the migration of this host",
)


def test_a_fleet_is_a_table_and_each_fault_is_said_once_with_its_hosts() -> None:
    sick = {"faults": [STOPPED], "workers": {"prio": Workers(0, 21)}, "next_step": "run `x`"}
    fleet = [host("misp2", **sick), host("misp1"), OLD, host("misp3", **sick)]
    assert status_view.table(fleet) == [
        "host      state     workers   waiting  running  faults",
        "misp-old  old       6 old     7        2        none",
        "misp1     migrated  21 of 21  3        1        none",
        "misp2     migrated  0 of 21   3        1        1",
        "misp3     migrated  0 of 21   3        1        1",
        "",
        "1. misp2, misp3:",
        "   21 workers (5 cache, 5 default, 5 email, 5 prio, 1 update) are STOPPED: run",
        "   `supervisorctl start 'misp-workers:*'`",
        "",
        "Next for misp-old: plan the migration of this host.",
        "Next for misp1: nothing is to be done.",
        "Next for misp2, misp3: run `x`.",
    ]


def test_twenty_hosts_with_long_names_fit_in_80_columns() -> None:
    between = {"state": "mixed", "old_workers": 12, "old_jobs": Jobs(12345, 21, 0)}
    fleet = [
        host(f"misp{number:02}.{'threat-intelligence.' * 2}example.org", **between, faults=[GONE])
        for number in range(20)
    ]
    lines = status_view.table(fleet)
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if "cannot be used" in line]) == 1
    assert lines[1].split()[1:] == ["mixed", "21", "of", "21,", "12", "old", "12348", "22", "1"]


def test_a_command_is_never_broken() -> None:
    command = "find -H /var/www/MISP -xdev " + " ".join(["-path /var/www/MISP/app"] * 5)
    fault = Fault.of("misp", f"somebody may not execute something: run `{command}`, then look")
    lines = status_view.table([host("misp1", faults=[fault])])
    assert any(line.strip().startswith(f"`{command}`") for line in lines)


def test_what_is_not_known_is_a_question_mark() -> None:
    blind = host("misp1", new_jobs=Jobs(), state="mixed")
    assert status_view.table([blind])[1].split()[-3:] == ["?", "?", "none"]


def test_a_host_that_was_not_reached_is_there_with_a_remedy() -> None:
    lost = status_view.document("misp9", {}, ["no connection to the host"])
    (fault,) = lost.faults
    assert fault.sentence == (
        "no connection to the host: see that `ssh misp9` works, then run status again"
    )
    lines = status_view.table([lost, host("misp1")])
    assert lines[2] == "misp9  unknown   ?         ?        ?        1"
    assert status_view.code([lost]) == 1


def test_a_look_that_was_interrupted_is_no_broken_connection() -> None:
    ended = status_view.interrupted("misp9")
    assert [fault.kind for fault in ended.faults] == ["interrupted"]
    said = " ".join(status_view.table([ended]))
    assert "ssh" not in said
    assert "you interrupted the look at this host before its end" in said
    assert "Next for misp9: run status again." in said
    assert status_view.code([ended]) == 1


def test_what_an_event_carried_is_checked() -> None:
    carried = json.loads(json.dumps(asdict(host("misp1"))))
    assert status_view.document("misp1", carried) == host("misp1")
    with pytest.raises(ValueError, match="state"):
        status_view.document("misp1", {**carried, "state": "fine"})


def test_the_exit_code_is_one_for_a_fault() -> None:
    well = host("misp1")
    assert status_view.code([well]) == status_view.code([well, OLD]) == 0
    assert status_view.code([well, host("misp2", faults=[GONE])]) == 1
    assert status_view.code([]) == 1


def test_json_has_all_hosts_and_says_its_format() -> None:
    found = json.loads(status_view.as_json([host("misp2", faults=[STOPPED]), host("misp1")]))
    assert found["format"] == 1
    assert [one["host"] for one in found["hosts"]] == ["misp1", "misp2"]
    assert found["hosts"][1]["faults"] == [
        {
            "kind": "workers",
            "sentence": STOPPED.sentence,
            "command": "supervisorctl start 'misp-workers:*'",
        }
    ]
    assert found["hosts"][0]["workers"]["default"] == {"running": 5, "wanted": 5}
