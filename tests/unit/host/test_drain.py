"""Workers that are ended without a job in their hands: under a real supervisord, and modelled."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host import drain
from tasks.host.drain import Crew, Group, stop_group, thaw_all
from tasks.host.errors import DrainLimitError, HostError
from tasks.host.idle import Frozen, freeze_idle
from tasks.host.processes import Table
from tasks.host.queues import Backend
from tests.unit.host.crew import WEB, crew, freezer, real, wait_for_exec
from tests.unit.host.fake_proc import FakeProc
from tests.unit.host.real_supervisord import BUSY, IDLE, site, workers_text
from tests.unit.host.test_idle import TCP, Host, Watching, Worker

ROOT = "/var/www/MISP"
WORKER = ("php", "-q", ROOT + "/app/Console/cake.php", "-working", ROOT + "/app", "start_worker")
OURS = "0::/system.slice/supervisor.service\n"


@pytest.fixture(name="one")
def _one(tmp_path: Path) -> Iterator[Crew]:
    with crew(tmp_path) as one:
        yield one


@pytest.fixture(name="proc")
def _proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


def _start(one: Crew, **code: str) -> list[int]:
    real(one).include("misp-workers", workers_text(one.site.misp_root, **code))
    real(one).start()
    return wait_for_exec(one, len(code))


def _states(one: Crew) -> dict[str, str]:
    return {worker.name.partition(":")[2]: worker.state for worker in one.control().group()}


def test_idle_workers_stop_at_once_and_busy_ones_after_their_job(one: Crew) -> None:
    pids = _start(one, default=IDLE, prio=BUSY.format(seconds=2))
    while not Table().children(pids[1]):
        time.sleep(0.05)
    begun = time.monotonic()
    drain.stop_idle(one, 30)
    assert 1 < time.monotonic() - begun < 20
    assert _states(one) == {"default": "STOPPED", "prio": "STOPPED"}
    assert sorted(freezer(one).frozen) == sorted(pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_at_the_limit_the_workers_run_again(one: Crew) -> None:
    pids = _start(one, default=IDLE, prio=BUSY.format(seconds=60))
    while not Table().children(pids[1]):
        time.sleep(0.05)
    with pytest.raises(DrainLimitError, match=r"drain limit: .* not restarted: misp-workers:prio"):
        drain.stop_idle(one, 1)
    assert _states(one) == {"default": "RUNNING", "prio": "RUNNING"}
    assert pids[1] in wait_for_exec(one, 2)
    os.kill(Table().children(pids[1])[0].pid, signal.SIGKILL)


def test_a_job_whose_worker_is_gone_is_waited_for(one: Crew) -> None:
    _start(one, default=IDLE)
    with subprocess.Popen(
        ["/bin/sleep", "2"],
        user=65534,
        group=65534,
        cwd=one.site.misp_root,
        env={"BACKGROUND_JOB_ID": "x"},
    ) as job:
        with pytest.raises(DrainLimitError, match=f"job of PID {job.pid}"):
            drain.stop_idle(one, 0.2)
        drain.stop_idle(one, 30)
        assert job.poll() is not None or not Table().get(job.pid).is_alive  # type: ignore[union-attr]


def test_nothing_to_stop(one: Crew) -> None:
    drain.stop_idle(one, 0)
    assert freezer(one).calls == []


def test_jobs_that_stay_aside_are_told(one: Crew) -> None:
    _start(one, default=IDLE)
    freezer(one).problem = "Redis does not take back"
    with pytest.raises(HostError, match=r"Redis does not take back.*run again when Redis"):
        drain.stop_idle(one, 10)
    with pytest.raises(HostError, match="Redis does not take back"):
        drain.recover(one)


def test_an_error_while_workers_are_frozen_thaws_them(
    one: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pid,) = _start(one, default=IDLE)

    def fail(*_: object) -> list[str]:
        raise HostError("supervisord is away")

    monkeypatch.setattr("tasks.host.supervisor.Supervisord.send_stop", fail)
    with pytest.raises(HostError, match="supervisord is away"):
        drain.stop_idle(one, 5)
    assert freezer(one).frozen == [pid]
    found = Table().get(pid)
    assert found is not None
    assert found.state == "S"


def test_frozen_workers_of_a_step_that_was_cut_off_go_on(one: Crew) -> None:
    (pid,) = _start(one, default=IDLE)
    os.kill(pid, signal.SIGSTOP)
    drain.recover(one)
    found = Table().get(pid)
    assert found is not None
    assert found.state != "T"


def test_strays_end_and_others_do_not(one: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    (pid,) = _start(one, default=IDLE)
    assert drain.strays(one.site, WEB.uid, Table()) == []
    os.kill(real(one).main_pid(), signal.SIGKILL)
    real(one).process.wait()
    for _ in range(100):
        found = drain.strays(one.site, WEB.uid, Table())
        if found:
            break
        time.sleep(0.05)
    if not found:
        pytest.skip("orphans do not go to PID 1 here")
    assert [stray.pid for stray in found] == [pid]
    drain.end_strays(one, 10)
    assert drain.strays(one.site, WEB.uid, Table()) == []


def test_whose_workers_strays_are(proc: FakeProc) -> None:
    group = {"SUPERVISOR_GROUP_NAME": "misp-workers"}
    proc.add(70, *WORKER, "prio", uid=33, cgroup=OURS)
    proc.add(71, *WORKER, "prio", uid=33, environ=group)
    proc.add(72, *WORKER, "prio", uid=33, parent=50, cgroup=OURS)  # of a supervisord
    proc.add(73, *WORKER, "prio", uid=99, cgroup=OURS)  # anybody's
    proc.add(74, "php", "./bin/resque", uid=33, cwd=ROOT, environ=group)  # an old worker
    proc.add(75, *WORKER, "prio", uid=33, cgroup="0::/system.slice/own.service\n")
    proc.add(76, *WORKER, "prio", uid=33, cgroup=OURS, is_in_a_container=True)
    proc.add(77, "php", "/srv/m/cake.php", "start_worker", "prio", uid=33, cgroup=OURS)
    proc.add(78, "sh", "-c", "start_worker " + ROOT, uid=33, environ=group)
    proc.add(79, *WORKER, "prio", uid=0, cgroup=OURS)
    for uid, pids in ((33, [70, 71]), (0, [79])):
        found = drain.strays(site(proc.folder), uid, Table(proc.path))
        assert [one.pid for one in found] == pids


def test_workers_outside_of_supervisords_group_are_told_from_it(proc: FakeProc) -> None:
    group = {"SUPERVISOR_GROUP_NAME": "misp-workers"}
    cake = (f"{ROOT}/app/Console/cake", "start_worker", "prio")
    proc.add(50, "python3", "/usr/bin/supervisord", cgroup=OURS)
    proc.add(70, *WORKER, "prio", uid=33, parent=50, environ=group, cgroup=OURS)  # the group's
    proc.add(71, *WORKER, "prio", uid=33, cgroup=OURS)  # a stray
    proc.add(72, *WORKER, "prio", uid=33, parent=50, cgroup=OURS)  # of another group
    proc.add(73, *WORKER, "prio", uid=33, parent=60, environ=group)  # of another supervisord
    proc.add(74, *WORKER, "prio", uid=33, cgroup="0::/system.slice/own.service\n")
    proc.add(75, "sudo", "-u", "www-data", *cake)
    proc.add(76, "php", *cake, b"an odd \n`\xff name", uid=33, parent=75)
    proc.add(77, *WORKER, "prio", uid=99)  # anybody's
    proc.add(78, *WORKER, "prio", uid=33, is_in_a_container=True)
    proc.add(79, "php", "/srv/my misp/app/Console/cake.php", "start_worker", uid=33)
    proc.add(80, "grep", "start_worker", f"{ROOT}/app/Console/Command/StartWorkerShell.php")
    proc.add(81, "php", cake[0], "Server", "pullAll", uid=33)
    web = WEB._replace(uid=33)
    found = drain.elsewhere(site(proc.folder), web, 50, Table(proc.path))
    assert [one.pid for one in found] == [72, 73, 74, 76]


def test_whose_jobs_are_waited_for(proc: FakeProc) -> None:
    job = {"BACKGROUND_JOB_ID": "0123"}
    proc.add(70, "php", uid=33, cwd=ROOT + "/app", environ=job)
    proc.add(71, "php", uid=33, cwd=ROOT + "/app")
    proc.add(72, "php", uid=33, cwd=ROOT + "2", environ=job)
    proc.add(73, "php", uid=99, cwd=ROOT, environ=job)
    proc.add(74, "php", uid=33, cwd=ROOT, environ=job, is_in_a_container=True)
    web = WEB._replace(uid=33)
    found = drain.jobs(site(proc.folder), web, Table(proc.path))
    assert [one.pid for one in found] == [70]


# --- the order of things, without processes ------------------------------------------------------


class FakeGroup(Group):
    def __init__(self, new: Backend, host: Host, **names: int) -> None:
        self.new, self.host, self.names = new, host, names
        self.orphans: list[int] = []
        self.started = 0
        self.problem = ""

    def live(self) -> dict[str, int]:
        return dict(self.names)

    def freeze(self, pids: list[int]) -> Frozen:
        return freeze_idle(self.new, TCP, pids, self.host, self.host.clock)

    def thaw(self, pids: list[int]) -> None:
        self.host.send(pids, signal.SIGCONT)

    def stop(self, names: list[str], frozen: list[int]) -> None:
        if self.problem:
            raise HostError(self.problem)
        for name in names:
            self.host.workers.pop(self.names.pop(name), None)

    def start(self) -> None:
        self.started += 1

    def jobs(self) -> list[int]:
        return self.orphans


@pytest.fixture
def host() -> Host:
    return Host(Worker(1), Worker(2))


def test_all_workers_are_stopped_each_when_it_is_idle(new: Backend, host: Host) -> None:
    host.workers[2].has_child, host.workers[2].is_waiting = True, False
    host.workers[2].done_at = 4.0
    group = FakeGroup(new, host, a=1, b=2, backoff=0)
    group.new = new._replace(redis=Watching(new.redis, host))
    stop_group(group, host.clock, 60)
    assert group.names == {}
    assert host.workers == {}
    assert group.started == 0


def test_jobs_without_a_worker_are_waited_for(new: Backend, host: Host) -> None:
    group = FakeGroup(new, host)
    group.orphans = [7]

    def end_jobs() -> None:
        if host.seconds > 5:
            group.orphans = []

    host.clock.on_sleep = end_jobs
    stop_group(group, host.clock, 60)
    assert host.seconds > 5


def test_at_the_limit_all_are_started_again(new: Backend, host: Host) -> None:
    host.workers[2].has_child, host.workers[2].is_waiting = True, False
    group = FakeGroup(new, host, a=1, b=2)
    group.new = new._replace(redis=Watching(new.redis, host))
    with pytest.raises(DrainLimitError, match=r"jobs still run after 20 s.*restarted: b\. Run"):
        stop_group(group, host.clock, 20)
    assert group.started == 1
    assert 20 <= host.seconds < 40


def test_none_stays_frozen_when_supervisord_fails(new: Backend, host: Host) -> None:
    group = FakeGroup(new, host, a=1, b=2)
    group.problem = "supervisord does not answer"
    group.new = new._replace(redis=Watching(new.redis, host))
    with pytest.raises(HostError, match="does not answer"):
        stop_group(group, host.clock, 20)
    assert host.stopped == []


def test_jobs_that_stay_aside_when_all_have_ended_are_told(new: Backend, host: Host) -> None:
    watching = Watching(new.redis, host, ("EXISTS",))
    group = FakeGroup(new._replace(redis=watching), host, a=1, b=2)
    with pytest.raises(HostError, match="No job is lost, but run again when Redis is well"):
        stop_group(group, host.clock, 20)
    assert group.names == {}


def test_workers_that_a_killed_call_left_frozen_go_on(new: Backend, host: Host) -> None:
    host.workers[2].is_stopped = True
    thaw_all(FakeGroup(new, host, a=1, b=2, backoff=0))
    assert host.stopped == []
