"""Lab hosts are data, and the default topology covers what the rehearsal promises."""

from __future__ import annotations

import re
from contextlib import nullcontext

import pytest

from lab.bench import peers
from lab.bench.rows import converged, first
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab, _free_ports
from lab.paths import STUB
from lab.rehearsal import specs_of
from lab.topology import BOTH_FAMILIES, KNOWN, MISP_TRIXIE, OLD_WORKER_INTERVAL, HostSpec
from tests import labs
from tests.e2e import test_load, test_load_converted


def test_the_rehearsal_covers_both_families_both_profiles_and_both_redis() -> None:
    assert {spec.family for spec in BOTH_FAMILIES} == {"debian", "rhel"}
    assert {spec.profile for spec in BOTH_FAMILIES} == {"2.5.1", "2.4.199"}
    assert {spec.redis for spec in BOTH_FAMILIES} == {"local", "shared"}


def test_the_third_host_has_another_root_and_launcher() -> None:
    assert MISP_TRIXIE.misp_root == "/opt/misp"
    assert MISP_TRIXIE.launcher == "unit-execstop"


def test_hosts_are_chosen_by_name_or_by_base() -> None:
    assert specs_of("misp-el, debian-13") == [
        KNOWN["misp-el"],
        HostSpec("misp-debian-13", "debian-13"),
    ]
    assert specs_of("ubuntu-24.04")[0].name == "misp-ubuntu-2404"
    assert specs_of("rockylinux-9")[0].profile == "2.4.199"
    assert specs_of("ubuntu-20.04")[0].profile == "2.4.199"  # its PHP is 7.4


def test_the_hosts_whose_times_are_published_have_old_workers_as_slow_as_misps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[HostSpec] = []

    def start(specs: list[HostSpec]) -> nullcontext[list[LabHost]]:
        started.extend(specs)
        return nullcontext([])

    monkeypatch.setattr(Lab, "start", start)
    monkeypatch.setattr(peers, "fetch_packages", lambda hosts: None)
    with first.fresh(first.PEERS):
        pass
    published = [*KNOWN.values(), *specs_of("debian-13"), *converged.FLEET, *started]
    published += [*test_load.SPECS, *test_load_converted.SPECS]
    assert len(started) == 6
    assert {spec.old_worker_interval or OLD_WORKER_INTERVAL for spec in published} == {5}
    by_misp = (STUB / "tree/app/Console/worker/start.sh").read_text()
    assert re.findall(r"--interval (\d+)", by_misp) == ["5", "5"]
    assert labs.quick(KNOWN["misp-el"]).old_worker_interval == 1
    assert labs.quick(test_load.SPECS[0]).old_worker_interval == 5


def test_an_unknown_host_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"misp-solaris[\s\S]*misp-debian"):
        specs_of("misp-solaris")


def test_a_lab_needs_hosts_with_names_of_their_own() -> None:
    with pytest.raises(LabError, match="at least one"):
        Lab.start([])
    with pytest.raises(LabError, match="called misp-debian"):
        Lab.start([KNOWN["misp-debian"], KNOWN["misp-debian"]])


def test_ports_differ() -> None:
    assert len(set(_free_ports(20))) == 20
