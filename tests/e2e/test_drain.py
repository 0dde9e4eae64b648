"""What keeps the old backend from becoming quiet is named, and nothing is lost.

Something that goes on using it, by settings from before; an old worker that died alone.
"""

from __future__ import annotations

import time

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

SPECS = (
    HostSpec("stale", "el-like", profile="2.4.199", waiting_jobs=0),
    HostSpec("lone", "debian-12", profile="2.4.199", waiting_jobs=0),
    HostSpec("taken-over", "el-like", waiting_jobs=0, data={"on_leftover_jobs": "convert"}),
)
LIMIT = 12
# As a second web server of the same MISP would, that nobody told.
STALE_WRITER = """
number=5000
while [ ! -e /run/stale-writer.stop ]; do
    number=$((number + 1))
    php "$1/app/Console/stub_enqueue.php" --legacy --queue prio --number $number
    sleep 0.05
done
"""


def start_stale_writer(host: LabHost) -> None:
    misp.replace(host, "/usr/local/bin/stale-writer", STALE_WRITER)
    as_web_user = f"setpriv --reuid {host.spec.web_user} --clear-groups"
    run_it = f"{as_web_user} sh /usr/local/bin/stale-writer {host.spec.misp_root}"
    host.exec(f"setsid {run_it} >/dev/null 2>&1 &")


def test_a_writer_with_old_settings_is_named_and_loses_nothing(lab: Lab) -> None:
    host = lab["stale"]
    start_stale_writer(host)
    for policy in ("stop", "convert"):
        limit = ("--data", f"drain_timeout={LIMIT}")
        stopped = run.apply(lab, "--limit", "stale", *limit, "--data", f"on_leftover_jobs={policy}")
        assert stopped.exit_code == 1
        # Which check refuses is a matter of moments: whether a look finds a job of the writer's.
        assert "with settings from before: a PHP of the web tier" in stopped.stderr
        assert observe.old_workers_live(host)
    host.exec("touch /run/stale-writer.stop")
    run.apply(lab, "--limit", "stale").check()
    done = sorted(e["number"] for e in misp.ledger(host) if (e.get("number") or 0) > 5000)
    assert done == list(range(5001, 5001 + len(done)))
    assert len(done) >= LIMIT
    assert verify.check_old_service(host).ok


def kill_old_worker(host: LabHost, queue: str) -> None:
    """Without the other ones noticing: their unit stays active, so it starts none again."""
    host.exec(f"kill -9 $(grep -lsz '^QUEUE={queue}$' /proc/[0-9]*/environ | cut -d/ -f3)")


def is_late(lab: Lab) -> bool:
    seen = run.pyinfra(lab, "status.py", "--dry", "--limit", "lone")
    return "nothing brings delayed jobs to their queues when they are due" in seen.stderr


def test_a_queue_without_its_old_worker_ends_the_drain_and_not_the_conversion(lab: Lab) -> None:
    """Not after the drain limit, which is half an hour: nobody would have come by then."""
    for name in ("lone", "taken-over"):
        kill_old_worker(lab[name], "prio")
        misp.enqueue(lab[name], 3, queues=["prio", "email"], first=1)
    lab["lone"].exec("pkill -9 -f '[r]esque-scheduler'")
    misp.enqueue(lab["lone"], 1, queues=["cache"], first=7, extra=["--delay", "1"])

    began = time.monotonic()
    ended = run.apply(lab, "--limit", "lone", "--limit", "taken-over")
    assert time.monotonic() - began < 300
    assert ended.failed_hosts == ("lone",)
    assert "note: no old worker lives for prio: start one by `setsid -w runuser -u " in ended.stderr
    found = "3 waiting in prio (first: AdminShell stubJob), 1 delayed"
    reason = f"the old backend has {found}, and no old worker lives for prio"
    assert reason in ended.stderr
    assert observe.old_processes(lab["lone"])
    done = verify.check_jobs(lab["taken-over"], range(1, 7), "jobs")
    assert done.ok, done.seen
    assert verify.check_old_service(lab["taken-over"]).ok


def test_with_the_remedy_that_it_names_the_migration_goes_on(lab: Lab) -> None:
    host = lab["lone"]
    cake = f"{host.spec.misp_root}/app/Console/cake CakeResque.CakeResque"
    host.exec(f"{cake} start --interval 5 --queue prio", user=host.spec.web_user)
    wait_for(lambda: is_late(lab), 90, "the delayed job is late")
    host.exec(f"{cake} startscheduler --interval 5", user=host.spec.web_user)
    run.apply(lab, "--limit", "lone").check()
    done = verify.check_jobs(host, range(1, 8), "jobs")
    assert done.ok, done.seen
    assert verify.check_old_service(host).ok
