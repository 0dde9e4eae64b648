"""The order of the way back, and when there is none. Its pieces have tests of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.host import (
    files,
    healthcheck,
    launchers,
    libraries,
    moves,
    old_workers,
    old_workers_back,
    originals,
    rollback,
    scheduled_tasks,
    selinux,
    settings,
    supervisor_access,
    systemd,
    web,
    workers,
)
from tasks.host.daemon import Daemon
from tasks.host.done import Done
from tasks.host.errors import HostError
from tasks.host.parts import Unit, Worker
from tasks.host.site import Desired, Site
from tests.unit.host import old_side


class Host:
    """What happens, in order, and how the host is."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.done: list[str] = []
        self.is_on = True
        self.is_active = True
        self.is_unfinished = False
        self.old: list[int] = [77]
        self.status: list[Worker] = []
        self.unit = Unit(site.unit, "active", "enabled", 1, True)

    def note(self, name: str, *answer: Any) -> Any:
        def do(*_: Any) -> Any:
            self.done.append(name)
            return list(answer)

        return do

    def move_back(self, *_: Any) -> Done:
        self.done.append("move back")
        return Done(["moved"], moved=1)

    def turn_off(self, *_: Any) -> list[str]:
        self.done.append("off")
        self.is_on = False
        return []

    def misp(self, *_: Any) -> Any:
        one = SimpleNamespace(
            site=self.site,
            user=old_side.WEB,
            stored=lambda: SimpleNamespace(is_on=self.is_on),
            remember_new=self.note("remember"),
            forget=lambda: None,
        )
        return contextlib.nullcontext(one)

    def control(self, *_: Any) -> Any:
        return SimpleNamespace(update=self.note("update"), status=lambda: self.status)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    (tmp_path / "conf.d").mkdir()
    one = Host(
        old_side.site(
            state_dir=str(tmp_path / "state"),
            include_dir=str(tmp_path / "conf.d"),
            include_suffix=".conf",
        )
    )
    patches: list[tuple[Any, str, Any]] = [
        (rollback, "Misp", one.misp),
        (workers, "stop_idle", one.note("stop idle")),
        (settings, "disable", one.turn_off),
        (settings, "is_unfinished", lambda _: one.is_unfinished),
        (web, "reload", one.note("web")),
        (old_workers_back, "start_old_workers", one.note("start old")),
        (moves, "move_back", one.move_back),
        (scheduled_tasks, "give_back", one.note("tasks back")),
        (libraries, "restore", one.note("libraries")),
        (selinux, "undo", one.note("selinux")),
        (launchers, "put_back", one.note("launchers")),
        (Daemon, "restart", one.note("restart")),
        (old_workers, "processes", lambda *_: one.old),
        (systemd, "is_active", lambda _: one.is_active),
        (systemd, "stop", one.note("stop")),
        (systemd, "disable", one.note("disable")),
        (systemd, "show", lambda names: [one.unit for _ in names]),
        (supervisor_access, "connected_to", one.control),
    ]
    for module, name, value in patches:
        monkeypatch.setattr(module, name, value)
    yield one


def migrated(host: Host, *, active: str = "active", enabled: str = "enabled") -> None:
    """Our files are there, and the record says how it was."""
    host.unit = host.unit._replace(active=active, enabled=enabled)
    originals.keep_units(host.site, [host.site.unit])
    for path in (host.site.group_file, host.site.rpc_file):
        originals.keep(host.site, path)
        files.write(path, b"ours", 0o644)


def fail(words: str) -> Any:
    def do(*_: Any) -> Any:
        raise HostError(words)

    return do


@pytest.mark.parametrize("is_off", [False, True])
def test_settings_that_cannot_be_put_back_leave_nobody_without_workers(
    host: Host, monkeypatch: pytest.MonkeyPatch, is_off: bool
) -> None:
    def disable(*_: Any) -> Any:
        host.is_on = not is_off
        raise HostError("read-only")

    monkeypatch.setattr(settings, "disable", disable)
    monkeypatch.setattr(workers, "start", host.note("start new"))
    says = "MISP uses its old backend" if is_off else "its workers were started again"
    with pytest.raises(HostError, match=f"read-only. .*{says}"):
        rollback.disable_backend(host.site, Desired())
    assert ("start new" in host.done) is not is_off


def test_workers_that_cannot_be_started_again_are_told(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "disable", fail("read-only"))
    monkeypatch.setattr(workers, "start", fail("no supervisord"))
    with pytest.raises(HostError, match="are stopped, and could not be started again: no super"):
        rollback.disable_backend(host.site, Desired())


def test_what_cannot_be_remembered_stops_nobody(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = host.misp().enter_result
    one.remember_new = fail("the disk is full")
    monkeypatch.setattr(rollback, "Misp", lambda *_: contextlib.nullcontext(one))
    with pytest.raises(HostError, match="the disk is full"):
        rollback.disable_backend(host.site, Desired())
    assert host.done == []


def test_a_web_tier_that_cannot_be_reloaded_does_not_keep_the_old_workers_away(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "reload", fail("no reload"))
    with pytest.raises(HostError, match="no reload"):
        rollback.disable_backend(host.site, Desired())
    assert host.done[-1] == "start old"


def test_the_new_workers_stop_before_the_backend_goes_off_and_the_old_start_behind(
    host: Host,
) -> None:
    rollback.disable_backend(host.site, Desired())
    assert host.done == ["remember", "stop idle", "off", "web", "start old"]


def test_a_backend_that_is_off_already_is_not_stopped_again(host: Host) -> None:
    host.is_on = False
    rollback.disable_backend(host.site, Desired())
    assert host.done == ["off", "web", "start old"]


def test_jobs_move_once_no_new_worker_can_take_them(host: Host) -> None:
    migrated(host)
    files.write(host.site.state_dir + "/proven", b"x")
    assert rollback.move_back(host.site, Desired()) == Done(["moved"], moved=1)
    assert host.done == ["stop idle", "update", "move back", "tasks back"]
    assert not Path(host.site.group_file).exists()
    assert not Path(host.site.state_dir, "proven").exists()


def test_a_group_from_before_is_laid_aside_while_the_backend_is_off(host: Host) -> None:
    Path(host.site.group_file).write_text("theirs")
    migrated(host)
    host.is_on = False
    first, _ = rollback.move_back(host.site, Desired()).lines
    aside = Path(host.site.group_file + ".before-migration")
    assert str(aside) in first
    assert (aside.read_text(), Path(host.site.group_file).exists()) == ("theirs", False)
    # An include pattern takes it for no file of its own.
    assert not aside.name.endswith(".conf")


def test_a_group_that_is_not_ours_is_left_alone(host: Host) -> None:
    Path(host.site.group_file).write_text("theirs")
    rollback.move_back(host.site, Desired())
    assert host.done == ["move back", "tasks back"]
    assert Path(host.site.group_file).read_text() == "theirs"


@pytest.mark.parametrize(
    ("active", "enabled", "done"),
    [
        ("active", "enabled", ["libraries", "restart", "selinux"]),
        ("active", "disabled", ["libraries", "restart", "disable", "selinux"]),
        ("inactive", "enabled", ["libraries", "stop", "selinux"]),
        ("inactive", "disabled", ["libraries", "stop", "disable", "selinux"]),
    ],
)
def test_supervisord_is_as_it_was(host: Host, active: str, enabled: str, done: list[str]) -> None:
    migrated(host, active=active, enabled=enabled)
    assert rollback.put_back(host.site, Desired()) == []
    assert host.done == done
    assert not Path(host.site.rpc_file).exists()
    assert not Path(host.site.state_dir).exists()


def test_programs_that_others_have_put_there_since_go_on(host: Host) -> None:
    migrated(host, active="inactive")
    states = ("RUNNING", "STOPPED", "BACKOFF", "FATAL")
    host.status = [Worker(f"other-{one}", one, 0, 0, "", "") for one in states]
    host.status.append(Worker("misp-workers:prio", "RUNNING", 0, 0, "", ""))
    [message] = rollback.put_back(host.site, Desired())
    assert message.startswith(
        "supervisor goes on, since it also runs other-RUNNING, other-BACKOFF: its RPC"
    )
    assert "stop" not in host.done


def test_settings_that_were_cut_off_go_first(host: Host) -> None:
    migrated(host)
    host.is_unfinished = True
    rollback.put_back(host.site, Desired())
    assert host.done[:3] == ["off", "web", "libraries"]


def test_a_host_without_old_workers_or_a_record_stays(host: Host) -> None:
    assert rollback.automatic(host.site, Desired()) == Done([rollback.STAYED])
    migrated(host)
    host.old = []
    assert rollback.automatic(host.site, Desired()) == Done([rollback.STAYED])
    assert host.done == []
    assert Path(host.site.group_file).exists()


def test_a_host_whose_old_workers_live_goes_back_by_itself(host: Host) -> None:
    migrated(host, active="inactive", enabled="disabled")
    lines = rollback.automatic(host.site, Desired()).lines
    assert lines == ["moved", rollback.RETURNED]
    assert host.done == [
        "launchers",
        "remember",
        "stop idle",
        "off",
        "web",
        "stop idle",
        "update",
        "move back",
        "tasks back",
        "stop",
        "disable",
        "libraries",
        "selinux",
    ]
    assert not Path(host.site.state_dir).exists()


@pytest.mark.parametrize("back", [rollback.put_back, rollback.automatic])
def test_each_way_back_takes_the_health_check_along(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, back: Any
) -> None:
    path = tmp_path / "check"
    monkeypatch.setattr(healthcheck, "PATH", str(path))
    migrated(host)
    healthcheck.install(host.site, "#!/bin/sh\n")
    assert path.exists()
    back(host.site, Desired())
    assert not path.exists()


@pytest.mark.parametrize("back", [rollback.put_back, rollback.automatic])
def test_a_health_check_that_somebody_changed_stays_and_fails_no_way_back(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, back: Any
) -> None:
    path = tmp_path / "check"
    monkeypatch.setattr(healthcheck, "PATH", str(path))
    migrated(host)
    healthcheck.install(host.site, "#!/bin/sh\n")
    path.write_text("somebody's")
    done = back(host.site, Desired())
    lines = done if isinstance(done, list) else done.lines
    assert any(f"the health check {path} stays" in line for line in lines)
    assert rollback.RETURNED not in lines
    assert path.read_text() == "somebody's"
    assert not Path(host.site.state_dir).exists()


def test_what_is_not_as_it_was_is_not_called_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrated(host)
    vendor = f"{host.site.app}/Vendor"
    originals.keep_stream(host.site, vendor, None, "before", lambda _: None)
    one = host.misp().enter_result
    one.status_of = lambda _: (None, "after")
    monkeypatch.setattr(rollback, "Misp", lambda *_: contextlib.nullcontext(one))
    monkeypatch.setattr(libraries, "restore", host.note("libraries", "Vendor stays"))
    done = rollback.automatic(host.site, Desired())
    moved, stays, differs, last = done.lines
    assert done.moved == 1
    assert (moved, stays, last) == ("moved", "Vendor stays", rollback.RETURNED_IN_PART)
    assert differs.startswith(f"{vendor} is not exactly as it was before")


def test_every_piece_may_be_repeated(host: Host) -> None:
    migrated(host)
    for _ in range(2):
        rollback.disable_backend(host.site, Desired())
        rollback.move_back(host.site, Desired())
        rollback.put_back(host.site, Desired())
    rollback.forget(host.site)
    assert not Path(host.site.state_dir).exists()
