"""The web tier: who has read MISP's settings before they changed, and how it goes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.host import programs, web
from tasks.host.processes import Table, now_ticks
from tasks.host.programs import Finished
from tasks.host.site import Site
from tasks.host.web import WebTierError
from tasks.host.web_user import WebUser
from tests.unit.host import old_side
from tests.unit.host.fake_proc import FakeProc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
WEB = WebUser("www-data", 33, 33, (33,), "/var/www", "www-data")
FPM = "0::/system.slice/php8.2-fpm.service\n"
APACHE = "0::/system.slice/apache2.service\n"
SUPERVISOR = "0::/system.slice/supervisor.service\n"


class Tier:
    """Processes of our making, and what is done to them."""

    def __init__(self, folder: Path) -> None:
        self.proc = FakeProc(folder / "proc")
        self.boot = folder / "boot"
        self.boot.write_text("this-boot\n")
        self.site = old_side.site(state_dir=str(folder / "state"))
        (folder / "state").mkdir(0o700)
        self.cannot: set[str] = set()
        self.fails = ""
        self.reloaded: list[str] = []
        self.signals: list[tuple[int, int]] = []
        self.on_reload: Callable[[], None] = lambda: None

    def master(self, pid: int, name: str = "php-fpm8.2", cgroup: str = FPM, maps: str = "") -> None:
        self.proc.add(pid, name, name=name, cgroup=cgroup, maps=maps)

    def child(
        self, pid: int, parent: int, name: str = "php-fpm8.2", cgroup: str = FPM, started: int = 100
    ) -> None:
        self.proc.add(
            pid, name, name=name, parent=parent, uid=33, cgroup=cgroup, started=started,
            maps="libphp8.2.so" if "php" not in name else "",
        )  # fmt: skip

    def systemctl(self, *words: str, timeout: float = 60.0) -> Finished:
        assert words[0] == "systemctl"
        if words[1] == "show":
            return Finished(0, b"no\n" if words[-1] in self.cannot else b"yes\n", b"")
        assert words[1] == "reload"
        self.reloaded.append(words[2])
        self.on_reload()
        return Finished(1 if words[2] == self.fails else 0, b"", b"Job failed.\n")

    def kill(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))
        self.on_reload()

    def change(self) -> int:
        time.sleep(0.02)  # no two changes come in one tick: each takes a run of PHP
        ticks = now_ticks()
        web.note_change(self.site, ticks)
        return ticks

    def look(self) -> object:
        return web.look(self.site, Table(self.proc.path))


@pytest.fixture
def tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tier:
    one = Tier(tmp_path)
    monkeypatch.setattr(web, "_BOOT", str(one.boot))
    monkeypatch.setattr(web, "SECONDS", 0.5)
    monkeypatch.setattr(web, "Table", lambda: Table(one.proc.path))
    monkeypatch.setattr(programs, "run", one.systemctl)
    monkeypatch.setattr(os, "kill", one.kill)
    return one


def is_stale(tier: Tier) -> bool:
    return web.look(tier.site, Table(tier.proc.path)).is_stale


def file(site: Site, name: str) -> Path:
    return Path(site.state_dir) / name


# --- what is stale -------------------------------------------------------------------------------


def test_a_change_makes_it_stale_until_it_is_reloaded(tier: Tier) -> None:
    tier.master(10)
    tier.child(11, 10)
    assert not is_stale(tier)
    tier.change()
    assert is_stale(tier)
    tier.on_reload = lambda: tier.proc.end(11)
    assert web.reload(tier.site, WEB) == []
    assert not is_stale(tier)
    tier.child(12, 10, started=now_ticks() + 1000)
    tier.change()
    assert is_stale(tier)


def test_without_a_web_tier_or_after_a_boot_nothing_is_stale(tier: Tier) -> None:
    tier.change()
    assert not is_stale(tier)
    tier.master(10)
    assert is_stale(tier)
    tier.boot.write_text("the next boot\n")
    assert not is_stale(tier)


def test_who_is_in_it(tier: Tier) -> None:
    tier.master(10)
    tier.child(11, 10)
    tier.master(20, "apache2", APACHE, maps="libphp8.2.so")
    tier.master(30, "apache2", "0::/system.slice/no-php.service\n")
    tier.proc.add(40, "php-fpm", name="php-fpm", uid=99999, cgroup=FPM)
    tier.proc.add(50, "php-fpm", name="php-fpm", uid=12, cgroup=FPM, is_in_a_container=True)
    (tier.proc.folder / "50/ns/pid").unlink()
    (tier.proc.folder / "50/ns/pid").write_text("another")
    found = web.look(tier.site, Table(tier.proc.path))
    assert found.users == ["99999", "root", "www-data"]
    assert found.units == ["apache2.service", "php8.2-fpm.service"]


# --- reload --------------------------------------------------------------------------------------


def test_without_a_change_nothing_is_reloaded(tier: Tier) -> None:
    tier.master(10)
    assert web.reload(tier.site, WEB) == []
    assert (tier.reloaded, tier.signals) == ([], [])
    assert not file(tier.site, "web-reloaded").exists()


def test_each_unit_is_reloaded_once_and_no_master_gets_a_signal_too(tier: Tier) -> None:
    tier.master(10)
    tier.master(20, "apache2", APACHE, maps="libphp8.2.so")
    for pid in (11, 12):
        tier.child(pid, 10, started=now_ticks() + 1000)
    tier.change()
    web.reload(tier.site, WEB)
    assert tier.reloaded == ["apache2.service", "php8.2-fpm.service"]
    assert tier.signals == []


def test_a_unit_that_cannot_reload_and_supervisords_get_the_signal(tier: Tier) -> None:
    tier.cannot = {"php8.2-fpm.service"}
    tier.master(10)
    tier.child(11, 10, started=now_ticks() + 1000)
    tier.master(20, "apache2", SUPERVISOR, maps="libphp8.2.so")
    tier.master(30, "httpd", "0::/user.slice\n", maps="libphp.so")
    tier.change()
    web.reload(tier.site, WEB)
    assert tier.reloaded == []
    assert tier.signals == [(10, signal.SIGUSR2), (20, signal.SIGUSR1), (30, signal.SIGUSR1)]


def test_a_master_that_has_ended_meanwhile_needs_no_signal(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: int) -> None:
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(os, "kill", gone)
    tier.master(30, "httpd", "0::/user.slice\n", maps="libphp.so")
    tier.change()
    assert web.reload(tier.site, WEB) == []


def test_a_reload_that_fails_is_an_error_and_tried_again(tier: Tier) -> None:
    tier.fails = "php8.2-fpm.service"
    tier.master(10)
    tier.change()
    with pytest.raises(WebTierError, match=r"could not be reloaded: Job failed.*journalctl -u php"):
        web.reload(tier.site, WEB)
    assert is_stale(tier)
    tier.fails = ""
    web.reload(tier.site, WEB)
    assert not is_stale(tier)


def test_children_with_old_settings_are_waited_for(tier: Tier) -> None:
    tier.master(10)
    tier.child(11, 10, started=100)
    tier.child(12, 10, cgroup="0::/user.slice\n", started=100)
    tier.change()
    with pytest.raises(
        WebTierError, match=r"still serve in no unit \(PID 12\), php8.2-fpm.service: end"
    ):
        web.reload(tier.site, WEB)
    assert is_stale(tier)


def test_children_of_others_and_masters_are_not_waited_for(tier: Tier) -> None:
    tier.master(10)
    tier.proc.add(11, "php-fpm", name="php-fpm", parent=10, uid=1234, cgroup=FPM)
    tier.change()
    assert web.reload(tier.site, WEB) == []


def test_a_change_that_was_cut_off_is_dated_now(tier: Tier) -> None:
    tier.master(10)
    before = now_ticks()
    web.note_change(tier.site, 0)
    assert file(tier.site, "settings-changed").read_text() == "this-boot unfinished\n"
    tier.child(11, 10, started=before + 100_000)
    assert web.reload(tier.site, WEB) == []
    dated = file(tier.site, "settings-changed").read_text().split()
    assert dated[0] == "this-boot"
    assert before <= int(dated[1]) <= now_ticks()
    assert not is_stale(tier)


def test_after_a_boot_no_child_is_old(tier: Tier) -> None:
    tier.master(10)
    tier.child(11, 10, started=100)
    tier.change()
    tier.boot.write_text("the next boot\n")
    assert web.reload(tier.site, WEB) == []
