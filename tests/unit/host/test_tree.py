"""MISP's own files, as functions that run as the web user have them."""

import io
import os
import pwd
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.host import gate, tree, web_user
from tasks.host.errors import WebUserError
from tasks.host.mounts import is_mount
from tasks.host.web_user import WebUser
from tests.unit.host.fake_misp import FOREIGN_GROUP

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NAMES = ["composer.json", "composer.lock", "Vendor"]


@pytest.fixture
def user() -> WebUser:
    tree.prepare()
    return web_user._web_user(pwd.getpwnam("www-data"))


@pytest.fixture
def app(tmp_path: Path, user: WebUser) -> Path:
    for folder in [tmp_path, *tmp_path.parents][:-1]:
        folder.chmod(folder.stat().st_mode | 0o055)
    app = tmp_path / "app"
    (app / "Vendor/deep/er").mkdir(parents=True)
    (app / "composer.json").write_text("{}")
    (app / "Vendor/deep/er/file").write_bytes(b"\0\xff")
    (app / "Vendor/deep/run").write_text("#!/bin/sh")
    (app / "Vendor/deep/run").chmod(0o750)
    (app / "Vendor/link").symlink_to("deep/run")
    (app / "Vendor/deep").chmod(0o555)
    for path in [app, *app.rglob("*")]:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    return app


def listing(folder: Path) -> dict[str, tuple[str, int, int, bytes]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.readlink().name.encode() if path.is_symlink() else b""
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else content
        name = str(path.relative_to(folder))
        found[name] = (f"{status.st_mode:o}", status.st_uid, status.st_gid, content)
    return found


def save(app: Path, user: WebUser) -> str:
    copy = str(app.parent / "copy.tar")
    gate.save(user, tree.pack, copy, [str(app / name) for name in NAMES])
    return copy


def test_what_was_packed_comes_back_as_it_was(app: Path, user: WebUser) -> None:
    before = listing(app)
    copy = save(app, user)
    gate.ask(user, tree.remove, [str(app / "Vendor/deep"), str(app / "composer.json")])
    (app / "composer.lock").write_text("new")
    (app / "Vendor/new").write_text("new")
    gate.feed(user, tree.unpack, copy, str(app), NAMES)
    assert listing(app) == before


@pytest.mark.parametrize("is_own_group", [True, False])
def test_a_tree_of_2775_and_664_comes_back_with_its_modes_and_its_group(
    app: Path, user: WebUser, is_own_group: bool
) -> None:
    gid = user.gid if is_own_group else FOREIGN_GROUP
    for path in [app, *app.rglob("*")]:
        os.chown(path, user.uid, gid, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o2775 if path.is_dir() else 0o664)
    before = listing(app)
    copy = save(app, user)
    gate.ask(user, tree.remove, [str(app / "composer.json")])
    (app / "Vendor/deep/er/file").write_text("new")
    gate.feed(user, tree.unpack, copy, str(app), NAMES)
    assert listing(app) == before
    gate.ask(user, tree.write, str(app / "composer.json"), "{}", 0o664, gid)
    assert listing(app) == before


def test_what_the_web_user_may_not_remove_is_in_nobodys_way(app: Path, user: WebUser) -> None:
    before = listing(app)
    copy = save(app, user)
    (app / "Vendor/of-root").mkdir()
    (app / "Vendor/of-root/keep").touch()
    for _ in range(2):
        gate.feed(user, tree.unpack, copy, str(app), NAMES)
        now = listing(app)
        assert {name: now[name] for name in now if not name.startswith(".misp")} == before
    assert [path.name for path in app.rglob("keep")] == ["keep"]


@pytest.fixture
def mount() -> Iterator[Callable[[Path], None]]:
    """Binds a file or folder to itself."""
    points: list[Path] = []

    def bind(path: Path) -> None:
        done = subprocess.run(["mount", "--bind", path, path], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no mount here: {done.stderr!r}")
        points.append(path)

    yield bind
    for path in points:
        subprocess.run(["umount", path], check=True)


def test_a_mount_is_not_emptied_by_an_exchange_that_cannot_be(
    app: Path, user: WebUser, mount: Callable[[Path], None]
) -> None:
    before = listing(app)
    copy = save(app, user)
    mount(app / "Vendor")
    with pytest.raises(WebUserError, match="Vendor is a mount"):
        gate.feed(user, tree.unpack, copy, str(app), NAMES)
    with pytest.raises(OSError, match="Vendor is a mount"):
        (app / "other").mkdir()
        tree._exchange(str(app / "other"), str(app / "Vendor"))
    (app / "other").rmdir()
    assert listing(app) == before
    assert tree.look(str(app.parent))["mounts"] == ["Vendor"]


def test_a_file_that_cannot_take_its_place_does_not_stay(
    app: Path, user: WebUser, mount: Callable[[Path], None]
) -> None:
    path = app / "with a blank.json"
    path.write_text("before")
    os.chown(path, user.uid, user.gid)
    mount(path)
    with pytest.raises(WebUserError, match="busy"):
        gate.ask(user, tree.write, str(path), "secret", 0o600, user.gid)
    assert path.read_text() == "before"
    assert not list(app.glob(".misp-workers-*"))
    assert is_mount(str(path))
    assert not is_mount(str(app))


def test_settings_that_misp_could_not_exchange_are_not_savable(
    app: Path, user: WebUser, mount: Callable[[Path], None]
) -> None:
    (app / "Config").mkdir()
    (app / "Config/config.php").touch()
    for path in (app / "Config", app / "Config/config.php"):
        os.chown(path, user.uid, user.gid)
    assert gate.ask(user, tree._is_savable, str(app / "Config"))
    mount(app / "Config/config.php")
    assert not gate.ask(user, tree._is_savable, str(app / "Config"))


def test_what_may_not_be_looked_at_is_not_absent(app: Path, user: WebUser) -> None:
    (app / "Vendor").chmod(0o700)
    os.chown(app / "Vendor", 0, 0)
    hidden = str(app / "Vendor/deep")
    for function in (tree.is_absent, tree.digest, tree.status_and_digest, tree.read):
        with pytest.raises(WebUserError, match="Permission denied"):
            gate.ask(user, function, hidden)
    assert gate.ask(user, tree.is_absent, str(app / "nothing/here"))
    assert gate.ask(user, tree.is_absent, str(app / "composer.json/below"))
    with pytest.raises(WebUserError, match="is gone"):
        gate.save(user, tree.cat, str(app.parent / "copy"), str(app / "gone"))


def test_a_tmp_that_jobs_cannot_write_is_known(app: Path, user: WebUser) -> None:
    def can_write() -> object:
        return gate.ask(user, tree.look, str(app.parent))["tmp"]

    assert not can_write()
    (app / "tmp/cache").mkdir(parents=True, exist_ok=True)
    for path in (app / "tmp", app / "tmp/cache"):
        os.chown(path, user.uid, user.gid)
    assert can_write()
    os.chown(app / "tmp/cache", 0, 0)
    assert not can_write()


def test_composers_files_that_are_links_are_named(app: Path) -> None:
    (app / "composer.json").rename(app / "elsewhere")
    (app / "composer.json").symlink_to("elsewhere")
    assert tree.look(str(app.parent))["links"] == ["composer.json"]


def test_a_link_is_no_copy_of_what_it_leads_to(app: Path, user: WebUser) -> None:
    (app / "Vendor").rename(app / "elsewhere")
    (app / "Vendor").symlink_to("elsewhere")
    with pytest.raises(WebUserError, match="Vendor is a link"):
        save(app, user)


def test_a_digest_tells_any_difference(app: Path, user: WebUser) -> None:
    seen = {gate.ask(user, tree.digest, str(app / "Vendor"))}
    changes: tuple[Callable[[], object], ...] = (
        lambda: (app / "Vendor/deep/er/file").write_bytes(b"\0\xfe"),
        lambda: (app / "Vendor/deep/run").chmod(0o700),
        (app / "Vendor/more").touch,
        lambda: (app / "Vendor/more").rename(app / "Vendor/other"),
        lambda: (app / "Vendor/link").rename(app / "Vendor/link2"),
    )
    for number, change in enumerate(changes, 2):
        change()
        seen.add(gate.ask(user, tree.digest, str(app / "Vendor")))
        assert len(seen) == number
    assert gate.ask(user, tree.digest, str(app / "absent")) == ""


@pytest.mark.parametrize("kind", ["fifo", "device", "huge", "folder", "link"])
def test_nothing_in_a_files_place_blocks_or_fills_the_memory(
    app: Path, user: WebUser, kind: str
) -> None:
    version = app.parent / "VERSION.json"
    if kind == "fifo":
        os.mkfifo(version, 0o666)
    elif kind == "device":
        version.symlink_to("/dev/zero")
    elif kind == "huge":
        with version.open("wb") as file:
            file.truncate(1 << 30)
    elif kind == "folder":
        version.mkdir()
    else:
        version.symlink_to("/etc/passwd")
    found = gate.ask(user, tree.look, str(app.parent), timeout=10)
    assert found["version"] in ("?", "")


def test_a_file_is_replaced_whole_and_a_foreign_group_is_no_failure(
    app: Path, user: WebUser
) -> None:
    path = app / "composer.json"
    gate.ask(user, tree.write, str(path), "\xe9\n", 0o640, 0)
    assert path.read_bytes() == b"\xe9\n"
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o640, user.uid)
    assert [one.name for one in app.iterdir() if one.name.startswith(".misp")] == []


def test_a_copy_that_is_not_ours_is_refused(app: Path, user: WebUser) -> None:
    copy = app.parent / "evil.tar"
    with tarfile.open(copy, "w") as tar:
        member = tarfile.TarInfo("Vendor/../../escaped")
        tar.addfile(member, io.BytesIO())
    with pytest.raises(WebUserError, match="the copy holds"):
        gate.feed(user, tree.unpack, str(copy), str(app), NAMES)


def test_input_of_a_job_is_stored_under_one_name(app: Path, user: WebUser) -> None:
    folder = str(app / "ingest")
    for data in (b"first", b"second \xff"):
        path = gate.feed_bytes(user, tree.store, data, folder, "job-1")
    assert [one.name for one in Path(folder).iterdir()] == ["job-1"]
    assert Path(path).read_bytes() == b"second \xff"
    assert Path(path).stat().st_uid == user.uid
