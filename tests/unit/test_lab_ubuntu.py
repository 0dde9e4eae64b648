"""Ubuntu's archive is asked, its key is pinned, and what cannot be had is said."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab import bases, rehearsal, ubuntu
from lab.bases import BASES, Bases
from lab.errors import LabError
from lab.topology import MISP_DEBIAN, MISP_EL, MISP_UBUNTU

NOBLE = BASES["ubuntu-24.04"]
KEYRING = b"Ubuntu's keys"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISP_LAB_DIR", str(tmp_path / "lab"))


def some_bases(monkeypatch: pytest.MonkeyPatch, **answers: bool) -> Bases:
    """Bases of an engine; what answers: the registry, the archive; is_there: made before."""
    made = Bases.__new__(Bases)
    silent = {"registry": False, "archive": False, "is_there": False, **answers}
    monkeypatch.setattr(
        made, "_registry", type("R", (), {"offers": lambda *_: silent["registry"]})(), raising=False
    )
    monkeypatch.setattr(made, "_is_there", lambda tag: silent["is_there"])
    monkeypatch.setattr(ubuntu, "answers", lambda suite: silent["archive"])
    return made


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def program(monkeypatch: pytest.MonkeyPatch, stdout: bytes = b"", code: int = 0) -> list[list[str]]:
    """What is run instead of a program; gives the list of the commands."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code, stdout, b"E: why it failed")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


@pytest.mark.parametrize("suite", ["focal", "jammy", "noble"])
def test_every_source_is_pinned_to_the_archives_key(suite: str) -> None:
    lines = ubuntu.sources(suite)
    assert [line.split()[3] for line in lines] == [suite, f"{suite}-updates", f"{suite}-security"]
    assert {line.split()[1] for line in lines} == {f"[signed-by={ubuntu.SIGNING_KEY}]"}
    assert len(ubuntu.SIGNING_KEY) == 40


def test_another_key_makes_another_base(monkeypatch: pytest.MonkeyPatch) -> None:
    before = bases._tag(NOBLE), bases._tag(BASES["debian-12"])
    monkeypatch.setattr(ubuntu, "SIGNING_KEY", "0" * 40)
    assert bases._tag(NOBLE) != before[0]
    assert bases._tag(BASES["debian-12"]) == before[1]


@pytest.mark.parametrize(("machine", "mirror"), [("x86_64", "archive"), ("aarch64", "ports")])
def test_the_mirror_is_that_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, machine: str, mirror: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert ubuntu.mirror().startswith(f"http://{mirror}.ubuntu.com/")


def test_the_keyring_of_this_machine_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys.gpg").touch()
    monkeypatch.setattr(ubuntu, "INSTALLED_KEYRING", tmp_path / "keys.gpg")
    commands = program(monkeypatch)
    with ubuntu.keyring() as path:
        assert path == tmp_path / "keys.gpg"
    assert commands == []


def test_else_debians_package_has_it_and_nothing_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ubuntu, "INSTALLED_KEYRING", Path("/nowhere/keys.gpg"))
    commands = program(monkeypatch, tar({"./nowhere/keys.gpg": KEYRING}))
    with ubuntu.keyring() as path:
        assert path.read_bytes() == KEYRING
        modes = [entry.stat().st_mode & 0o777 for entry in (path, path.parent)]
    assert modes == [0o644, 0o755]  # apt reads it as a user of its own
    assert not path.exists()
    assert commands[0][:2] == ["mmdebstrap", "--variant=extract"]


@pytest.mark.parametrize("stdout", [b"", tar({"./other": b""})])
def test_a_keyring_that_cannot_be_had_is_an_error(
    monkeypatch: pytest.MonkeyPatch, stdout: bytes
) -> None:
    monkeypatch.setattr(ubuntu, "INSTALLED_KEYRING", Path("/nowhere/keys.gpg"))
    program(monkeypatch, stdout)
    with pytest.raises(LabError, match=r"why it failed[\s\S]*--hosts debian-12"), ubuntu.keyring():
        pass


def test_the_archive_is_asked_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", str)
    commands = program(monkeypatch)
    assert ubuntu.answers("noble")
    assert ubuntu.answers("noble")
    assert len(commands) == 1
    assert commands[0][-2] == f"{ubuntu.mirror()}/dists/noble/InRelease"
    monkeypatch.setattr(ubuntu, "ANSWER_MEMORY", 0)
    program(monkeypatch, code=100)
    assert not ubuntu.answers("noble")


def test_an_archive_that_hangs_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr("shutil.which", str)
    monkeypatch.setattr(subprocess, "run", hang)
    assert not ubuntu.answers("noble")


def test_without_apt_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not ubuntu.answers("noble")


@pytest.mark.parametrize("answering", ["registry", "archive", "is_there"])
def test_ubuntu_can_be_had_by_any_of_three_ways(
    monkeypatch: pytest.MonkeyPatch, answering: str
) -> None:
    assert some_bases(monkeypatch, **{answering: True}).why_not(NOBLE) == ""


def test_else_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = some_bases(monkeypatch)
    assert "Ubuntu's package archive" in nothing.why_not(NOBLE)
    assert "registry only" in nothing.why_not(BASES["rockylinux-9"])
    assert nothing.why_not(BASES["debian-12"]) == nothing.why_not(BASES["el-like"]) == ""
    with pytest.raises(LabError, match=r"ubuntu-24\.04 cannot be had[\s\S]*debian-12"):
        nothing.get("ubuntu-24.04")


@pytest.mark.parametrize("archive", [True, False])
def test_the_rehearsal_is_of_ubuntu_where_it_can_be_had_else_of_debian_aloud(
    monkeypatch: pytest.MonkeyPatch, archive: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(rehearsal, "require", lambda: None)
    monkeypatch.setattr(rehearsal, "say", said.append)
    monkeypatch.setattr(rehearsal, "Bases", lambda _: some_bases(monkeypatch, archive=archive))
    assert rehearsal.specs_of(None) == [MISP_UBUNTU if archive else MISP_DEBIAN, MISP_EL]
    assert ("Ubuntu's package archive answers here" in " ".join(said)) is not archive
