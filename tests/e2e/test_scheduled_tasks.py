"""MISP's scheduled tasks go to cron in one run, one of them due within it, and come back."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe
from tests.labs import LabMaker, started

SPECS = (
    HostSpec("tasks-debian", "debian-12", profile="2.4.199", waiting_jobs=1),
    HostSpec("tasks-el", "el-like", profile="2.4.199", waiting_jobs=1),
)
CRONTAB = "/etc/cron.d/misp-scheduled-tasks"
DELAYED = "resque:_schdlr_"
HOUR = 3600
WITHIN = 8  # seconds after which the run is still at work, and the old workers live
SOON = 90  # after which it has ended, but cron may not have read its file
USER = 1
_SQL = (
    '$d = new PDO("mysql:host=localhost;dbname=misp", "misp", "stub");'
    "echo json_encode($d->query($argv[1])->fetchAll(PDO::FETCH_NUM));"
)


def sql(host: LabHost, statement: str) -> Any:
    return json.loads(host.exec(["php", "-r", _SQL, "--", statement]).stdout)


def add_database(host: LabHost, tables: str) -> None:
    """Give MISP a database, and its old workers a PHP that has read how to reach it."""
    host.exec(["sh", f"{misp.STUB}/install-database.sh", tables], timeout=180)
    host.exec("systemctl restart misp-workers")
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")


def switch_on(host: LabHost, kind: str, hours: int, due: int) -> None:
    """As MISP's page does it."""
    script = f"{host.spec.misp_root}/app/Console/stub_task.php"
    words = [kind, str(hours), str(due), str(USER)]
    host.exec(["php", script, *words], user=host.spec.web_user)


def rows(host: LabHost) -> dict[str, int]:
    """When each task is due, as MISP's table has it."""
    found = sql(host, "SELECT type, next_execution_time FROM tasks WHERE timer > 0")
    return {kind: int(due) for kind, due in found}


def delayed(host: LabHost) -> dict[int, list[Any]]:
    """What the old backend has of scheduled tasks: words by time."""
    found = misp.ask_redis(
        host,
        '$found = array(); foreach ($redis->zRange("resque:_schdlr_", 0, -1) as $time) {'
        ' foreach ($redis->lRange("resque:_schdlr_:$time", 0, -1) as $record) {'
        " $found[] = array((int)$time, json_decode($record, true)); } }"
        " echo json_encode($found);",
    )
    return {at: [one["args"][0][str(key)] for key in range(4)] for at, one in found}


def ran(host: LabHost) -> dict[str, int]:
    """How often each task ran, by whomever."""
    text = host.exec("cat /var/lib/misp-stub/tasks.jsonl 2>/dev/null || true").stdout
    return dict(Counter(json.loads(line)["type"] for line in text.splitlines()))


def lines(host: LabHost) -> list[str]:
    return [line for line in host.read(CRONTAB).splitlines() if f" {host.spec.web_user} " in line]


def start(line: str) -> int:
    """The first time of a line, in seconds since 1970."""
    return int(line.partition(r"+\%s) - ")[2].partition(" ")[0])


def as_cron_does(host: LabHost, line: str, at: int) -> None:
    """Run a line's command when the clock says so: a shell of the web user's, little around it."""
    command = line.split(" ", 6)[6].replace(r"\%", "%").replace("$(date +%s)", str(at))
    host.exec(["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", command],
              user=host.spec.web_user, check=False)  # fmt: skip


def sides(host: LabHost, *names: str) -> list[str]:
    """Which backends ran jobs of these names, each as often as it did."""
    return [one["backend"] for one in misp.ledger(host) if one["args"][0] in names]


@dataclass
class Story:
    lab: Lab
    due: dict[str, int]
    plan: run.Run
    first: run.Run
    ended: float  # the first run, in seconds since 1970
    second: run.Run
    ran: dict[str, int] = field(default_factory=dict)

    @property
    def host(self) -> LabHost:
        (host,) = self.lab
        return host


@pytest.fixture(scope="module", params=SPECS, ids=lambda spec: spec.name)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab of one host: a task that is due while another host is waited for would prove less."""
    with started(request.config, [request.param]) as running:
        yield running


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    (host,) = lab
    add_database(host, "tasks.sql")
    later = (int(time.time()) + 5 * HOUR) // 60 * 60
    for kind, hours in (("pull_all", 24), ("fetch_feeds", 1), ("cache_feeds", 6)):
        switch_on(host, kind, hours, later)
    plan = run.plan(lab)
    now = int(time.time())
    due = {"pull_all": later, "fetch_feeds": now + WITHIN, "cache_feeds": now + SOON}
    # The delayed jobs from before do not count any more: MISP sees that their time is another one.
    switch_on(host, "fetch_feeds", 1, due["fetch_feeds"])
    switch_on(host, "cache_feeds", 6, due["cache_feeds"])
    first = run.apply(lab)
    ended = time.time()
    assert ended > due["fetch_feeds"]
    wait_for(lambda: len(ran(host)) > 1, 30, "the tasks that were due")
    return Story(lab, due, plan, first, ended, run.apply(lab), ran(host))


def test_the_plan_shows_the_lines_and_changes_nothing(story: Story) -> None:
    assert story.plan.ok, story.plan.stderr
    assert f"scheduled tasks go to {CRONTAB}:" in story.plan.stderr
    assert "Server pullAll 1 full" in story.plan.stderr
    assert "Server fetchFeed 1 all" in story.plan.stderr


def test_the_host_is_migrated_in_one_run_and_nothing_changes_any_more(story: Story) -> None:
    assert story.first.ok, story.first.stderr
    assert [one.name for one in story.second.changed] == []
    assert verify.check_worker_set(story.host).ok
    assert observe.old_processes(story.host) == []


def test_a_task_that_is_due_is_run_by_one_side_and_the_other_not_yet(story: Story) -> None:
    host = story.host
    assert set(story.ran) == {"fetch_feeds", "cache_feeds"}
    fetches = [one for one in misp.ledger(host) if one["args"][0] == "enqueueFeedFetch"]
    assert sides(host, "fetchFeed") == []
    assert {(one["backend"], int(one["args"][1])) for one in fetches} == {
        ("resque", story.due["fetch_feeds"])
    }
    # MISP's own Task::reQueue enqueues a task anew for the same time if it begins in that second.
    again = [one for one in fetches if int(one["started"]) == story.due["fetch_feeds"]]
    assert 1 <= len(fetches) <= 1 + len(again)
    if story.ended < story.due["cache_feeds"]:
        assert sides(host, "enqueueFeedCache", "cacheFeed") == ["simple"]
        assert "cache_feeds is due, and a job of the new backend does it" in story.first.stderr
    else:  # the run took so long that the old side may still have had it: once all the same
        assert len(sides(host, "enqueueFeedCache", "cacheFeed")) == 1


def test_cron_has_the_tasks_with_their_next_times_and_the_old_backend_none(story: Story) -> None:
    host = story.host
    assert host.exec(["stat", "-c", "%a %U:%G", CRONTAB]).stdout.strip() == "644 root:root"
    due = [
        story.due["cache_feeds"] + 6 * HOUR,
        story.due["fetch_feeds"] + HOUR,
        story.due["pull_all"],
    ]
    assert [start(line) for line in lines(host)] == [at - at % 60 for at in due]
    # What MISP takes no notice of stays, from before the last change there.
    assert list(delayed(host)) == [story.due["pull_all"]]


def test_a_line_runs_its_task_at_its_time(story: Story) -> None:
    host = story.host
    _, feeds, pull = lines(host)
    as_cron_does(host, feeds, start(feeds) - HOUR)
    assert ran(host) == story.ran
    as_cron_does(host, feeds, start(feeds))
    assert ran(host)["fetch_feeds"] == story.ran["fetch_feeds"] + 1
    as_cron_does(host, pull, start(pull) + 24 * HOUR)
    assert ran(host)["pull_all"] == 1
    log = host.exec("cat /var/www/MISP/app/tmp/logs/misp-tasks.log").stdout
    assert "Job done." in log and "Enqueued pulling from" in log


def test_the_way_back_returns_them_with_their_times_and_once(story: Story) -> None:
    host = story.host
    run.apply(story.lab, deploy="rollback.py").check()
    assert host.exec(["test", "-e", CRONTAB], check=False).exit_code == 1
    due = {
        "pull_all": story.due["pull_all"],
        "fetch_feeds": story.due["fetch_feeds"] + HOUR,
        "cache_feeds": story.due["cache_feeds"] + 6 * HOUR,
    }
    assert rows(host) == due
    assert {at: words[:2] for at, words in delayed(host).items()} == {
        due["pull_all"]: ["enqueuePull", due["pull_all"]],
        due["fetch_feeds"]: ["enqueueFeedFetch", due["fetch_feeds"]],
        due["cache_feeds"]: ["enqueueFeedCache", due["cache_feeds"]],
    }
    wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    # The old scheduler runs them again.
    count = ran(host)["pull_all"]
    switch_on(host, "pull_all", 24, int(time.time()) + 1)
    wait_for(lambda: ran(host)["pull_all"] > count, 30, "a task of the old scheduler")
    # One that begins in the second it is due for is enqueued for that second once more.
    wait_for(lambda: rows(host)["pull_all"] > time.time(), 30, "the row's next time")
    assert run.apply(story.lab, deploy="rollback.py").changed == ()


@pytest.mark.resilience
def test_cron_itself_runs_a_line(make_lab: LabMaker) -> None:
    lab = make_lab([HostSpec("cron", "debian-12", profile="2.4.199", waiting_jobs=0)])
    host = lab["cron"]
    add_database(host, "tasks.sql")
    switch_on(host, "fetch_feeds", 1, int(time.time()) + 5 * HOUR)
    run.apply(lab).check()
    (line,) = lines(host)
    now = int(time.time())
    soon = line.replace(str(start(line)), str(now - 10 * HOUR)).split(" ", 1)[1]
    text = host.read(CRONTAB).replace(line, "* " + soon)  # the time of each minute's call counts
    misp.replace(host, CRONTAB, text)
    wait_for(lambda: ran(host), 150, "a call of cron's")
    assert ran(host) == {"fetch_feeds": 1}


OWN = HostSpec("own", "debian-12", profile="2.5.18", waiting_jobs=0)
TASK = (
    "INSERT INTO tasks (type, action, params, user_id, timer, next_execution_time, enabled)"
    " VALUES ('Feed', 'fetch', '{feed}', 1, 86400, {due}, 1)"
)


@pytest.mark.resilience
def test_misps_own_scheduler_takes_them_from_2_5_18_on(make_lab: LabMaker) -> None:
    lab = make_lab([OWN])
    host = lab[OWN.name]
    add_database(host, "tasks-own.sql")
    due = int(time.time()) + 5 * HOUR
    words = {"0": "enqueueFeedFetch", "1": due, "2": 1, "3": 5, "id": "f" * 32, "s_time": 1}
    record = {"class": "ServerShell", "queue": "default", "track": True, "args": [words]}
    misp.ask_redis(
        host,
        f'$redis->rPush("{DELAYED}:{due}", {json.dumps(json.dumps(record))});'
        f' echo json_encode($redis->zAdd("{DELAYED}", {due}, "{due}"));',
    )
    sql(host, TASK.format(feed=5, due=due))  # of one feed, which is not the same
    refused = run.apply(lab)
    assert refused.exit_code == 1
    assert "MISP's own scheduler has none that does the same" in refused.stderr
    sql(host, TASK.format(feed="all", due=int(time.time()) - 1))
    run.apply(lab).check()
    assert delayed(host) == {}
    assert host.exec(["test", "-e", CRONTAB], check=False).exit_code == 1
    wait_for(lambda: ran(host), 30, "MISP's own scheduler")
    assert ran(host) == {"fetch_feeds": 1}
    run.apply(lab, deploy="rollback.py").check()
    assert delayed(host) == {due: ["enqueueFeedFetch", due, 1, 5]}
