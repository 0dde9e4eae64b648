"""Folders of logs that a boot or a cleaner takes away, and a real supervisord that starts again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host import log_folders, originals, rpc
from tasks.host.drain import Crew
from tasks.host.rpc import RpcError, Wanted
from tasks.host.site import PASSWORD_SHA1_TOKEN
from tasks.host.supervisor_files import SupervisorFiles
from tests.unit.host.crew import WEB, crew, real
from tests.unit.host.real_supervisord import free_port, group_text, site

PASSWORD = "MispsPassword0123456789abcdefGHIJKLMNO"


@pytest.fixture(name="one")
def _one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """A supervisord whose own log is in a folder that may be swept away."""
    monkeypatch.setattr(log_folders, "_SWEPT", (f"{tmp_path}/logs/",))
    (tmp_path / "logs").mkdir()
    with crew(tmp_path, free_port()) as one:
        daemon = real(one)
        text = daemon.conf.read_text()
        own = f"logfile={tmp_path}/logs/supervisor/own"
        daemon.conf.write_text(text.replace(f"logfile={tmp_path}", own))
        daemon.include("misp-workers", _group(one))
        yield one


def _group(one: Crew) -> str:
    return group_text("default") + f"stdout_logfile={one.site.log_dir}/%(program_name)s.log\n"


def _configure(one: Crew) -> None:
    inet = f"[inet_http_server]\nport=127.0.0.1:{one.site.rpc_port}\nusername={one.site.rpc_user}\n"
    text = f"{inet}password={{SHA}}{PASSWORD_SHA1_TOKEN}\n"
    rpc.Configuration(one, Wanted(text, rotates=False, is_on=True, misps=PASSWORD)).run()


def _workers(one: Crew) -> list[str]:
    return [worker.name for worker in one.control().group()]


def test_what_is_missing_at_a_start_is_made_and_again_at_each_start(one: Crew) -> None:
    real(one).start()
    assert real(one).main_pid() == 0  # so it was found
    _configure(one)
    assert len(_workers(one)) == 2
    for folder in (one.site.log_dir, f"{real(one).folder}/logs/supervisor"):
        shutil.rmtree(folder)
    real(one).restart()
    assert len(_workers(one)) == 2
    assert Path(one.site.log_dir).stat().st_mode & 0o777 == 0o750
    assert Path(one.site.log_dir).stat().st_gid == WEB.gid


def test_a_unit_that_makes_them_is_left_alone(one: Crew) -> None:
    _configure(one)
    assert real(one).reloads == 1
    _configure(one)
    assert (real(one).reloads, real(one).starts) == (1, 1)


def test_a_failed_step_and_the_way_back_leave_the_unit_as_it_was(
    one: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "_ANSWER", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(rpc, "answers_as_misp", lambda *_: "no")
        with pytest.raises(RpcError):
            _configure(one)
    assert not Path(real(one).drop_in).parent.exists()
    monkeypatch.setattr(rpc, "_ANSWER", 30.0)
    _configure(one)
    assert originals.is_kept(one.site, real(one).drop_in)
    log_folders.restore(one.site, real(one))
    assert not Path(real(one).drop_in).parent.exists()
    log_folders.restore(one.site, real(one))


def test_drop_ins_of_others_stay(one: Crew) -> None:
    others = Path(real(one).drop_in).with_name("others.conf")
    others.parent.mkdir()
    others.write_text("[Service]\nNice=5\n")
    _configure(one)
    log_folders.restore(one.site, real(one))
    assert [path.name for path in others.parent.iterdir()] == ["others.conf"]


def _read(folder: Path, text: str) -> SupervisorFiles:
    path = folder / "supervisord.conf"
    path.write_text(text)
    return SupervisorFiles(str(path))


def test_only_plain_folders_that_may_be_swept_away_are_made(tmp_path: Path) -> None:
    found = _read(
        tmp_path,
        "[unix_http_server]\nfile=/run/supervisor/supervisor.sock\n"
        "[supervisord]\nlogfile=/var/log/supervisor/own log/supervisord.log\n"
        "childlogdir=/srv/logs\npidfile=supervisord.pid\n",
    )
    assert log_folders.own(found) == ["/run/supervisor"]
    assert log_folders.own(_read(tmp_path, "[supervisord]\nlogfile=/var/log/%(x)s/a\n")) == []
    assert log_folders.own(_read(tmp_path, "[supervisord]\npidfile=/run/supervisord.pid\n")) == []


def test_folders_of_other_programs_are_named(tmp_path: Path) -> None:
    found = _read(
        tmp_path,
        "[supervisord]\nlogfile=/var/log/no-such-own/supervisord.log\n"
        "[program:web]\ncommand=/bin/true\nstdout_logfile=/var/log/no-such-app/out.log\n"
        "stderr_logfile=NONE\n[program:b]\ncommand=/bin/true\nstdout_logfile=AUTO\n",
    )
    assert log_folders.missing(site(tmp_path), found) == (
        ["/var/log/no-such-own"],
        [("/var/log/no-such-app", "stdout_logfile of [program:web]", "")],
    )


def test_who_can_turn_the_path_to_a_missing_folder_is_told(folder: Path) -> None:
    theirs = folder / "theirs/roots"
    theirs.mkdir(parents=True)
    text = "[supervisord]\nlogfile={}/a (b)/c/log\n"
    for owner, name in ((WEB.uid, WEB.name), (0, "")):
        os.chown(theirs.parent, owner, owner)
        (missing,) = log_folders.missing(site(folder), _read(folder, text.format(theirs)))[1]
        assert missing == (f"{theirs}/a (b)/c", "logfile of [supervisord]", name)
    (folder / "link").symlink_to(theirs)
    os.chown(theirs.parent, WEB.uid, WEB.uid)
    (missing,) = log_folders.missing(site(folder), _read(folder, text.format(folder / "link")))[1]
    assert missing.owner == WEB.name


def test_where_a_link_of_the_web_users_leads_does_not_count(folder: Path) -> None:
    """He could have it lead elsewhere before the command is run."""
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "logs").symlink_to("/etc/cron.d")
    os.chown(theirs, WEB.uid, WEB.gid)
    text = f"[supervisord]\nlogfile={theirs}/logs/new/log\n"
    (missing,) = log_folders.missing(site(folder), _read(folder, text))[1]
    assert missing.owner == WEB.name


def test_a_folder_of_another_users_is_not_made(one: Crew) -> None:
    logs = Path(real(one).folder, "logs")
    wanted = f"{logs}/supervisor/own"
    assert log_folders.own(SupervisorFiles(str(real(one).conf))) == [wanted]
    os.chown(logs, WEB.uid, WEB.gid)
    assert log_folders.own(SupervisorFiles(str(real(one).conf))) == []
