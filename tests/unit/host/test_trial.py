"""The folder of a trial: what it starts with, and that nothing of it stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.host.programs import ProgramError
from tasks.host.trial import Trial, folder_of, versions


def test_what_is_known_is_there_by_links_but_for_what_is_anothers(tmp_path: Path) -> None:
    known = tmp_path / "dnf"
    for name in (
        "base-1/repodata/repomd.xml",
        "expired.json",
        "m_lock.pid",
        "lock",
        "partial/half",
    ):
        (known / name).parent.mkdir(parents=True, exist_ok=True)
        (known / name).write_text("as it was")
    with folder_of(Trial([], str(known))) as folder:
        mine = Path(folder) / "known"
        files = [str(one.relative_to(mine)) for one in mine.rglob("*") if one.is_file()]
        assert files == ["base-1/repodata/repomd.xml"]
        assert (mine / files[0]).samefile(known / files[0])
        assert Path(folder).stat().st_mode & 0o777 == 0o711  # apt's own user goes through it
        assert (Path(folder) / "packages").is_dir()
    assert not Path(folder).exists()
    assert (known / "base-1/repodata/repomd.xml").read_text() == "as it was"


def test_without_anything_known_it_is_empty(tmp_path: Path) -> None:
    with folder_of(Trial([], str(tmp_path / "none"))) as folder:
        assert list((Path(folder) / "known").iterdir()) == []


def test_so_it_is_where_no_link_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/Packages").touch()
    monkeypatch.setattr(os, "link", elsewhere)
    with folder_of(Trial([], str(tmp_path / "lists"))) as folder:
        assert list((Path(folder) / "known").iterdir()) == []


def test_what_a_killed_one_has_left_goes_and_another_trials_stays(tmp_path: Path) -> None:
    old, new = tmp_path / ".misp-workers-old", tmp_path / ".misp-workers-new"
    for one in (old, new):
        (one / "known").mkdir(parents=True)
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    with folder_of(Trial([], str(tmp_path / "lists"))):
        assert not old.exists()
    assert new.exists()


def test_a_place_where_none_can_be_made_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ProgramError, match=f"no folder can be made in {tmp_path}/gone: No such"),
        folder_of(Trial([], str(tmp_path / "gone/lists"))),
    ):
        pass


def test_versions_are_in_the_names_of_packages() -> None:
    names = [
        "supervisor_4.2.5-1_all.deb",
        "libx_1%3a2.0~rc1-1_amd64.deb",
        "python3-setuptools-53.0.0-13.el9.noarch.rpm",
        "supervisor-4.2.5-1.el9.noarch.rpm",
        "lock",
        "a_b.deb",
    ]
    assert versions(names) == {
        "supervisor": "4.2.5-1.el9",
        "libx": "1:2.0~rc1-1",
        "python3-setuptools": "53.0.0-13.el9",
    }
