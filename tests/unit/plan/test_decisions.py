"""What the steps decide by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.host.parts import Packages
from tasks.plan.decisions import packages_wanted as wanted
from tests import hosts

RHEL = replace(hosts.target("rhel"), selinux="build")


@pytest.mark.parametrize(
    "seen",
    [
        Packages({}, "", False),
        Packages({"supervisor": "4.2.2"}, "4.2.2", False),
        Packages({"supervisor": "4.2.2"}, "", False),  # somebody removed the program
    ],
)
def test_supervisor_is_a_package(seen: Packages) -> None:
    names = wanted(RHEL, seen)
    assert names == list(RHEL.packages())
    assert RHEL.platform.supervisor_package in names


def test_a_supervisord_of_pips_gets_none_beside_it() -> None:
    """Though SELinux's tools, which are missing, are to be installed."""
    seen = Packages({}, "4.2.5", False)
    assert wanted(RHEL, seen) == [name for name in RHEL.packages() if name != "supervisor"]
    assert wanted(RHEL, seen)
    assert wanted(hosts.target(), seen) == []
