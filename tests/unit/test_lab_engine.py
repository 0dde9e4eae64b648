"""The lab finds engines that answer, and says what to do when none does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab import dockerd, engine
from lab.errors import LabError


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISP_LAB_DIR", str(tmp_path / "lab"))


def test_docker_host_excludes_all_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert engine.candidates() == ["unix:///nowhere.sock"]


def test_sockets_of_docker_and_podman_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman/podman.sock").touch()
    assert f"unix://{tmp_path}/podman/podman.sock" in engine.candidates()


def test_a_socket_nobody_listens_on_is_no_engine(tmp_path: Path) -> None:
    dead = tmp_path / "docker.sock"
    dead.touch()
    assert engine.probe(f"unix://{dead}") is None


def test_podman_is_known_behind_dockers_api() -> None:
    version = {"Version": "5.2.1", "Components": [{"Name": "Podman Engine"}]}
    found = engine._describe("unix:///x", version, {"CgroupVersion": "2"})
    assert (found.product, found.major, found.cgroup) == ("Podman", 5, "2")
    assert found.is_podman


def test_without_an_engine_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "candidates", list)
    monkeypatch.setattr(dockerd, "can_install", lambda: True)
    monkeypatch.setattr(dockerd, "_has_systemd", lambda: True)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LabError) as caught:
        engine.require()
    assert "--install-engine" in str(caught.value)
    assert "apt-get install -y --no-install-recommends docker.io iptables" in str(caught.value)
    assert "systemctl start docker" in str(caught.value)


def test_a_silent_docker_host_is_not_worked_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    monkeypatch.setattr(dockerd, "start", lambda _: pytest.fail("an engine was started"))
    monkeypatch.setattr(dockerd, "apt_install", lambda names: pytest.fail("something installed"))
    with pytest.raises(LabError, match="unset DOCKER_HOST"), engine.running(install=True):
        pass


def test_an_engine_that_was_there_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    there = engine.Engine("unix:///x", "Docker", "28.0", "2", ())
    monkeypatch.setattr(engine, "find", lambda: there)
    monkeypatch.setattr(dockerd, "stop", lambda how: pytest.fail("a foreign engine was stopped"))
    monkeypatch.setenv("DOCKER_HOST", there.url)
    with engine.running() as found:
        assert found is there
        assert [path.name for path in engine._users()] == [str(os.getpid())]
    assert engine._users() == []


@pytest.mark.parametrize("keep", [False, True])
def test_an_engine_of_ours_is_stopped_unless_kept(
    keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = engine.Engine("unix:///x", "Docker", "20.10", "1", ())
    stopped: list[object] = []
    monkeypatch.setenv("DOCKER_HOST", ours.url)
    monkeypatch.setenv(engine.KEEP_VARIABLE, "")
    monkeypatch.setattr(engine, "find", lambda: ours)
    monkeypatch.setattr(engine, "_lab_containers", lambda found: [])
    monkeypatch.setattr(engine, "probe", lambda url: ours)
    monkeypatch.setattr(dockerd, "stop", stopped.append)
    started = {"pid": 1, "url": ours.url}
    with engine.running(keep=keep):
        dockerd.marker().write_text(json.dumps(started))
    assert stopped == ([] if keep else [started])
    assert dockerd.marker().exists() is keep


def test_an_engine_with_a_kept_lab_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    kept = engine.Engine("unix:///ours", "Docker", "20.10", "1", ())

    def probe(url: str) -> engine.Engine:
        asked.append(url)
        return kept

    monkeypatch.setattr(engine, "probe", probe)
    monkeypatch.setattr(engine, "_lab_containers", lambda found: ["lab-1-misp"])
    dockerd.marker().write_text('{"pid": 1, "url": "unix:///ours"}')
    assert engine.stop_if_ours() is False
    assert asked == ["unix:///ours"], "an engine that the lab did not start was asked"


def _as_dockerd(monkeypatch: pytest.MonkeyPatch, *ends: bool) -> list[int]:
    """Replace the start of dockerd; each of ENDS says whether that try ends at once."""
    tries = iter(ends)
    started: list[int] = []
    there = engine.Engine(dockerd.DEFAULT_URL, "Docker", "20.10", "1", ())
    alive = True

    def start() -> dict[str, int]:
        nonlocal alive
        alive = not next(tries)
        started.append(len(started) + 1)
        return {"pid": started[-1]}

    monkeypatch.setattr(dockerd, "_has_systemd", lambda: False)
    monkeypatch.setattr(dockerd, "_start_process", start)
    monkeypatch.setattr(dockerd, "alive", lambda pid: alive)
    monkeypatch.setattr(engine, "find", lambda: there if alive else None)
    return started


def test_a_dockerd_that_ends_at_its_start_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started = _as_dockerd(monkeypatch, True, False)
    assert dockerd.start(engine.find).url == dockerd.DEFAULT_URL
    assert started == [1, 2]
    assert json.loads(dockerd.marker().read_text())["pid"] == 2


def test_a_dockerd_that_always_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    started = _as_dockerd(monkeypatch, *[True] * dockerd.START_TRIES)
    with pytest.raises(LabError, match="ended each time"):
        dockerd.start(engine.find)
    assert len(started) == dockerd.START_TRIES
