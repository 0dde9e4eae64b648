"""After the migration: what befalls a host, and how the worker set comes back.

One host, one misfortune after the other. After each the exact set runs, each queue does a job, and
the next run of the deploy finds nothing to do.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import load, misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

pytestmark = pytest.mark.resilience

NAME = "after"
SPECS = (HostSpec(NAME, "debian-12", waiting_jobs=0),)
LOGS = "/var/log/misp-workers"
REDIS_AWAY = 60.0
RESTART_SEC = 50.0  # of Debian's supervisor.service
PAUSED = 20_000  # numbers of jobs that run when something happens
LOGGED = 30_000

# Lines through a worker's own standard output, and so through supervisord's rotation. Each write is
# whole lines and at most PIPE_BUF: it cannot mix with what the worker itself writes.
FILL = r"""
import os, sys
out = os.open("/proc/%s/fd/1" % sys.argv[1], os.O_WRONLY)
for start in range(0, int(sys.argv[2]), 40):
    os.write(out, b"".join(b"filler %08d %s\n" % (n, b"." * 83) for n in range(start, start + 40)))
"""
FILLERS = 60_000  # of 100 bytes each: more than the 5 MB at which supervisord rotates, once


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    """The host, migrated."""
    run.apply(lab).check()
    return lab[NAME]


def pids(host: LabHost) -> dict[str, int]:
    return {worker.name: worker.pid for worker in verify.workers(host)}


def is_whole(host: LabHost) -> bool:
    return verify.check_worker_set(host).ok


def assert_as_migrated(host: LabHost, seconds: float = 60) -> None:
    """The set is back within SECONDS: no process too few or too many, and each queue works."""
    wait_for(lambda: is_whole(host), seconds, "the worker set")
    checks = [
        verify.check_processes(host),
        verify.check_old_service(host),
        verify.check_new_jobs(host),
        verify.check_web(host),
    ]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []


def assert_nothing_to_do(lab: Lab) -> None:
    before = pids(lab[NAME])
    again = run.apply(lab).check()
    assert [operation.name for operation in again.changed] == []
    assert pids(lab[NAME]) == before


@contextmanager
def jobs_running(host: LabHost, first: int, seconds: float) -> Iterator[list[int]]:
    """Have a job of SECONDS running on each queue when the block begins, each done at its end."""
    numbers = misp.enqueue(host, 1, first=first, seconds=seconds)
    wait_for(lambda: observe.in_flight(host) == len(QUEUES), 30, "a job running on each queue")
    yield numbers
    check = verify.check_jobs(host, numbers, "the jobs that ran when it happened")
    assert check.ok, check.seen


def test_a_reboot(lab: Lab, host: LabHost) -> None:
    host.restart()
    assert_as_migrated(host)
    assert_nothing_to_do(lab)


def test_redis_restarted(lab: Lab, host: LabHost) -> None:
    before = pids(host)
    with jobs_running(host, PAUSED, 10):
        host.exec(["systemctl", "restart", misp.redis_unit(host.spec)])
        # Idle workers lose the connection that they wait on, and end. A busy one does not notice:
        # phpredis connects again for its next command.
        wait_for(lambda: len(before.items() & pids(host).items()) <= len(QUEUES), 40, "new workers")
        wait_for(lambda: observe.in_flight(host) == 0, 20, "the running jobs to end")
    assert_as_migrated(host)
    assert_nothing_to_do(lab)


def test_redis_away_for_a_minute(lab: Lab, host: LabHost) -> None:
    unit = misp.redis_unit(host.spec)
    host.exec(["systemctl", "stop", unit])
    back_at = time.monotonic() + REDIS_AWAY
    seen: Counter[str] = Counter()

    def minute_is_over() -> bool:
        seen.update({worker.state for worker in verify.workers(host)})
        return time.monotonic() >= back_at

    try:
        wait_for(minute_is_over, REDIS_AWAY + 30, "the minute to pass", interval=1)
    finally:
        host.exec(["systemctl", "start", unit])
    assert seen["BACKOFF"], seen
    assert not seen["FATAL"], seen
    # The eleventh wait is 11 s, and STARTING lasts 5 s.
    assert_as_migrated(host, 40)
    assert_nothing_to_do(lab)


def test_a_worker_killed(lab: Lab, host: LabHost) -> None:
    before = pids(host)
    host.exec(["kill", "-9", str(before["default_00"])])
    wait_for(lambda: pids(host).get("default_00", 0) not in (0, before["default_00"]), 20, "it")
    assert_as_migrated(host)
    after = pids(host)
    assert {name for name in after if after[name] != before[name]} == {"default_00"}
    assert_nothing_to_do(lab)


def test_a_log_is_rotated_while_jobs_write_to_it(lab: Lab, host: LabHost) -> None:
    before = pids(host)
    # The queue with one worker: all of its jobs are in this one log.
    jobs = 20
    numbers = misp.enqueue(host, jobs, queues=("update",), first=LOGGED, seconds=0.2)
    host.exec(["python3", "-c", FILL, str(before["update_00"]), str(FILLERS)], timeout=120)
    check = verify.check_jobs(host, numbers, "jobs that write while the log is rotated")
    assert check.ok, check.seen
    logs = f"{LOGS}/update_00.log"

    def lines() -> list[str]:
        # Oldest first: a line may begin in one file and end in the next.
        text = host.exec(f"cat {logs}.2 {logs}.1 {logs} 2>/dev/null", check=False, timeout=120)
        return text.stdout.splitlines()

    def fillers() -> list[int]:
        return [int(line.split()[1]) for line in lines() if line.startswith("filler ")]

    wait_for(lambda: len(fillers()) >= FILLERS, 30, "the last line to be written")
    assert fillers() == list(range(FILLERS))
    done = [entry["id"] for entry in misp.ledger(host) if entry.get("number") in numbers]
    text = "\n".join(lines())
    # Once each: "started command", and "successfully completed".
    assert {text.count(f"[JOB ID: {one}] - started command") for one in done} == {1}
    assert {text.count(f"[JOB ID: {one}] - successfully completed") for one in done} == {1}
    host.exec(["test", "-f", f"{logs}.1"])
    owners = host.exec(f"stat -c '%U %s' {logs} {logs}.1").stdout.split()
    assert owners[::2] == ["root", "root"]
    assert int(owners[1]) < 5_300_000
    assert pids(host) == before
    assert_nothing_to_do(lab)


def strays(host: LabHost) -> list[str]:
    """Workers that supervisord does not know: those of one that was killed."""
    listed = host.exec(["ps", "-eo", "pid,args"]).stdout.splitlines()
    known = {str(pid) for pid in pids(host).values()}
    found = [line.split()[0] for line in listed if "cake.php" in line and " start_worker " in line]
    return [pid for pid in found if pid not in known]


def test_supervisord_killed(host: LabHost) -> None:
    first, old = observe.daemon(host), set(pids(host).values())
    with jobs_running(host, PAUSED + 100, 10):
        host.exec(["kill", "-9", str(first)])
    # The unit's own Restart=on-failure, after its RestartSec.
    wait_for(
        lambda: observe.daemon(host) not in (0, first), RESTART_SEC + 15, "supervisord", interval=1
    )
    wait_for(lambda: is_whole(host), 60, "the worker set")
    assert not old & set(pids(host).values())
    for check in (verify.check_new_jobs(host), verify.check_web(host)):
        assert check.ok, f"{check.name}: {check.seen}"


def test_the_next_run_ends_the_workers_of_the_killed_supervisord(lab: Lab, host: LabHost) -> None:
    run.apply(lab).check()
    assert strays(host) == []
    assert_as_migrated(host)


def test_once_those_are_gone_nothing_is_to_be_done(lab: Lab, host: LabHost) -> None:
    wait_for(lambda: observe.in_flight(host) == 0, 30, "all workers to be idle")
    if left := strays(host):
        host.exec(["kill", *left])
    wait_for(lambda: not strays(host), 20, "the stray workers to go")
    assert_as_migrated(host)
    assert_nothing_to_do(lab)


def test_nothing_is_left_anywhere(host: LabHost) -> None:
    wait_for(lambda: not load.left(host), 30, "nothing waiting or running")
    runs = Counter(entry["id"] for entry in misp.ledger(host))
    assert [one for one, times in runs.items() if times > 1] == []
