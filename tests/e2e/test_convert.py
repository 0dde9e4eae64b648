"""Jobs that the old workers did not get to become jobs of the new ones: each runs exactly once."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from tasks.host import moves
from tasks.remote import call
from tasks.settings import Secrets
from tests.e2e import observe, secrecy
from tests.labs import LabMaker
from tests.unit import samples

LIMIT = 6  # seconds that the old workers get
CONVERT = {"on_leftover_jobs": "convert", "drain_timeout": LIMIT, "scheduled_tasks": "leave"}
DEBIAN = HostSpec("convert-debian", "debian-12", waiting_jobs=0, data=CONVERT)
EL = HostSpec(
    "convert-el", "el-like", profile="2.4.199", redis="shared", waiting_jobs=0, data=CONVERT
)
STRANDED = HostSpec("stranded", "debian-12", waiting_jobs=0, data=CONVERT)
UNFIT = HostSpec("unfit", "el-like", profile="2.4.199", waiting_jobs=0, data=CONVERT)
SPECS = (DEBIAN, EL, STRANDED, UNFIT)
CONVERTED = pytest.mark.parametrize("name", [DEBIAN.name, EL.name])

BUSY = ("default", "prio")  # queues with more work than their one old worker gets time for
EACH, SECONDS = 100, 3
SLOW, DELAYED, RUNNING = 1001, 2001, 3001
TASK = {
    "class": "ServerShell",
    "args": [{"0": "enqueuePull", "1": 4102444800, "2": 1, "3": 1, "id": "f" * 32, "s_time": 1}],
    "queue": "default",
    "track": False,
}
TASK_TIME = "4102444800"  # 2100: a scheduled task stays where it is
UNKNOWN = '{"class":"Somebody","args":[[1]],"id":"x"}'
STRANGER = "4194305"  # a PID that no process can have


def redis(host: LabHost, *words: str, database: int = 0) -> str:
    """What Redis says to a command; the password comes by standard input."""
    address, password = "127.0.0.1", ""
    if host.spec.redis == "shared":
        reference = host.data["misp_redis_password"]["file"]
        address, password = "redis", Path(reference).read_text(encoding="utf-8")
    command = shlex.join(["redis-cli", "-h", address, "-n", str(database), *words])
    login = 'REDISCLI_AUTH=$(cat); test -z "$REDISCLI_AUTH" || export REDISCLI_AUTH; exec '
    return host.exec(login + command, input=password).stdout.strip()


def pause_old_workers(host: LabHost) -> None:
    """To be called while they are idle: a job's own process would end by this signal."""
    host.exec(["pkill", "-USR2", "-f", "[b]in/resque"])


@dataclass
class Story:
    lab: Lab
    plan: run.Run
    ended: run.Run
    copies: dict[str, list[dict[str, Any]]]


def prepare(host: LabHost) -> None:
    """Work that takes longer than the limit, jobs for later, a scheduled task, dead workers."""
    misp.enqueue(host, EACH, queues=BUSY, first=SLOW, seconds=SECONDS)
    misp.enqueue(host, 1, first=DELAYED, extra=["--legacy", "--delay", "7200"])
    redis(host, "rpush", f"resque:_schdlr_:{TASK_TIME}", json.dumps(TASK))
    redis(host, "zadd", "resque:_schdlr_", TASK_TIME, TASK_TIME)
    name = host.exec("uname -n").stdout.strip()
    redis(host, "sadd", "resque:workers", f"{name}:{STRANGER}:prio")
    redis(host, "hset", "resque:ResqueWorker", STRANGER, "a:0:{}")
    redis(host, "hset", "ResqueWorker", STRANGER, "a:0:{}")


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    for name in (DEBIAN.name, EL.name):
        prepare(lab[name])
    stranded = lab[STRANDED.name]
    stranded.exec("systemctl disable -q misp-workers; systemctl kill -s KILL misp-workers")
    stranded.exec("systemctl stop misp-workers")
    misp.enqueue(stranded, 2, first=SLOW)
    unfit = lab[UNFIT.name]
    pause_old_workers(unfit)
    misp.enqueue(unfit, 2, first=SLOW)
    redis(unfit, "rpush", "resque:queue:email", UNKNOWN)
    plan = run.plan(lab)
    with secrecy.kept(lab):
        ended = run.apply(lab)
    return Story(lab, plan, ended, {host.name: copies(host) for host in lab})


def copies(host: LabHost) -> list[dict[str, Any]]:
    """The copies of the old lists that were kept on the host, oldest first."""
    listed = host.exec(f"ls {observe.MIGRATION_STATE}/old-jobs-*.json", check=False).stdout.split()
    return [json.loads(host.read(path)) for path in listed]


def numbers() -> list[int]:
    return [*range(SLOW, SLOW + 2 * EACH), *range(DELAYED, DELAYED + 5)]


@CONVERTED
def test_every_job_ran_once_some_by_old_workers_some_by_new(story: Story, name: str) -> None:
    host = story.lab[name]
    check = verify.check_jobs(host, numbers(), "jobs", seconds=120)
    assert check.ok, check.seen
    backends = {e["number"]: e["backend"] for e in misp.ledger(host) if e.get("number")}
    assert {backends[number] for number in range(SLOW, SLOW + 2 * EACH)} == {"resque", "simple"}
    assert {backends[number] for number in range(DELAYED, DELAYED + 5)} == {"simple"}
    assert host.exec("ls /var/lib/misp-stub/inflight").stdout == ""
    assert f"[{name}]" in story.ended.stderr
    assert "job(s) of the old backend became jobs of the new one" in story.ended.stderr


@CONVERTED
def test_the_host_is_migrated_and_nothing_changes_any_more(story: Story, name: str) -> None:
    host = story.lab[name]
    checks = [verify.check_worker_set(host), verify.check_old_service(host), verify.check_web(host)]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []
    again = run.apply(story.lab, "--limit", name)
    assert again.changed == ()
    assert "task(s) of MISP's scheduler (pulls, pushes, feeds, caches) stay" in again.stderr


@CONVERTED
def test_a_copy_of_every_converted_job_is_on_the_host(story: Story, name: str) -> None:
    host = story.lab[name]
    mode = host.exec(f"stat -c '%a %U' {observe.MIGRATION_STATE}/old-jobs-*.json").stdout.split()
    assert mode[:2] == ["600", "root"]
    records = [
        record
        for copy in story.copies[name]
        for records in copy["lists"].values()
        for record in records
    ]
    kept = {json.loads(record)["args"][0]["1"] if '"s_time"' in record
            else json.loads(record)["args"][0][1] for record in records}  # fmt: skip
    simple = {str(e.get("number")) for e in misp.ledger(host) if e["backend"] == "simple"}
    wanted = {str(number) for number in numbers()}
    assert simple & wanted <= {str(number) for number in kept}


@CONVERTED
def test_scheduled_tasks_stay_as_they_are(story: Story, name: str) -> None:
    host = story.lab[name]
    assert redis(host, "lrange", f"resque:_schdlr_:{TASK_TIME}", "0", "-1") == json.dumps(TASK)
    assert redis(host, "zrange", "resque:_schdlr_", "0", "-1") == TASK_TIME


@CONVERTED
def test_nothing_is_left_of_dead_workers_and_of_the_conversion(story: Story, name: str) -> None:
    keys = redis(story.lab[name], "--scan").split()
    left = [key for key in keys if "orker" in key or "held" in key or ":queue:" in key]
    assert left == []


@CONVERTED
def test_a_converted_job_is_known_by_its_new_id(story: Story, name: str) -> None:
    host = story.lab[name]
    done = [e for e in misp.ledger(host) if e["backend"] == "simple" and e.get("number")]
    record = redis(host, "get", f"background_jobs:job_status:{done[0]['id']}", database=1)
    assert json.loads(record)["status"] == 4


def test_jobs_without_old_workers_are_converted_at_once(story: Story) -> None:
    host = story.lab[STRANDED.name]
    check = verify.check_jobs(host, range(SLOW, SLOW + 10), "stranded jobs")
    assert check.ok, check.seen
    assert verify.check_worker_set(host).ok


def test_a_record_that_is_no_job_stays_and_is_named_and_keeps_the_old_workers(
    story: Story,
) -> None:
    host = story.lab[UNFIT.name]
    assert story.ended.failed_hosts == (UNFIT.name,)
    assert "not converted: queue:email: no job of MISP's: " in story.ended.stderr
    assert "the old backend has 1 record(s) that are no jobs of MISP's" in story.ended.stderr
    assert redis(host, "lrange", "resque:queue:email", "0", "-1") == UNKNOWN
    check = verify.check_jobs(host, range(SLOW, SLOW + 10), "jobs beside it")
    assert check.ok, check.seen
    assert observe.old_workers_live(host)
    redis(host, "lrem", "resque:queue:email", "0", UNKNOWN)
    run.apply(story.lab, "--limit", UNFIT.name).check()
    assert verify.check_worker_set(host).ok
    assert verify.check_old_service(host).ok


@pytest.mark.resilience
def test_a_long_job_is_finished_and_what_waits_behind_it_converted(make_lab: LabMaker) -> None:
    lab = make_lab([HostSpec("long", "debian-12", waiting_jobs=0, data=CONVERT)])
    host = lab["long"]
    misp.enqueue(host, 1, queues=["default"], first=RUNNING, seconds=75)
    misp.enqueue(host, 3, queues=["default"], first=RUNNING + 1)
    first = run.apply(lab)
    assert first.exit_code == 1
    assert "all waiting jobs are converted, but then: drain limit" in first.stderr
    assert verify.check_jobs(host, range(RUNNING + 1, RUNNING + 4), "jobs behind it").ok
    assert [e for e in misp.ledger(host) if e.get("number") == RUNNING] == []
    assert verify.check_jobs(host, [RUNNING], "the long job", seconds=100).ok
    run.apply(lab).check()
    assert verify.check_worker_set(host).ok


CUT_EACH = 80
WAITING, HELD = "resque:queue:default", "resque:misp-workers-held"
CUTS = ((60, 1000), (0, 60), (20, 1000), (0, 20))  # how long both lists are at most by then
CONVERT_SCRIPT = "/root/convert"
TARGET = samples.target(secrets=Secrets())
# Starts a conversion and kills it, with all that it has started, once both lists are that short.
CUT = r"""
list(, $script, $waiting, $held) = $argv;
$redis = new Redis();
$redis->connect("127.0.0.1");
$input = array(array("file", $script, "r"));
$process = proc_open(array("setsid", "sh", "-s", "--", "convert"), $input, $pipes);
$group = proc_get_status($process)["pid"];
do {
    $is_long = $redis->lLen("resque:queue:default") > $waiting;
} while ($is_long || $redis->lLen("resque:misp-workers-held") > $held);
posix_kill(-$group, SIGKILL);
"""


@pytest.mark.resilience
@pytest.mark.parametrize("end", ["deploy.py", "rollback.py"])
def test_a_conversion_that_is_cut_off_loses_nothing(make_lab: LabMaker, end: str) -> None:
    """Cut at many points, then the deploy goes on, or the way back is taken."""
    lab = make_lab([HostSpec("cut", "debian-12", waiting_jobs=0)])
    host = lab["cut"]
    pause_old_workers(host)
    misp.enqueue(host, 1, queues=["default"], first=RUNNING)
    first = run.apply(lab, "--data", "drain_timeout=1")
    assert first.exit_code == 1  # and both backends run
    host.exec("supervisorctl stop 'misp-workers:*'", check=False)
    convert = call(moves.convert, site=TARGET.site(), desired=TARGET.desired())
    script = f"{convert.words('/usr/bin/python3')} <<'END'\n{str.__str__(convert.stdin())}END\n"
    misp.replace(host, CONVERT_SCRIPT, script)
    seen = []
    for number, (waiting, held) in enumerate(CUTS):
        misp.enqueue(
            host,
            CUT_EACH,
            queues=["default"],
            first=SLOW + number * CUT_EACH,
            extra=["--legacy"],
        )
        host.exec(["php", "-r", CUT, "--", CONVERT_SCRIPT, str(waiting), str(held)])
        seen.append({key: int(redis(host, "llen", key)) for key in (WAITING, HELD)})
    assert [cut for cut in seen if cut[WAITING] and cut[HELD]], seen
    assert [cut for cut in seen if not cut[WAITING] and cut[HELD]], seen
    host.exec("supervisorctl start 'misp-workers:*'", check=False)
    run.apply(lab, "--data", "on_leftover_jobs=convert", deploy=end).check()
    if end == "rollback.py":
        host.exec(["pkill", "-CONT", "-f", "[b]in/resque"])
    jobs = [RUNNING, *range(SLOW, SLOW + len(CUTS) * CUT_EACH)]
    check = verify.check_jobs(host, jobs, "jobs", seconds=200)
    assert check.ok, check.seen
    assert redis(host, "llen", HELD) == "0"


SCHEMA = """
CREATE DATABASE misp;
CREATE USER misp@localhost IDENTIFIED BY 'stub';
GRANT ALL ON misp.* TO misp@localhost;
CREATE TABLE misp.jobs (id INT AUTO_INCREMENT PRIMARY KEY, process_id VARCHAR(36));
INSERT INTO misp.jobs (process_id) VALUES ('0'), ('{old}'), ('{other}');
"""


@pytest.mark.resilience
def test_misps_page_of_jobs_knows_a_converted_job_where_its_database_is_reached(
    make_lab: LabMaker,
) -> None:
    lab = make_lab([HostSpec("table", "debian-12", waiting_jobs=0, data=CONVERT)])
    host = lab["table"]
    host.exec("apt-get update -q && apt-get install -yq mariadb-server php-mysql", timeout=300)
    pause_old_workers(host)
    misp.enqueue(host, 1, queues=["prio"], first=SLOW)
    job = json.loads(redis(host, "lindex", "resque:queue:prio", "0"))
    host.exec("mariadb", input=SCHEMA.format(old=job["id"], other="e" * 32))
    ended = run.apply(lab).check()
    assert "MISP's page of jobs will not know" not in ended.stderr
    rows = host.exec(["mariadb", "-N", "-e", "SELECT process_id FROM misp.jobs ORDER BY id"])
    done = next(e for e in misp.ledger(host) if e.get("number") == SLOW)
    assert rows.stdout.split() == ["0", done["id"], "e" * 32]
    assert done["backend"] == "simple"
