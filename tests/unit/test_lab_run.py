"""pyinfra's JSON, read as its 3.10 writes it."""

from __future__ import annotations

import pytest

from lab.errors import LabError
from lab.run import Operation, Run, _report

ROW = {
    "op_hash": "e6a1",
    "name": "Put a file",
    "names": ["Put a file"],
    "args": [],
    "hosts": 2,
    "success": ["misp-debian"],
    "error": [],
    "no_change": ["misp-el"],
}


def _run(**changes: object) -> Run:
    values: dict[str, object] = {
        "command": "pyinfra x",
        "exit_code": 0,
        "stdout": "",
        "stderr": "--> Error: no",
        "seconds": 1.0,
        "operations": (Operation.of(ROW),),
    }
    return Run(**{**values, **changes})  # type: ignore[arg-type] # a test's shorthand


def test_rows_of_results_and_of_plans_are_read() -> None:
    operation = Operation.of(ROW)
    assert operation.success == {"misp-debian"}
    assert operation.no_change == {"misp-el"}
    planned = Operation.of({"op_hash": "a", "name": "b", "hosts_with_change": ["misp-el"]})
    assert planned.change == {"misp-el"}


def test_changes_and_failures_are_told_apart() -> None:
    run = _run(operations=(Operation.of(ROW), Operation.of({**ROW, "success": [], "error": ["x"]})))
    assert [operation.name for operation in run.changed] == ["Put a file"]
    assert len(run.failed) == 1


@pytest.mark.parametrize("changes", [{"exit_code": 1}, {"failed_hosts": ("misp-el",)}])
def test_a_failed_run_ends_with_pyinfras_own_words(changes: dict[str, object]) -> None:
    with pytest.raises(LabError, match="Error: no"):
        _run(**changes).check()


def test_an_aborted_run_has_no_report() -> None:
    assert _report("") == {}
