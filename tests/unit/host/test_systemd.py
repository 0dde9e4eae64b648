"""tasks/host/systemd.py on what systemctl prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.host import systemd
from tasks.host.parts import Unit
from tasks.host.programs import Finished
from tasks.host.systemd import UnitError

Commands = list[tuple[str, ...]]
# systemd 252: properties come in an order of its own, and units one below the other.
SHOWN = """\
MainPID=34
LoadState=loaded
ActiveState=active

MainPID=0
LoadState=not-found
ActiveState=inactive

MainPID=0
LoadState=masked
ActiveState=inactive
"""
NAMES = ["redis-server.service", "nosuch.service", "cron.service"]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    monkeypatch.setattr(systemd, "RUN", str(tmp_path))
    monkeypatch.setattr("tasks.host.programs.find", lambda name: "/bin/" + name)
    return []


def answer(
    patch: pytest.MonkeyPatch, commands: Commands, *answers: tuple[int, str] | Callable[[], None]
) -> None:
    """Have programs give these statuses and texts, one after the other."""
    left = list(answers)

    def run(*words: str, **_: object) -> Finished:
        commands.append(words)
        one = left.pop(0)
        assert isinstance(one, tuple)
        return Finished(one[0], one[1].encode(), b"complaint" if one[0] else b"")

    patch.setattr("tasks.host.programs.run", run)


def test_several_units_take_two_programs(
    monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    answer(monkeypatch, commands, (0, SHOWN), (1, "enabled\nmasked\n"))
    assert systemd.show(NAMES) == [
        Unit("redis-server.service", "active", "enabled", 34, True),
        Unit("nosuch.service", "inactive", "", 0, False),
        Unit("cron.service", "inactive", "masked", 0, True),
    ]
    assert [words[1] for words in commands] == ["show", "is-enabled"]
    assert commands[1] == ("systemctl", "is-enabled", "--", NAMES[0], NAMES[2])


def test_a_unit_whose_file_is_gone_does_not_shift_the_others(
    monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    # `is-enabled` ends there; nothing on standard output says so.
    shown = SHOWN.replace("not-found", "loaded")
    asked = ((0, "enabled\n"), (1, ""), (0, "static\n"))
    answer(monkeypatch, commands, (0, shown), (1, "enabled\n"), *asked)
    assert [unit.enabled for unit in systemd.show(NAMES)] == ["enabled", "", "static"]


def test_without_systemd_units_are_unknown(
    monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    answer(monkeypatch, commands, (1, ""))
    assert systemd.show(["a.service"]) == [Unit("a.service", "", "", 0, False)]
    monkeypatch.setattr("tasks.host.programs.find", lambda _: "")
    assert systemd.show(["a.service"]) == [Unit("a.service", "", "", 0, False)]
    assert systemd.show([]) == []


@pytest.mark.parametrize("name", ["--now", "a b.service", "a.service\n", "../x.service", "x"])
def test_what_is_no_units_name_reaches_no_program(
    monkeypatch: pytest.MonkeyPatch, commands: Commands, name: str
) -> None:
    answer(monkeypatch, commands)
    with pytest.raises(UnitError, match="no name of a unit"):
        systemd.show([name])


def test_a_unit_may_run_several_programs(
    monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    text = "ExecStart={ path=/bin/a }\nExecStart={ path=/bin/b ; x=y }\nLoadState=loaded\n"
    answer(monkeypatch, commands, (0, text))
    found = systemd.exec_start(["a.service"])
    assert found == {"a.service": "{ path=/bin/a }\n{ path=/bin/b ; x=y }"}


def test_an_error_names_the_unit_and_the_next_command(
    monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    answer(monkeypatch, commands, (1, ""))
    with pytest.raises(
        UnitError, match=r"start a\.service failed: complaint\. See journalctl -u a\.service"
    ):
        systemd.start("a.service")


@pytest.mark.parametrize("enabled", ["static", "masked", "transient", "disabled", "", "not-found"])
def test_what_never_starts_at_boot_is_not_disabled(
    monkeypatch: pytest.MonkeyPatch, commands: Commands, enabled: str
) -> None:
    answer(monkeypatch, commands)
    systemd.disable(Unit("a.service", "active", enabled, 0, True))
    assert commands == []


@pytest.mark.parametrize("enabled", ["enabled", "enabled-runtime", "linked", "generated", "alias"])
def test_what_starts_at_boot_is_disabled(
    monkeypatch: pytest.MonkeyPatch, commands: Commands, enabled: str
) -> None:
    answer(monkeypatch, commands, (0, ""))
    systemd.disable(Unit("a.service", "active", enabled, 0, True))
    assert commands == [("systemctl", "disable", "--no-reload", "a.service")]


def test_a_unit_is_held_by_a_drop_in_and_let_go(
    monkeypatch: pytest.MonkeyPatch, commands: Commands, tmp_path: Path
) -> None:
    monkeypatch.setattr("tasks.host.files.make_folder", lambda path, _: Path(path).mkdir())
    monkeypatch.setattr(
        "tasks.host.files.write", lambda path, data, _: Path(path).write_bytes(data)
    )
    systemd.hold_unit("a.service")
    drop_in = tmp_path / "a.service.d/50-misp-workers.conf"
    assert "Restart=no\nExecStop=\nKillMode=process\n" in drop_in.read_text()
    answer(monkeypatch, commands, (0, SHOWN.partition("\n\n")[0]), (0, "enabled\n"))
    assert systemd.show(["a.service"])[0].is_held
    systemd.let_unit_go("a.service")
    systemd.let_unit_go("a.service")
    assert list(tmp_path.iterdir()) == []


def test_a_unit_whose_file_is_elsewhere_is_told_from_an_alias(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(systemd, "OWN", str(tmp_path))
    (tmp_path / "opt").mkdir()
    elsewhere = tmp_path / "opt/a.service"
    elsewhere.touch()
    (tmp_path / "a.service").symlink_to(elsewhere)
    (tmp_path / "alias.service").symlink_to(elsewhere)
    (tmp_path / "masked.service").symlink_to("/dev/null")
    (tmp_path / "own.service").touch()
    assert systemd.linked_file("a.service") == str(elsewhere)
    for name in ("alias.service", "masked.service", "own.service", "none.service"):
        assert systemd.linked_file(name) == ""


def test_a_drop_in_of_somebody_else_stays(tmp_path: Path, commands: Commands) -> None:
    other = tmp_path / "a.service.d/10-other.conf"
    other.parent.mkdir()
    other.touch()
    systemd.let_unit_go("a.service")
    assert other.exists()


def test_a_unit_without_a_file_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    there = SHOWN.partition("\n\n")[0]
    answer(monkeypatch, commands, (0, there), (0, "transient\n"), (0, ""), (0, ""), (0, ""))
    systemd.run_once("old.service", "www-data", ["/bin/bash", "start.sh"], "Old workers")
    assert [words[1] for words in commands[2:4]] == ["stop", "reset-failed"]
    words = commands[-1]
    assert words[0] == "systemd-run"
    assert words[-3:] == ("--", "/bin/bash", "start.sh")
    assert "--uid=www-data" in words
    assert "--property=KillMode=process" in words


def test_how_services_are_started(monkeypatch: pytest.MonkeyPatch, commands: Commands) -> None:
    start = "{ path=/usr/bin/a ; argv[]=/usr/bin/a -n -c /etc/a.conf ; ignore_errors=no ; pid=0 }"
    shown = (
        f"MainPID=34\nExecStart={start}\nLoadState=loaded\nActiveState=active\nTransient=no\n\n"
        "MainPID=0\nLoadState=loaded\nActiveState=inactive\nTransient=yes\n\n"
        "LoadState=not-found\nActiveState=inactive\n"
    )
    answer(monkeypatch, commands, (0, shown))
    words = ["/usr/bin/a", "-n", "-c", "/etc/a.conf"]
    assert systemd.services(NAMES) == [
        systemd.Service(NAMES[0], is_active=True, main_pid=34, words=words, is_lasting=True),
        systemd.Service(NAMES[1], is_active=False, main_pid=0, words=[], is_lasting=False),
        systemd.Service(NAMES[2], is_active=False, main_pid=0, words=[], is_lasting=False),
    ]
