"""tasks/host/origins.py on processes of units, sessions and users' own systemds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.host import origins
from tasks.host.parts import Origin
from tests.unit.host.old_side import Proc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="processes have to have other owners")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    (tmp_path / "sessions").mkdir()
    monkeypatch.setattr(origins, "_SESSIONS", f"{tmp_path}/sessions/")
    return Proc(tmp_path / "proc")


def of(proc: Proc, *pids: int) -> list[Origin]:
    table = proc.table()
    return origins.of([one for one in table if one.pid in pids], table)


def in_group(proc: Proc, pid: int, path: str) -> None:
    (proc.folder / str(pid) / "cgroup").write_text(f"9:name=systemd:/\n0::{path}\n")


def test_a_unit_with_all_its_workers_is_one_origin(proc: Proc) -> None:
    proc.add(10, ("bash", "-c", "php './bin/resque'"), unit="cron.service")
    proc.add(11, parent=10, unit="cron.service")
    proc.add(12, unit="cron.service")
    (one,) = of(proc, 11, 12)
    assert one == Origin("cron.service", "", "", "", "")
    assert one.words == "cron.service"


def test_a_session_says_who_opened_it(proc: Proc, tmp_path: Path) -> None:
    proc.add(11)
    in_group(proc, 11, "/user.slice/user-0.slice/session-c3.scope")
    assert of(proc, 11)[0].words == "session-c3.scope of the systemd of ?"
    (tmp_path / "sessions/c3").write_text("UID=0\nUSER=root\nSERVICE=crond\x1b[2J\n")
    assert of(proc, 11)[0].words == "a session of root that crond??2J opened"


def test_a_unit_of_a_users_own_systemd_is_told_from_the_systems(proc: Proc) -> None:
    proc.add(10, ("/usr/lib/systemd/systemd", "--user"), name="systemd")
    proc.add(11, parent=10)
    in_group(proc, 11, "/user.slice/user-0.slice/user@0.service/app.slice/misp.service")
    (one,) = of(proc, 11)
    assert one == Origin("misp.service", "root", "", "", "")
    assert one.words == "misp.service of the systemd of root"


def test_the_process_above_them_is_named(proc: Proc) -> None:
    proc.add(9, ("tmux",), unit="x.scope", name="tmux: server")
    proc.add(10, ("bash", "-c", "php './bin/resque'"), parent=9, unit="x.scope")
    proc.add(11, parent=10, unit="x.scope")
    proc.add(12, parent=11, unit="x.scope")  # its job
    assert of(proc, 11, 12)[0].words == "x.scope below tmux:?server"


@pytest.mark.parametrize("parent", [8, 1])
def test_a_supervisord_above_or_beside_them_is_named(proc: Proc, parent: int) -> None:
    words = ("/usr/bin/python3", "/opt/s/bin/supervisord", "-n", "-c", "/opt/s/s.conf")
    proc.add(8, words, unit="other.service", uid=0, name="supervisord")
    proc.add(11, parent=parent, unit="other.service")
    (one,) = of(proc, 11)
    assert (one.unit, one.supervisord) == ("other.service", "PID 8, with /opt/s/s.conf")


SUPERVISORD = ("python3", "/opt/s/bin/supervisord", "-c")


@pytest.mark.parametrize("parent", [8, 1])
def test_one_that_only_calls_itself_so_names_no_file_for_root(proc: Proc, parent: int) -> None:
    proc.add(8, (*SUPERVISORD, "/srv/x.conf"), unit="o.service", name="supervisord")
    proc.add(11, parent=parent, unit="o.service")
    (one,) = of(proc, 11)
    assert (one.supervisord, one.supervisord_user) == ("PID 8", "www-data")


def test_roots_own_counts_before_one_that_only_calls_itself_so(proc: Proc) -> None:
    proc.add(8, (*SUPERVISORD, "/opt/s.conf"), unit="o.service", uid=0, name="supervisord")
    proc.add(9, (*SUPERVISORD, "/srv/x.conf"), parent=8, unit="o.service", name="supervisord")
    proc.add(11, parent=9, unit="o.service")
    assert of(proc, 11)[0].supervisord == "PID 8, with /opt/s.conf"


def test_a_setuid_program_is_no_supervisord(proc: Proc) -> None:
    """Anybody may start one by any name and with any words, as root's process above his worker."""
    proc.add(8, (*SUPERVISORD, "/srv/x.conf"), unit="o.service", uid=0, name="supervisord")
    (proc.folder / "8/status").write_text("Uid:\t33\t0\t0\t0\n")
    proc.add(11, parent=8, unit="o.service")
    assert of(proc, 11)[0].supervisord == ""


@pytest.mark.parametrize(
    "conf", ["/opt/$(id).conf", "/opt/a b.conf", "/opt/\n.conf", "/opt/\u202e"]
)
def test_a_main_file_of_an_odd_name_is_not_named(proc: Proc, conf: str) -> None:
    proc.add(8, (*SUPERVISORD, conf), unit="o.service", uid=0, name="supervisord")
    proc.add(11, parent=8, unit="o.service")
    assert of(proc, 11)[0].supervisord == "PID 8"


def test_nothing_is_known_of_a_process_without_groups(proc: Proc) -> None:
    proc.add(11)
    (proc.folder / "11/cgroup").write_text("0::/\n")
    assert of(proc, 11)[0].words == "no unit"
