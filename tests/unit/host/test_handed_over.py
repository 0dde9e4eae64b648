"""Root's file about scheduled tasks: what is written is what is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tasks.host import files, handed_over
from tasks.host.cron import Task
from tasks.host.handed_over import Kept
from tasks.host.site import Site
from tests.unit.host import old_side

PULL = Task("pull_all", 7, 6, 1000, 1, due=2000, job="j")
PUSH = Task("push_all", 7, 6, 1000, 2, due=2000)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes root's files")


@pytest.fixture
def site(folder: Path) -> Site:
    return old_side.site(state_dir=str(folder / "state"))


def test_what_is_kept_comes_back_with_any_crontab(site: Site) -> None:
    assert handed_over.load(site) == handed_over.done({})
    kept = Kept({"pull_all": PULL}, False, {"push_all": PUSH}, b"# \xff mine\n", "token", False)
    for one in (kept, kept._replace(crontab=None, is_removed=True), handed_over.done({})):
        handed_over.keep(site, one)
        assert handed_over.load(site) == one
    assert files.mode_of(site.state_dir + "/scheduled-tasks") == "0:0 600"
    handed_over.forget(site)
    assert handed_over.load(site) == handed_over.done({})


def test_only_what_is_under_way_moves() -> None:
    kept = Kept({"pull_all": PULL, "push_all": PUSH}, False, {"push_all": PUSH}, None, "t", False)
    assert kept.moving == {"pull_all": PULL}
    assert handed_over.done(kept.tasks).moving == {}
    assert handed_over.done(kept.tasks).tasks["pull_all"].job == ""


def test_a_hand_over_that_an_older_version_began_is_finished(site: Site) -> None:
    handed_over.keep(site, handed_over.done({}))
    text = json.dumps({"tasks": [PULL], "is_done": False})
    files.write(site.state_dir + "/scheduled-tasks", text.encode())
    kept = handed_over.load(site)
    assert kept.moving == {"pull_all": PULL}
    assert kept.is_removed
