"""A run killed, on the host as well, when it has taken the old workers' launcher out of use and has
not stopped them yet. Both ways lead out: rollback.py, and the next run.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import cuts, observe, round_trip, secrecy

pytestmark = pytest.mark.resilience

CRON = HostSpec("cron", "el-like", profile="2.4.199", launcher="cron-reboot", waiting_jobs=0)
DEBIAN = HostSpec("cron-debian", "debian-12", launcher="cron-reboot", waiting_jobs=0)
SPECS = (CRON, DEBIAN)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])
FILE = "/etc/cron.d/misp-workers"

# The step's process is found beforehand, so that it is killed as soon as the mark is in the file.
KILL = """
import glob, os, sys
file, mark, function = sys.argv[1:4]
def words(path):
    try: return open(path, errors="replace").read().split("\\0")
    except OSError: return []
steps = []
while not steps:
    found = [path for path in glob.glob("/proc/[0-9]*/cmdline") if words(path)[-2:-1] == [function]]
    steps = [int(path.split("/")[2]) for path in found]
while mark not in open(file).read(): pass
for pid in steps: os.kill(pid, 9)
"""
# Its own command line ends with another word than the step's.
KILLER = ["python3", "-c", KILL, FILE, round_trip.MARK, "retire.retire", "-"]


@dataclass
class Story:
    """What was seen; every dict is by host name."""

    lab: Lab
    before: dict[str, observe.Snapshot]
    lived: dict[str, int]
    jobs: dict[str, list[int]]


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    for host in lab:
        misp.install_stopped_supervisor(host)
    for host in lab:
        wait_for(partial(observe.old_workers_live, host), 20, f"{host.name}: the old workers")
    before = round_trip.on_each(lab, observe.snapshot)
    with secrecy.kept(lab):
        lived = cut_all(lab)
        # The backend is on already, and a job that is sent now must not be lost either way.
        yield Story(
            lab, before, lived, {host.name: misp.enqueue(host, 2, first=301) for host in lab}
        )


def cut_all(lab: Lab) -> dict[str, int]:
    """Cut a deploy on each host; gives how many old workers lived on."""
    with ThreadPoolExecutor(len(SPECS)) as pool:
        return dict(zip(lab.hosts, pool.map(partial(cut, lab), lab), strict=True))


def cut(lab: Lab, host: LabHost) -> int:
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(host.exec, KILLER, timeout=180)
        with run.started(lab, "deploy.py", "-y", "--limit", host.name) as running:
            killing.result()
            running.kill()
    return len(observe.old_processes(host))


@HOSTS
def test_it_was_cut_between_the_launcher_and_the_workers(story: Story, name: str) -> None:
    assert story.lived[name] >= 5
    assert f"\n{round_trip.MARK}" in "\n" + story.lab[name].read(FILE)


def test_rollback_leads_out_of_it(story: Story) -> None:
    round_trip.check_rollback(story.lab)


@HOSTS
def test_the_host_is_as_before(story: Story, name: str) -> None:
    host = story.lab[name]
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    # Redis remembers for a day what the new workers did of the jobs.
    found = cuts.left_over(story.before[name], observe.snapshot(host))
    assert [line for line in found if not line.startswith("redis: ")] == []
    done = verify.check_jobs(host, story.jobs[name], "jobs of between the cut and the rollback")
    assert done.ok, done.seen
    round_trip.check_old_backend(host, 701)


def test_the_next_run_leads_out_of_it(story: Story) -> None:
    lab = story.lab
    assert min(cut_all(lab).values()) >= 5
    jobs = {host.name: misp.enqueue(host, 2, first=801) for host in lab}
    run.apply(lab).check()
    for host in lab:
        assert observe.faults(host) == []
        done = verify.check_jobs(host, jobs[host.name], "jobs of between the cut and the run")
        assert done.ok, done.seen
    assert run.apply(lab).changed == ()


@HOSTS
def test_a_restart_of_the_host_does_not_bring_them_back(story: Story, name: str) -> None:
    round_trip.check_restart(story.lab[name])
