"""Ubuntu's needrestart restarts services after an install, but not old workers in a deploy."""

from __future__ import annotations

import pytest

from lab import run
from lab.bases import Bases, lookup
from lab.engine import Engine
from lab.hosts import LabHost
from lab.topology import HostSpec
from tests.e2e import observe
from tests.labs import LabMaker

HOST = HostSpec("restarts", "ubuntu-24.04", waiting_jobs=0)
UNIT = "misp-workers.service"

pytestmark = pytest.mark.resilience


def starts(host: LabHost) -> int:
    """How often the old workers' unit was started since the boot."""
    journal = host.exec(["journalctl", "-b", "-o", "cat", "-u", UNIT]).stdout
    return sum(line.startswith("Started ") for line in journal.splitlines())


def test_an_install_does_not_restart_the_old_workers(make_lab: LabMaker, engine: Engine) -> None:
    if reason := Bases(engine).why_not(lookup(HOST.base)):
        pytest.skip(f"no {HOST.name}: {reason}")
    lab = make_lab([HOST])
    host = lab[HOST.name]
    # The workers go on with the files that were there before.
    host.exec("NEEDRESTART_SUSPEND=1 apt-get install -y --reinstall zlib1g", timeout=120)
    assert f"NEEDRESTART-SVC: {UNIT}" in host.exec("needrestart -b -r l").stdout.splitlines()
    before = starts(host)
    assert before == 1
    done = run.apply(lab)
    assert done.ok, done.stderr
    assert starts(host) == before
    assert observe.faults(host) == []
