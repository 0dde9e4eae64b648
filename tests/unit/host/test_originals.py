"""The record of a host's old state: kept once, put back as it was, never over what others did."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tasks.host import files, originals, systemd
from tasks.host.errors import HostError
from tasks.host.originals import Kept, RecordError
from tasks.host.parts import Unit
from tasks.host.site import Site
from tests.unit.host import old_side

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the record is root's")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return old_side.site(state_dir=str(tmp_path / "state"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "etc/rc.local"
    path.parent.mkdir()
    path.write_bytes(b"before \xff\n")
    path.chmod(0o755)
    os.chown(path, 12, 34)
    return path


def state_of(path: Path) -> tuple[bytes, int, int, int]:
    found = path.stat()
    return path.read_bytes(), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- root's own files ----------------------------------------------------------------------------


def test_a_file_comes_back_with_its_content_mode_and_owner(site: Site, path: Path) -> None:
    before = state_of(path)
    originals.keep(site, str(path))
    path.write_text("ours")
    path.chmod(0o600)
    os.chown(path, 0, 0)
    originals.keep(site, str(path))  # only the first call keeps anything
    originals.restore(site, str(path))
    assert state_of(path) == before
    assert originals.kept(site, str(path)) == Kept(True, 0o755, 12, 34, sha(before[0]))


def test_what_was_absent_is_absent_again(site: Site, path: Path) -> None:
    path.unlink()
    originals.keep(site, str(path))
    assert originals.kept(site, str(path)) == Kept(False)
    originals.restore(site, str(path))  # nothing is there yet
    path.write_text("ours")
    originals.restore(site, str(path))
    originals.restore(site, str(path))
    assert not path.exists()


def test_what_was_not_kept_is_left_alone(site: Site, path: Path) -> None:
    originals.restore(site, str(path))
    originals.begin(site)
    originals.restore(site, str(path))
    assert originals.kept(site, str(path)) is None
    assert not originals.is_kept(site, str(path))
    assert path.read_bytes() == b"before \xff\n"


def test_a_link_of_roots_is_followed_and_stays(site: Site, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    originals.keep(site, str(link))
    path.write_text("ours")
    originals.restore(site, str(link))
    assert link.is_symlink()
    assert path.read_bytes() == b"before \xff\n"


def test_a_folder_or_a_fifo_in_a_files_place_is_not_kept(site: Site, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ""):
        with pytest.raises(HostError, match="no regular file"):
            originals.keep(site, str(tmp_path / name))
        assert not originals.is_kept(site, str(tmp_path / name))


def test_nobody_else_reads_the_record_or_the_copies(site: Site, path: Path) -> None:
    originals.keep(site, str(path))
    for one in Path(site.state_dir).rglob("*"):
        assert stat.S_IMODE(one.stat().st_mode) == (0o700 if one.is_dir() else 0o600), one
    assert stat.S_IMODE(Path(site.state_dir).stat().st_mode) == 0o700


def test_a_copy_that_is_gone_is_an_error_and_the_file_stays(site: Site, path: Path) -> None:
    originals.keep(site, str(path))
    Path(originals.saved(site, str(path))).unlink()
    path.write_text("ours")
    with pytest.raises(RecordError, match="its copy is missing"):
        originals.restore(site, str(path))
    assert path.read_text() == "ours"


# --- the record ----------------------------------------------------------------------------------


def test_the_first_look_at_a_host_is_remembered(site: Site) -> None:
    originals.begin(site._replace(is_on=True))
    originals.begin(site._replace(is_on=False))
    assert originals.look(site, False, []).was_on is True


def test_a_host_without_a_record(site: Site, path: Path) -> None:
    found = originals.look(site, True, [])
    assert (found.is_kept, found.was_on, found.launchers) == (False, False, [])
    assert (originals.launchers(site), originals.units(site), originals.selinux(site)) == (
        [],
        [],
        None,
    )
    assert not Path(site.state_dir).exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\xfe",
        b"5",
        b"[]",
        b'"files"',
        b"{}",
        b'{"files": {}}',
        b'["was_on", "files", "units", "launchers", "selinux"]',
        b'{"was_on": false, "files": {}, "units": {}, "launchers": [], "selinux": null, "x": 1}',
        b'{"was_on": fal',
    ],
)
def test_a_record_that_cannot_be_read_stops_everything(
    site: Site, path: Path, garbage: bytes
) -> None:
    originals.keep(site, str(path))
    Path(originals.folder(site), "record").write_bytes(garbage)
    for action in (
        lambda: originals.restore(site, str(path)),
        lambda: originals.keep(site, "/other"),
        lambda: originals.look(site, False, []),
        lambda: originals.note_change(site, str(path), ""),
        lambda: originals.add_launcher(site, "/etc/rc.local"),
    ):
        with pytest.raises(RecordError, match="cannot be read"):
            action()
    assert path.read_bytes() == b"before \xff\n"


def test_launchers_and_selinux_are_noted_once(site: Site) -> None:
    for text in ("/etc/rc.local", "ran", "/etc/rc.local"):
        originals.add_launcher(site, text)
    assert originals.launchers(site) == ["/etc/rc.local", "ran"]
    originals.note_selinux(site, {"boolean": False})
    originals.note_selinux(site, {"boolean": True})
    assert originals.selinux(site) == {"boolean": False}


def test_units_are_kept_as_they_were_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"a.service": "active", "supervisor.service": "inactive"}
    asked: list[list[str]] = []

    def show(names: list[str]) -> list[Unit]:
        asked.append(names)
        return [Unit(name, now[name], "enabled", 5, True) for name in names]

    monkeypatch.setattr(systemd, "show", show)
    originals.keep_units(site, ["supervisor.service"])
    now["supervisor.service"] = "active"
    originals.keep_units(site, ["a.service", "supervisor.service"])
    now["a.service"] = "failed"
    originals.keep_units(site, ["a.service", "supervisor.service"])
    assert asked == [["supervisor.service"], ["a.service"]]
    assert originals.units(site) == [
        Unit("a.service", "active", "enabled", 0, True),
        Unit("supervisor.service", "inactive", "enabled", 0, True),
    ]
    found = originals.look(site, True, [])
    assert found.daemon_before == "inactive"
    assert [(unit.name, unit.active) for unit in found.units_before] == [("a.service", "active")]
    assert [(unit.name, unit.active) for unit in found.units_now] == [("a.service", "failed")]
    assert (found.is_kept, found.are_launchers_out, found.has_rpc_file) == (True, True, False)


def test_forgetting_leaves_nothing_and_may_be_repeated(site: Site, path: Path) -> None:
    originals.keep(site, str(path))
    Path(site.state_dir + ".gone").mkdir()  # of a run that was cut off
    Path(site.state_dir + ".gone/left").touch()
    originals.forget(site)
    originals.forget(site)
    assert [one.name for one in Path(site.state_dir).parent.iterdir()] == ["etc"]


# --- whose is it? (H8) ---------------------------------------------------------------------------

WEB = "/var/www/MISP/app/Config/config.php"
BEFORE, OURS, THEIRS = sha(b"before"), sha(b"ours"), sha(b"theirs")


def keep(site: Site, digest: str = BEFORE) -> None:
    status = (0o640, 33, 33) if digest else None

    def write(copy: str) -> None:
        assert digest, "nothing is copied of what is absent"
        Path(copy).write_text("stream")

    originals.keep_stream(site, WEB, status, digest, write)


def is_ours(site: Site, digest: str) -> bool:
    return originals.is_as_we_left_it(site, WEB, digest)


def test_a_stream_is_kept_once_with_what_is_known_of_it(site: Site) -> None:
    keep(site)
    keep(site, OURS)
    assert originals.kept(site, WEB) == Kept(True, 0o640, 33, 33, BEFORE)
    assert Path(originals.saved(site, WEB)).read_text() == "stream"


def test_a_copy_that_was_cut_off_is_made_again(site: Site) -> None:
    originals.begin(site)

    def write(copy: str) -> None:
        assert not Path(copy).exists()
        Path(copy).write_text("half")
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            originals.keep_stream(site, WEB, (0o640, 33, 33), BEFORE, write)
        assert not originals.is_kept(site, WEB)
    keep(site)
    assert Path(originals.saved(site, WEB)).read_text() == "stream"


def test_what_nobody_changed_is_not_ours(site: Site) -> None:
    assert not is_ours(site, BEFORE)
    keep(site)
    assert not is_ours(site, BEFORE)
    assert not is_ours(site, "")
    assert originals.is_as_it_was(site, WEB, BEFORE)
    assert not originals.is_as_it_was(site, WEB, OURS)
    assert not originals.is_as_it_was(site, WEB, "")


def test_what_we_left_is_ours_until_others_change_it(site: Site) -> None:
    keep(site)
    originals.note_change(site, WEB, BEFORE)
    originals.note_left(site, WEB, OURS)
    assert is_ours(site, OURS)
    assert not is_ours(site, THEIRS)
    assert not is_ours(site, "")


def test_a_change_of_ours_that_was_cut_off_is_ours(site: Site) -> None:
    keep(site)
    originals.note_change(site, WEB, BEFORE)
    assert is_ours(site, sha(b"half"))
    originals.note_change(site, WEB, sha(b"half"))  # the next run goes on
    originals.note_left(site, WEB, OURS)
    assert is_ours(site, OURS)


def test_a_second_change_of_ours_is_ours(site: Site) -> None:
    keep(site)
    for before, after in ((BEFORE, OURS), (OURS, sha(b"ours too"))):
        originals.note_change(site, WEB, before)
        originals.note_left(site, WEB, after)
    assert is_ours(site, sha(b"ours too"))
    assert not is_ours(site, OURS)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_others_changed_before_us_is_never_ours_again(site: Site, is_first: bool) -> None:
    keep(site)
    if not is_first:
        originals.note_change(site, WEB, BEFORE)
        originals.note_left(site, WEB, OURS)
    for _ in range(2):
        originals.note_change(site, WEB, THEIRS)
        assert not is_ours(site, THEIRS)
        originals.note_left(site, WEB, OURS)
        assert not is_ours(site, OURS)


@pytest.mark.parametrize("between", [OURS, THEIRS])
def test_what_is_as_it_was_again_is_ours_to_change(site: Site, between: str) -> None:
    keep(site)
    for before in (BEFORE, between, BEFORE):  # the last after a way back that was cut off
        originals.note_change(site, WEB, before)
        originals.note_left(site, WEB, OURS)
    assert is_ours(site, OURS)


def test_what_others_removed_before_us_is_never_ours(site: Site) -> None:
    keep(site)
    originals.note_change(site, WEB, "")
    originals.note_left(site, WEB, OURS)
    assert not is_ours(site, OURS)


def test_what_was_absent_and_is_ours(site: Site) -> None:
    keep(site, "")
    assert originals.is_as_it_was(site, WEB, "")
    originals.note_change(site, WEB, "")
    assert is_ours(site, sha(b"half"))
    originals.note_left(site, WEB, OURS)
    assert is_ours(site, OURS)
    assert not originals.is_as_it_was(site, WEB, OURS)


def test_a_change_of_what_was_not_kept_is_refused(site: Site) -> None:
    originals.begin(site)
    with pytest.raises(RecordError, match="was not kept"):
        originals.note_change(site, WEB, BEFORE)
    originals.note_left(site, WEB, OURS)
    assert not originals.is_as_it_was(site, WEB, "")
    assert not is_ours(site, OURS)


def test_copies_that_are_not_put_back_are_laid_aside(site: Site) -> None:
    keep(site)
    vendor = "/var/www/MISP/app/Vendor"
    originals.keep_stream(
        site, vendor, (0o755, 33, 33), BEFORE, lambda copy: Path(copy).touch(0o600)
    )
    apart = originals.set_apart(site, [WEB, vendor, "/never/kept"])
    originals.forget(site)
    found = {one.name for one in Path(apart).iterdir()}
    assert found == {"var-www-MISP-app-Config-config.php", "var-www-MISP-app-Vendor.tar"}
    assert stat.S_IMODE(Path(apart).stat().st_mode) == 0o700


def test_the_record_is_exchanged_whole(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(site)
    record = Path(originals.folder(site), "record")
    before = record.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(files.FileError, match="No space left"):
        originals.note_change(site, WEB, BEFORE)
    assert record.read_bytes() == before
    assert json.loads(before)["files"][WEB]["ours"] == ""
    assert {one.name for one in record.parent.iterdir()} == {"record", "saved"}
