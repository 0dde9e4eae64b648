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


def test_a_file_that_others_may_change_is_none_of_ours(path: Path, site: Site) -> None:
    healthcheck.install(site, WELL)
    path.chmod(0o777)
    assert healthcheck.look().digest == ""


def test_a_folder_of_others_is_left_alone(folder: Path, path: Path, site: Site) -> None:
    folder.chmod(0o777)
    with pytest.raises(files.FileError, match="can be changed by others than root"):
        healthcheck.install(site, WELL)
    assert not path.exists()
