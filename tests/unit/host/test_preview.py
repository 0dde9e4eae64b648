"""What a preview shows is what the step then writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import (
    boot,
    bridge,
    cron,
    files,
    launchers,
    old_units,
    originals,
    preview,
    rpc,
    scheduled_tasks,
    settings,
    workers,
)
from tasks.host.diffs import LATER, FileChange
from tasks.host.drain import Crew
from tasks.host.errors import RefusedError
from tasks.host.files import FileError
from tasks.host.misp import Misp, Stored
from tasks.host.preview import LAUNCHERS, LIBRARIES, RPC, SETTINGS, TASKS, WORKERS, Wants
from tasks.host.rpc import Wanted
from tasks.host.site import PASSWORD_SHA1_TOKEN, Desired, Site
from tasks.host.web_user import WebUser
from tests.unit.host.crew import WEB, crew, real
from tests.unit.host.fake_misp import FakeMisp
from tests.unit.host.real_supervisord import IDLE, free_port, workers_text
from tests.unit.host.tasks_table import NOW, TaskedMisp

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root's files have to be root's")

MISPS = "MispsPassword0123456789abcdefGHIJKLMNO"
JOBS = "SimpleBackgroundJobs"
CODE = Path(bridge.__file__).with_suffix(".php").read_text()


class SettingsOnly(Misp):
    """A MISP of which only settings are asked."""

    def __init__(self, one: Crew, user: WebUser, block: dict[str, Any]) -> None:
        self.site, self.user, self.desired = one.site, user, Desired()
        self._stored = Stored(block, {}, is_in_database=False, is_encrypted=False)

    def old_place(self) -> None:
        """It has no CakeResque."""


@pytest.fixture(name="one")
def _one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    with crew(tmp_path, free_port()) as one:
        monkeypatch.setattr(preview, "Daemon", lambda _: one.daemon)
        yield one


def wants(*steps: str, **changes: Any) -> Wants:
    return Wants([*steps], "", rotates=False, restarts=True, group_text="")._replace(**changes)


def shown(one: Crew, step: str, wanted: Wants, password: str = MISPS) -> list[FileChange]:
    misp = SettingsOnly(one, WEB, {"supervisor_password": password})
    return preview._MAKERS[step](preview._Steps(misp, wanted))


def rpc_text(one: Crew) -> str:
    server = f"port=127.0.0.1:{one.site.rpc_port}\nusername=supervisor"
    return f"[inet_http_server]\n{server}\npassword={{SHA}}{PASSWORD_SHA1_TOKEN}\n"


def check(changes: list[FileChange]) -> None:
    """The files are as they were shown to be."""
    for change in changes:
        if change.after != LATER:
            assert files.digest(change.path) == change.after, change.path


@pytest.mark.parametrize("password", [MISPS, "weak"])
@pytest.mark.parametrize("has_group", [True, False])
def test_the_rpcs_files(one: Crew, password: str, *, has_group: bool) -> None:
    if has_group:
        group = workers_text(one.site.misp_root, default=IDLE)
        real(one).include("misp-workers", group)
    text = rpc_text(one)
    found = shown(one, RPC, wants(rpc_text=text), password)
    paths = [one.site.rpc_file, real(one).drop_in, *[one.site.group_file] * has_group]
    assert [change.path for change in found] == paths
    assert found[0].diff[-1] == "+password=***"
    assert (found[0].after == LATER) is (password == "weak")
    rpc.Configuration(one, Wanted(text, rotates=False, is_on=False, misps=password)).run()
    check(found)
    assert shown(one, RPC, wants(rpc_text=text), password) == []


def test_the_web_user_cannot_have_thousands_of_secrets_looked_for(one: Crew) -> None:
    block = {f"key{number}": f"secret{number}" for number in range(5000)}
    block.update(supervisor_password=MISPS, redis_password="abc")
    assert set(preview._Steps(SettingsOnly(one, WEB, block), wants()).secrets) == {MISPS}


def test_a_new_password_is_another_one_that_nobody_sees(one: Crew) -> None:
    text = rpc_text(one)
    rpc.Configuration(one, Wanted(text, rotates=False, is_on=True, misps=MISPS)).run()
    (found,) = shown(one, RPC, wants(rpc_text=text, rotates=True))
    assert found.after == LATER
    hashed = Path(one.site.rpc_file).read_text().partition("{SHA}")[2].strip()
    assert hashed not in json.dumps(boot.plain(found))


def test_a_server_of_somebody_elses_keeps_its_file(one: Crew) -> None:
    assert [change.path for change in shown(one, RPC, wants())] == [real(one).drop_in]


def test_the_groups_file(one: Crew) -> None:
    real(one).start()
    text = workers_text(one.site.misp_root, default=IDLE)
    (found,) = shown(one, WORKERS, wants(group_text=text))
    assert found.before == ""
    workers.apply_group(one, text, lambda: None)
    check([found])
    assert shown(one, WORKERS, wants(group_text=text)) == []
    Path(one.site.group_file).chmod(0o666)
    (found,) = shown(one, WORKERS, wants(group_text=text))
    assert (found.before == found.after, found.diff) == (True, [])


@pytest.mark.parametrize("trap", ["fifo", "link", "huge"])
def test_a_trap_in_a_files_place_is_an_error_at_once(one: Crew, trap: str) -> None:
    path = Path(one.site.group_file)
    if trap == "fifo":
        os.mkfifo(path)
    elif trap == "link":
        os.chown(one.site.misp_root, WEB.uid, WEB.gid)
        path.symlink_to(f"{one.site.misp_root}/target")
    else:
        path.touch()
        os.truncate(path, 1 << 30)
    with pytest.raises(FileError):
        shown(one, WORKERS, wants(group_text="x"))


@pytest.mark.parametrize("size", [0, 1 << 30])
def test_launchers_are_shown_by_their_lines_and_a_huge_one_is_refused(
    one: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(launchers, "PLACES", (f"{tmp_path}/cron.d/*",))
    monkeypatch.setattr(old_units, "names", lambda *_: [])
    (tmp_path / "cron.d").mkdir()
    crontab, others = tmp_path / "cron.d/misp", tmp_path / "cron.d/others"
    start = f"@reboot x {one.site.misp_root}/app/Console/worker/start.sh TOKEN=abc"
    crontab.write_text(f"0 1 * * * root mysqldump -pUnknown\n{start}\n")
    os.mkfifo(tmp_path / "cron.d/fifo")
    (tmp_path / "cron.d/link").symlink_to("/dev/zero")
    others.touch()
    os.truncate(others, size)
    if size:
        with pytest.raises(RefusedError, match="is bigger than"):
            shown(one, LAUNCHERS, wants())
        return
    (found,) = shown(one, LAUNCHERS, wants())
    line = start.replace("abc", "***")
    assert found.diff[2:] == ["@@ -2 +2 @@", f"-{line}", f"+#misp-workers-migration# {line}"]
    launchers.take_out(one.site, WEB)
    check([found])
    (back,) = preview._launchers_back(one.site, [])
    assert (back.before, back.after) == (found.after, found.before)


def test_crons_file(old: Any, new: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "FILE", str(folder / "misp-scheduled-tasks"))
    for module in (scheduled_tasks, preview):
        clock = type("Clock", (), {"epoch": lambda _: NOW, "now": lambda _: 0.0, "sleep": None})
        monkeypatch.setattr(module, "Clock", clock)
    one = TaskedMisp(old, new, folder, "cron")
    steps = preview._Steps.__new__(preview._Steps)
    steps.one, steps.site, steps.secrets = one, one.site, []
    assert steps.tasks() == []
    one.add("pull_all", NOW + 9999, hours=24, user=3)
    one.add("fetch_feeds", NOW)
    (found,) = steps.tasks()
    assert found.is_volatile
    told = {task.kind: task.user for task in steps.handed_over}
    assert told == {"pull_all": 3, "fetch_feeds": 7}
    assert old.redis.command("KEYS", "*") != []
    scheduled_tasks.hand_over(one)
    check([found])
    assert steps.tasks() == []


def test_what_a_rollback_writes(one: Crew) -> None:
    before = workers_text(one.site.misp_root, prio=IDLE)
    real(one).include("misp-workers", before)
    text = rpc_text(one)
    rpc.Configuration(one, Wanted(text, rotates=False, is_on=True, misps=MISPS)).run()
    workers.apply_group(one, workers_text(one.site.misp_root, default=IDLE), lambda: None)
    gone, aside = preview._group_gone(one.site, [])
    assert (gone.path, gone.after, aside.path) == (
        one.site.group_file,
        "",
        one.site.group_aside,
    )
    assert f"+{before.splitlines()[0]}" in aside.diff
    rest = preview._kept(one.site, [one.site.rpc_file, real(one).drop_in, cron.FILE], [MISPS])
    assert [(change.path, change.after) for change in rest] == [
        (one.site.rpc_file, ""),
        (real(one).drop_in, ""),
    ]
    for change in rest:
        originals.restore(one.site, change.path)
    check(rest)
    assert preview._kept(one.site, [one.site.rpc_file], []) == []


# --- with a MISP --------------------------------------------------------------------------------


@pytest.fixture
def site(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(bridge, "CODE", CODE)
    (misp.folder / "conf.d").mkdir()
    (misp.folder / "supervisord.conf").write_text("[supervisord]\n")
    return misp.site(rpc_port=1)


def test_misps_own_files_are_known_by_their_digests(misp: FakeMisp, site: Site) -> None:
    steps = wants(LIBRARIES, SETTINGS)
    before = preview.deploy(site, Desired(), steps)
    names = ["composer.json", "composer.lock", "Config/config.php"]
    assert list(before.digests) == [f"{misp.app}/{name}" for name in names]
    assert len(before.digests[site.config_php]) == 64
    assert before.digests[f"{misp.app}/composer.json"] == ""
    settings.apply(site, Desired(supervisor_password=MISPS), [[f"{JOBS}.redis_port", 1]])
    assert f"'{JOBS}' =>" in misp.config_php.read_text()
    # A run that was cut off here does not make another plan of it, and somebody's edit does.
    assert preview.deploy(site, Desired(), steps).digests == before.digests
    misp.config_php.write_text(misp.config_php.read_text() + "// mine\n")
    assert preview.deploy(site, Desired(), steps).digests != before.digests


def test_no_secret_leaves_the_host(misp: FakeMisp, site: Site) -> None:
    secrets = ["RedisPassword", "Misps own Redis", "Operators" * 5, MISPS]
    block = {"supervisor_password": MISPS, "redis_password": secrets[0]}
    misp.configure(block, redis_password=secrets[1])
    said = "\n".join(f"; they wrote {one} here" for one in secrets)
    Path(site.group_file).write_text(f"{said}\n[program:x]\nenvironment=DB_PASSWORD=hunter2\n")
    found = preview.deploy(
        site, Desired(supervisor_password=secrets[2]), wants(RPC, WORKERS, group_text="; new\n")
    )
    text = json.dumps(boot.plain(found))
    assert "they wrote *** here" in text
    assert [one for one in [*secrets, "hunter2"] if one in text] == []


def test_a_rollback_of_a_host_that_was_not_migrated_writes_nothing(site: Site) -> None:
    found = preview.rollback(site, Desired())
    assert set(map(len, found.files.values())) == {0}
    assert found[1:] == (False, {}, "")


def test_nothing_is_changed(misp: FakeMisp, site: Site) -> None:

    def tree() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in sorted(misp.folder.rglob("*"))}

    before = tree()
    steps = wants(*preview._MAKERS, LIBRARIES, SETTINGS, rpc_text="x", group_text="x")
    preview.deploy(site, Desired(), steps._replace(steps=[*steps.steps[:2], *steps.steps[4:]]))
    preview.rollback(site, Desired())
    assert tree() == before
    assert TASKS in preview._MAKERS
