"""Twenty hosts of two families, three of which are broken in different ways: the other seventeen
are migrated. And all twenty taken in slices, up to the first slice with a broken host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from tests.e2e import observe
from tests.e2e.project import command, outcomes, reports

pytestmark = pytest.mark.resilience

COUNT = 20
FAMILIES = (("debian-12", "2.5.1"), ("el-like", "2.4.199"))
# So that what MISP itself takes for Redis may be spoiled without the workers' being it.
DATA = {"misp_workers": dict.fromkeys(QUEUES, 1)}
SPECS = tuple(
    HostSpec(f"fleet-{number:02}", base, profile=profile, waiting_jobs=1, data=DATA)
    for number in range(1, COUNT + 1)
    for base, profile in [FAMILIES[number % 2]]
)
NAMES = [spec.name for spec in SPECS]
SLICES = ("apply", "--canary", "fleet-01", "--slice", "5")

CONFIG = "/var/www/MISP/app/Config/config.php"
# Composer resolves all packages, and then cannot copy this one.
SOURCE = "/usr/share/misp-stub/packages/lstrojny-fxmlrpc-0.22.0/src/Client.php"


class Fault(NamedTuple):
    """What is done to a host, how that is mended, and what becomes of it meanwhile."""

    spoil: Callable[[LabHost], object]
    mend: Callable[[LabHost], object]
    outcome: str
    cause: str


FAULTS: Mapping[str, Fault] = {
    "fleet-03": Fault(
        lambda host: host.exec(f"chmod 0 {SOURCE}"),
        lambda host: host.exec(f"chmod 644 {SOURCE}"),
        "failed",
        "Composer failed",
    ),
    "fleet-09": Fault(
        lambda host: host.exec(f"chown root {CONFIG}"),
        lambda host: host.exec(f"chown {host.spec.web_user} {CONFIG}"),
        "refused",
        "config.php belongs to root",
    ),
    # Workers start and no job does, which only a worker shows.
    "fleet-14": Fault(
        lambda host: host.exec(misp.switch("old_php", True)),
        lambda host: host.exec(misp.switch("old_php", False)),
        "not_proven_returned",
        "a test job did not come through",
    ),
}
GOOD = [name for name in NAMES if name not in FAULTS]


def faults(lab: Lab, names: Iterable[str]) -> list[str]:
    """What these hosts do not show as migrated ones should."""
    chosen = list(names)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(observe.faults, [lab[name] for name in chosen])
        return [
            f"{name}: {fault}" for name, some in zip(chosen, found, strict=True) for fault in some
        ]


def without_old_workers(lab: Lab, names: Iterable[str]) -> list[str]:
    """Those of these hosts on which not all old workers live."""
    return [name for name in names if not observe.old_workers_live(lab[name])]


def test_seventeen_are_migrated_beside_three_that_are_broken(lab: Lab) -> None:
    for name, fault in FAULTS.items():
        fault.spoil(lab[name])
    done = run.apply(lab)
    assert set(done.failed_hosts) == set(FAULTS)
    found = reports(lab)
    assert max(one.code for one in found.values()) == 4  # the worst one's
    assert outcomes(lab) == {
        **dict.fromkeys(GOOD, "done"),
        **{name: fault.outcome for name, fault in FAULTS.items()},
    }
    assert [name for name, fault in FAULTS.items() if fault.cause not in found[name].cause] == []
    assert faults(lab, GOOD) == []
    assert without_old_workers(lab, FAULTS) == []


def test_mended_they_follow_and_nothing_happens_to_the_others(lab: Lab) -> None:
    for name, fault in FAULTS.items():
        fault.mend(lab[name])
    done = run.apply(lab).check()
    assert {name for operation in done.changed for name in operation.success} == set(FAULTS)
    assert faults(lab, FAULTS) == []
    run.apply(lab, deploy="rollback.py").check()
    assert without_old_workers(lab, NAMES) == []


def test_slices_stop_at_the_first_slice_with_a_broken_host(lab: Lab) -> None:
    for name in ("fleet-03", "fleet-09"):
        FAULTS[name].spoil(lab[name])
    code, said = command(lab, *SLICES)
    assert code == 1, said
    assert "slice 1 of 5 begins: fleet-01\n" in said
    assert "run the same command again" in " ".join(said.split())
    done = ["fleet-01", "fleet-02", "fleet-04", "fleet-05", "fleet-06"]
    assert faults(lab, done) == []
    rest = [name for name in NAMES if name not in done]
    assert without_old_workers(lab, rest) == []

    FAULTS["fleet-03"].mend(lab["fleet-03"])
    code, said = command(lab, *SLICES)
    assert code == 2, said
    assert "slice 2 of 5 begins: fleet-02, fleet-03, " in said
    assert "slice 4" not in said
    assert without_old_workers(lab, ["fleet-12"]) == []

    code, said = command(lab, *SLICES, "--exclude", "fleet-09")
    assert code == 0, said
    assert outcomes(lab) == {name: "done" for name in NAMES if name != "fleet-09"}
    FAULTS["fleet-09"].mend(lab["fleet-09"])
    run.apply(lab, "--limit", "fleet-09").check()
    assert faults(lab, NAMES) == []
    assert outcomes(lab) == {"fleet-09": "done"}
