"""Three hosts, the second of which breaks at a step in the middle: the others are migrated, and the
records say what became of it, however the hosts are gone through. Taken one by one, the third is
left alone until the second is mended.
"""

from __future__ import annotations

import pytest

from lab import run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from tests.e2e import cuts, observe
from tests.e2e.project import command, outcomes, reports

pytestmark = pytest.mark.resilience

FIRST = HostSpec("first", "el-like", profile="2.4.199", waiting_jobs=0)
BROKEN = HostSpec("second", "debian-12", waiting_jobs=0)
THIRD = HostSpec("third", "debian-12", waiting_jobs=0)
SPECS = (FIRST, BROKEN, THIRD)
GOOD = (FIRST.name, THIRD.name)

# Composer resolves all packages, and then cannot copy this one.
SOURCE = "/usr/share/misp-stub/packages/lstrojny-fxmlrpc-0.22.0/src/Client.php"
STEP = "PHP libraries: Composer's five"


@pytest.fixture
def broken(lab: Lab) -> LabHost:
    """The second host, whose Composer cannot copy one of the five packages."""
    host = lab[BROKEN.name]
    host.exec(f"chmod 0 {SOURCE}")
    return host


@pytest.mark.parametrize("options", [(), ("--serial",)], ids=["side by side", "one by one"])
def test_the_others_finish_and_the_records_name_host_step_and_cause(
    lab: Lab, broken: LabHost, options: tuple[str, ...]
) -> None:
    before = observe.snapshot(broken)
    done = run.apply(lab, *options)
    assert done.exit_code == 1
    assert done.failed_hosts == (broken.name,)
    for name in GOOD:
        assert observe.faults(lab[name]) == []
    assert outcomes(lab) == {
        FIRST.name: "done",
        BROKEN.name: "failed",
        THIRD.name: "done",
    }
    report = reports(lab)[broken.name]
    assert report.step == STEP
    assert "Composer failed" in report.cause
    # What the guide's five changed is as before, and the old workers never noticed.
    assert observe.old_workers_live(broken)
    found = cuts.left_over(before, observe.snapshot(broken))
    assert [line for line in found if line.startswith(broken.spec.misp_root)] == []
    # Mended, the next run finishes it and has nothing to do on the others.
    broken.exec(f"chmod 644 {SOURCE}")
    again = run.apply(lab, *options).check()
    assert {name for operation in again.changed for name in operation.success} == {broken.name}
    assert observe.faults(broken) == []
    assert set(outcomes(lab).values()) == {"done"}
    run.apply(lab, deploy="rollback.py").check()


def test_slices_stop_at_the_broken_host_and_reach_the_last_once_it_is_mended(
    lab: Lab, broken: LabHost
) -> None:
    third = lab[THIRD.name]
    before = observe.snapshot(third)
    slices = ("apply", "--slice", "1")
    code, said = command(lab, *slices)
    assert code == 1, said
    assert f"slice 2 of 3 begins: {BROKEN.name}\n" in said
    assert "run the same command again" in " ".join(said.split())
    assert observe.faults(lab[FIRST.name]) == []
    assert observe.old_workers_live(broken)
    assert observe.old_workers_live(third)
    assert before.differences(observe.snapshot(third)) == []
    broken.exec(f"chmod 644 {SOURCE}")
    workers = {one.pid for one in verify.workers(lab[FIRST.name])}
    code, said = command(lab, *slices)
    assert code == 0, said
    assert f"slice 1 of 3 begins: {FIRST.name}\n" in said
    assert {one.pid for one in verify.workers(lab[FIRST.name])} == workers
    for host in lab:
        assert observe.faults(host) == []
    assert set(outcomes(lab).values()) == {"done"}
