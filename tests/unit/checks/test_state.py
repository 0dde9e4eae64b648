"""What a host is like, as a typed value."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from tasks.checks import faults, state
from tasks.checks.seen import SeenForStatus
from tasks.host import parts
from tasks.identity import with_answers
from tasks.report import events
from tasks.report.status import Jobs, Status, Workers, read
from tests import hosts
from tests.hosts import OLD_UNIT, Parts, converged, migrating, running

CHANGES = dict[str, dict[str, Any]]
ALIVE = {"processes": [parts.OldWorker(7, 1, ["*"], 33)]}


def status(host: Parts, expect: str = "") -> Status:
    seen = hosts.seen(SeenForStatus, host)
    target = with_answers(hosts.target(), seen)
    return state.expected(state.status("misp1", target, seen, faults.of(target, seen)), expect)


STATES: list[tuple[Parts, str]] = [
    (converged(), "migrated"),
    (converged(new_backend={"error": "gone"}), "migrated"),
    (converged(supervisor={"workers": []}), "migrated"),
    (migrating(), "old"),
    (migrating(old_workers={"processes": []}), "old"),
    (converged(old_workers=ALIVE), "mixed"),
    (converged(old_workers={"units": [OLD_UNIT]}), "mixed"),
    (converged(old_workers={"launchers": [parts.Launcher("/etc/rc.local", "")]}), "mixed"),
    (converged(proof={"proven": ""}), "mixed"),
    (converged(run_state={"has_state": False}, proof={"proven": ""}), "mixed"),  # by hand
    (converged(settings={"is_pending": True}), "mixed"),
    (converged(settings={"block": {}}), "mixed"),
    (migrating(run_state={"has_state": True}), "mixed"),
    (migrating(supervisor={"workers": running()}), "mixed"),
    (migrating(settings={"error": "php cannot be run"}), "unknown"),
    (converged(tree={"error": "the web user is root"}), "unknown"),
    (converged(tree={"config_mode": -1}), "unknown"),
]


@pytest.mark.parametrize(("host", "expected"), STATES)
def test_the_state_is_one_of_four(host: Parts, expected: str) -> None:
    assert status(host).state == expected


@pytest.mark.parametrize("host", [host for host, known in STATES if known == "unknown"])
@pytest.mark.parametrize("expect", ["migrated", "old"])
def test_an_unknown_state_has_one_fault_whatever_is_expected(host: Parts, expect: str) -> None:
    assert len(status(host, expect).faults) == 1


def test_a_state_that_is_expected_is_no_fault() -> None:
    assert status(converged(), "migrated").faults == status(migrating(), "old").faults == []


def test_the_other_state_is_a_fault_with_its_remedy() -> None:
    (fault,) = status(migrating(), "migrated").faults
    assert (fault.kind, fault.sentence) == (
        "expected",
        "the host is on its old workers, but expect says migrated: run deploy.py, or correct "
        "expect",
    )
    (fault,) = status(converged(), "old").faults
    assert "the host is migrated, but expect says old: run rollback.py" in fault.sentence
    assert status(converged(), "old").next_step == "run rollback.py"


@pytest.mark.parametrize("expect", ["migrated", "old"])
def test_a_host_between_the_states_has_one_fault(expect: str) -> None:
    by_hand = converged(run_state={"has_state": False}, proof={"proven": "", "evidence": ""})
    (fault,) = status(by_hand, expect).faults
    assert fault.kind == "expected"
    for said in (converged(old_workers=ALIVE), migrating(run_state={"has_state": True})):
        (fault,) = status(said, expect).faults
        assert fault.kind != "expected"


@pytest.mark.parametrize(
    ("host", "step"),
    [
        (migrating(), "plan the migration of this host"),
        (converged(), "nothing is to be done"),
        (
            converged(run_state={"has_state": False}, proof={"proven": ""}),
            "run deploy.py, which takes the host to the end and proves it",
        ),
        (
            converged(system={"busy": "ann@desk has been at work"}),
            "wait until the run that is at work there has ended, then run status again",
        ),
        (
            converged(supervisor={"workers": [*running()[1:], hosts.worker("x", "STOPPED")]}),
            "run deploy.py",
        ),
        (
            converged(supervisor={"unit": OLD_UNIT._replace(active="failed")}),
            "run `systemctl start supervisor` there as root, then run status again",
        ),
        (converged(tree={"disk_kb": 0}), "mend what is named, then run status again"),
    ],
)
def test_the_next_step_is_named(host: Parts, step: str) -> None:
    assert status(host).next_step == step


def test_the_one_command_of_a_fault_is_told_apart() -> None:
    stopped = [one._replace(state="STOPPED", pid=0) for one in running()]
    (fault,) = status(converged(supervisor={"workers": stopped})).faults
    assert (fault.kind, fault.command) == ("workers", "supervisorctl start 'misp-workers:*'")
    fatal = [one._replace(state="FATAL", pid=0) for one in running()]
    (fault,) = status(converged(supervisor={"workers": fatal})).faults
    assert fault.command == "", "the cause has to be mended first"


def test_there_are_numbers_for_a_monitor() -> None:
    found = status(
        converged(
            new_backend={"waiting": {"prio": 3, "email": 1}, "aside": 2},
            workers={"busy": ["misp-workers:prio_00"]},
            supervisor={"workers": running()[1:]},
            run_state={"last_run": "ann@desk since 1"},
        )
    )
    assert (found.host, found.backend, found.old_workers) == ("misp1", "on", 0)
    assert found.workers["cache"] == Workers(4, 5)
    assert found.workers["update"] == Workers(1, 1)
    assert (found.new_jobs, found.old_jobs) == (Jobs(6, 1, 0), Jobs(0, 0, 0))
    assert found.versions == {
        "misp": "2.5.1",
        "php": "8.2.20",
        "redis": "7.0.15",
        "supervisor": "4.2.5",
    }
    assert found.supervisord == {
        "unit": "supervisor.service",
        "active": "active",
        "enabled": "enabled",
    }
    assert found.last_run == "ann@desk since 1"
    assert read(asdict(found)) == found


def test_what_is_not_known_is_no_number() -> None:
    found = status(converged(new_backend={"error": "gone"}, old_backend={"error": "gone"}))
    assert found.new_jobs == found.old_jobs == Jobs(None, None, None)
    assert status(migrating()).workers == {}
    assert status(converged(tree={"error": "x"}, settings={"error": "x"})).old_workers is None


def test_a_host_without_an_answer_has_its_reasons() -> None:
    found = state.failed("misp1", ["no", "never"])
    assert (found.state, [one.sentence for one in found.faults]) == ("unknown", ["no", "never"])


def test_what_there_is_is_described() -> None:
    host = converged(
        new_backend={"waiting": {"prio": 3, "email": 0}},
        workers={"busy": ["misp-workers:prio_00"]},
    )
    assert status(host).lines == [
        "state: migrated",
        "MISP 2.5.1, new backend on",
        "workers: 21 RUNNING, 21 wanted",
        "new queues: 3 waiting in prio, 1 running",
        "old backend: 0 worker processes, nothing waiting, running or delayed",
        "health check: none",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tree": {"version": (0, 0, 0)}}, "MISP unknown, new backend off"),
        ({"new_backend": {"error": "gone"}}, "new queues: unknown: gone"),
        ({"old_backend": {"is_installed": False}}, "old backend: not in this MISP any more"),
        (
            {"old_backend": {"is_installed": False, "delayed": 2}},
            "old backend: not in this MISP any more, but it left 2 delayed",
        ),
        (
            {"old_backend": {"is_installed": False, "error": "NOPERM"}},
            "old backend: not in this MISP any more, but it left "
            "a Redis that cannot be asked: NOPERM",
        ),
        (
            {"old_backend": {"error": "gone"}},
            "old backend: 1 worker process, a Redis that cannot be asked: gone",
        ),
        ({}, "new queues: 0 waiting, 0 running"),
    ],
)
def test_what_is_not_known_is_called_so(changes: CHANGES, line: str) -> None:
    assert line in status(migrating(**changes)).lines


@pytest.mark.parametrize(
    ("host", "expect", "step"),
    [
        (converged(), "old", "run misp-workers rollback"),
        (migrating(), "migrated", "run misp-workers apply"),
        (converged(supervisor={"workers": running()[1:]}), "", "run misp-workers apply"),
    ],
)
def test_one_who_has_the_command_is_told_to_run_that(
    host: Parts, expect: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(events.VARIABLE, "7")
    assert status(host, expect).next_step == step
