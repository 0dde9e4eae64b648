"""Lines of root's crontab for MISP's scheduled tasks, as cron and a real shell take them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tasks.host import cron
from tasks.host.cron import Task
from tasks.host.errors import HostError

DUE = 1_800_000_000  # a whole minute
EVERY_SIX = Task("fetch_feeds", 3, 6, DUE, 5, due=DUE)
ONCE = Task("pull_all", 1, 0, DUE, 2, due=DUE + 37)
HOUR = 3600


def command(task: Task, root: str = "/var/www/MISP") -> str:
    """What cron gives the shell: the text after the user, its escaped % resolved."""
    line = cron.lines([task], "www-data", root)[1]
    assert re.fullmatch(r"[0-5]?\d \* \* \* \* www-data .*", line)
    text = line.split(" ", 6)[6]
    assert "%" not in text.replace(r"\%", "")
    return text.replace(r"\%", "%")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A MISP whose `cake` notes how it was called, and a host whose clock says FAKE_TIME."""
    for name in ("bin", "app/tmp/logs", "app/Console"):
        (tmp_path / name).mkdir(parents=True)
    date = tmp_path / "bin/date"
    date.write_text('#!/bin/sh\n[ "$1" = +%s ] && echo "$FAKE_TIME"\n')
    cake = tmp_path / "app/Console/cake"
    cake.write_text(f'#!/bin/sh\necho "$PWD: $*" >>{tmp_path}/calls\necho done\n')
    for path in (date, cake):
        path.chmod(0o755)
    return tmp_path


def calls(root: Path, task: Task, at: int) -> list[str]:
    """What one minute of cron's calls."""
    (root / "calls").unlink(missing_ok=True)
    path = f"{root}/bin:{os.environ['PATH']}"
    env = {"PATH": path, "FAKE_TIME": str(at)}
    subprocess.run(["sh", "-c", command(task, str(root))], env=env, cwd="/", check=False)
    found = root / "calls"
    return found.read_text().splitlines() if found.exists() else []


@pytest.mark.parametrize(
    ("task", "after", "is_called"),
    [
        (EVERY_SIX, 0, True),
        (EVERY_SIX, 1, True),
        (EVERY_SIX, 59, True),
        (EVERY_SIX, -HOUR, False),
        (EVERY_SIX, -HOUR + 59, False),
        (EVERY_SIX, -6 * HOUR, False),
        (EVERY_SIX, HOUR, False),
        (EVERY_SIX, 5 * HOUR + 59, False),
        (EVERY_SIX, 6 * HOUR, True),
        (EVERY_SIX, 600 * HOUR + 2, True),
        (EVERY_SIX._replace(hours=1), HOUR, True),
        (ONCE, 0, True),
        (ONCE, HOUR, False),
        (ONCE, -HOUR, False),
    ],
)
def test_a_line_runs_its_task_at_its_times_alone(
    root: Path, task: Task, after: int, is_called: bool
) -> None:
    found = calls(root, task, DUE + after)
    words = {"fetch_feeds": "fetchFeed 3 all", "pull_all": "pullAll 1 full"}[task.kind]
    wanted = [f"{root}/app/tmp/logs: Server {words}"] if is_called else []
    assert found == wanted
    log = root / "app/tmp/logs/misp-tasks.log"
    assert (log.read_text() if log.exists() else "") == "done\n" * len(wanted)


@pytest.mark.parametrize("linked", ["app/tmp/logs", "app/tmp"])
def test_a_folder_of_logs_that_is_a_link_keeps_no_task_from_running(
    root: Path, linked: str
) -> None:
    """From there `..` leads to where the link goes to."""
    elsewhere = root / "var/log/misp"
    elsewhere.parent.mkdir(parents=True)
    (root / linked).rename(elsewhere)
    (root / linked).symlink_to(elsewhere)
    assert len(calls(root, EVERY_SIX, DUE)) == 1
    assert (root / "app/tmp/logs/misp-tasks.log").read_text() == "done\n"


def test_a_task_that_still_runs_is_not_started_again(root: Path) -> None:
    lock = root / "app/tmp/logs/misp-task-fetch_feeds.lock"
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo on; exec sleep 60"],
                          stdout=subprocess.PIPE) as holder:  # fmt: skip
        assert holder.stdout is not None and holder.stdout.readline() == b"on\n"
        assert calls(root, EVERY_SIX, DUE) == []
        holder.kill()


def test_cron_comes_in_the_minute_of_the_first_run() -> None:
    line = cron.lines([EVERY_SIX._replace(due=DUE + 17 * 60 + 5)], "www-data", "/m")[1]
    assert line.startswith("17 ")  # zones are whole hours here
    assert f"- {DUE + 17 * 60} " in line


def test_the_file_has_a_comment_and_a_line_for_each_task_that_cron_runs() -> None:
    text = cron.crontab([ONCE, EVERY_SIX, ONCE._replace(kind="push_all", due=0)], "apache", "/m")
    lines = [line for line in text.splitlines() if line.startswith("#") or " apache " in line]
    assert [line.split(" ")[1] for line in lines if line.startswith("# ")][2:] == [
        "fetch_feeds",
        "pull_all",
    ]
    assert "# fetch_feeds of user 3: every 6 h from 2027-01-15 08:00 UTC on" in lines
    assert "# pull_all of user 1: once from 2027-01-15 08:00 UTC on" in lines
    assert text.endswith("2>&1\n")
    assert cron.has(text, EVERY_SIX) and not cron.has(text, EVERY_SIX._replace(due=DUE + 60))


@pytest.mark.parametrize("name", ["www-data", "apache", "_www", "Svc-misp", "www.misp", "x" * 32])
def test_a_name_that_useradd_takes_is_fine(name: str) -> None:
    assert f" * * * * {name} s=$((" in cron.crontab([ONCE], name, "/var/www/MISP")


@pytest.mark.parametrize(
    "name", ["", "a b", "a\nroot", "a%", "www-data\n", "A;", "x" * 33, "A\\b", "-n", "a@b", "a$"]
)
def test_a_name_that_could_be_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(HostError, match="cannot name the user"):
        cron.crontab([ONCE], name, "/var/www/MISP")
    with pytest.raises(HostError, match="cannot name the user"):
        cron.crontab([ONCE], "www-data", f"/var/{name or '../x y'}\n")


@pytest.mark.parametrize(
    ("hours", "start", "after", "wanted"),
    [
        (6, 1000, 999, 1000),
        (6, 1000, 1000, 1000 + 6 * HOUR),
        (6, 1000, 1000 + 6 * HOUR - 1, 1000 + 6 * HOUR),
        (6, 1000, 1000 + 60 * HOUR + 5, 1000 + 66 * HOUR),
        (0, 1000, 999, 1000),
        (0, 1000, 1000, 0),
        (6, 0, 5, 0),
    ],
)
def test_the_next_time(hours: int, start: int, after: int, wanted: int) -> None:
    assert cron.next_due(Task("pull_all", 1, hours, start, 1), start, after) == wanted
