"""The health check is left on a host, tried there, and gone after the way back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.host import files, healthcheck, originals
from tasks.host.errors import RefusedError
from tasks.host.site import Site
from tests.unit.host import real_supervisord

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what it writes is root's")
WELL = "#!/bin/sh\necho 'MISP WORKERS OK: 21 of 21 workers run | running=21'\n"
BLIND = "#!/bin/sh\necho 'MISP WORKERS UNKNOWN: no answer'; exit 3\n"


@pytest.fixture(name="path")
def _path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / "misp-workers-check"
    monkeypatch.setattr(healthcheck, "PATH", str(path))
    return path


@pytest.fixture(name="site")
def _site(folder: Path) -> Site:
    site = real_supervisord.site(folder)
    originals.begin(site)
    return site


@pytest.mark.parametrize("status", [0, 1, 2])
def test_it_is_roots_and_for_all_to_run_and_says_at_once_how_the_host_is(
    path: Path, site: Site, status: int
) -> None:
    text = f"{WELL}exit {status}\n"
    said = healthcheck.install(site, text)
    assert said == [f"{path} says: MISP WORKERS OK: 21 of 21 workers run | running=21"]
    assert (path.read_text(), files.mode_of(str(path))) == (text, "0:0 755")
    assert healthcheck.look().digest == files.digest(str(path))


def test_the_way_back_removes_it_and_what_a_cut_left_of_it(path: Path, site: Site) -> None:
    healthcheck.install(site, WELL)
    path.with_name(f"{files.PREFIX}77").write_text("half of it")
    healthcheck.remove(site)
    assert list(path.parent.glob("*check*")) == list(path.parent.glob(".misp-workers.*")) == []
    healthcheck.remove(site)
    assert healthcheck.look().digest == ""


def test_somebody_elses_file_of_that_name_comes_back(path: Path, site: Site) -> None:
    path.write_text("theirs")
    path.chmod(0o750)
    healthcheck.install(site, WELL)
    healthcheck.install(site, f"{WELL}# newer\n")
    healthcheck.remove(site)
    assert (path.read_text(), files.mode_of(str(path))) == ("theirs", "0:0 750")


def test_without_a_migration_there_is_no_way_back_to_remove_it_so_it_is_not_left(
    path: Path, folder: Path
) -> None:
    with pytest.raises(RefusedError, match=r"no record of a migration: run the deploy first"):
        healthcheck.install(real_supervisord.site(folder), WELL)
    assert not path.exists()
    assert not (folder / "state").exists()
    healthcheck.remove(real_supervisord.site(folder))


def test_one_that_finds_nothing_out_is_not_left_behind(path: Path, site: Site) -> None:
    with pytest.raises(RefusedError, match="so it is not left behind: MISP WORKERS UNKNOWN: no an"):
        healthcheck.install(site, BLIND)
    assert not path.exists()


NEVER = "#!/no/such/interpreter\n"


@pytest.mark.parametrize("text", [BLIND, NEVER, f"{WELL}sleep 60\n"])
@pytest.mark.parametrize("before", ["", "theirs", "ours"])
def test_what_was_there_before_one_of_no_use_is_there_again(
    path: Path, site: Site, text: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healthcheck, "_SECONDS", 1.0)
    if before == "theirs":
        path.write_text("theirs")
        path.chmod(0o750)
    elif before:
        healthcheck.install(site, WELL)
    was = (path.read_text(), files.mode_of(str(path))) if before else None
    with pytest.raises(RefusedError, match="there again: " if before else "is not left behind: "):
        healthcheck.install(site, text)
    assert path.exists() == bool(before)
    if was:
        assert (path.read_text(), files.mode_of(str(path))) == was
    assert healthcheck.remove(site) == []
    assert path.exists() == (before == "theirs")


def test_the_way_back_leaves_what_somebody_else_made_of_it(path: Path, site: Site) -> None:
    path.write_text("theirs")
    healthcheck.install(site, WELL)
    path.write_text("somebody's")
    with pytest.raises(RefusedError):
        healthcheck.install(site, BLIND)
    (said,) = healthcheck.remove(site)
    assert said.startswith(f"the health check {path} stays (somebody else changed it since): remov")
    assert path.read_text() == "somebody's"
    kept = Path(said.rpartition(" ")[2])
    assert [one.read_text() for one in kept.iterdir()] == ["theirs"]


def test_a_folder_that_is_no_longer_roots_fails_no_way_back(
    folder: Path, path: Path, site: Site
) -> None:
    """As /usr/local/sbin where somebody joined the group staff since."""
    healthcheck.install(site, WELL)
    folder.chmod(0o777)
    (said,) = healthcheck.remove(site)
    assert "can be changed by others than root" in said
    assert path.exists()


def test_a_record_that_does_not_say_how_it_was_left_counts_as_ours(path: Path, site: Site) -> None:
    originals.keep(site, str(path))
    path.write_text(WELL)
    healthcheck.install(site, f"{WELL}# newer\n")
    assert healthcheck.remove(site) == []
    assert not path.exists()


def test_a_file_that_others_may_change_is_none_of_ours(path: Path, site: Site) -> None:
    healthcheck.install(site, WELL)
    path.chmod(0o777)
    assert healthcheck.look().digest == ""


def test_a_folder_of_others_is_left_alone(folder: Path, path: Path, site: Site) -> None:
    folder.chmod(0o777)
    with pytest.raises(files.FileError, match="can be changed by others than root"):
        healthcheck.install(site, WELL)
    assert not path.exists()
