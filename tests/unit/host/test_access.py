"""Why the web user cannot execute a file, as it is for the web user."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from tasks.host import access, gate, mounts, web_user
from tests.unit.host.fake_misp import FakeMisp

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
MOUNTS = r"""1 0 8:1 / / rw - ext4 /dev/a rw
2 1 8:2 / /srv rw - ext4 /dev/b rw
3 2 8:2 /x /srv/a\040b rw,noexec - ext4 /dev/b rw
4 1 8:3 / /srv/a rw - ext4 /dev/c rw
"""


def look(path: Path) -> list[str]:
    user = web_user._web_user(pwd.getpwnam("www-data"))
    root = path.parent.parent.parent
    found = gate.ask(user, access.look, str(root), str(path.relative_to(root)))
    return [str(one) for one in found]


@pytest.fixture
def cake(misp: FakeMisp) -> Path:
    misp.own()
    return misp.app / "Console/cake"


def test_a_file_that_he_may_execute_has_no_fault(cake: Path) -> None:
    assert look(cake) == ["", "", ""]


def test_a_file_of_roots_that_is_closed_to_him_is_named_with_its_rights(cake: Path) -> None:
    os.chown(cake, 0, 0)
    cake.chmod(0o750)
    assert look(cake) == ["mode", str(cake), "root:root 750"]


def test_a_file_that_is_not_there(cake: Path) -> None:
    assert look(cake.with_name("gone")) == ["missing", str(cake.with_name("gone")), ""]


def test_the_first_folder_that_is_closed_is_named(cake: Path) -> None:
    os.chown(cake.parent, 0, 0)
    cake.parent.chmod(0o700)
    assert look(cake) == ["closed", str(cake.parent), "root:root 700"]


def test_a_folder_that_is_closed_behind_the_operators_link_is_named_itself(
    cake: Path,
) -> None:
    root = cake.parents[2]
    link = root.with_name("link")
    link.symlink_to(root)
    root.chmod(0o700)
    os.chown(root, 0, 0)
    assert look(link / "app/Console/cake") == ["closed", str(root), "root:root 700"]


@pytest.mark.parametrize("name", ["Console", "Console/cake"])
def test_a_link_is_named_and_nothing_of_what_it_leads_to(
    misp: FakeMisp, tmp_path: Path, name: str
) -> None:
    misp.own()
    treasure = tmp_path / "treasure"
    treasure.mkdir(mode=0o700)
    (misp.app / name).rename(misp.app / "old")
    (misp.app / name).symlink_to(treasure)
    assert look(misp.app / "Console/cake") == ["link", str(misp.app / name), ""]


def test_a_file_system_that_is_mounted_noexec_is_named_by_its_mount_point(cake: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "tmpfs", str(cake.parent)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        cake.write_text("#!/bin/sh\n")
        cake.chmod(0o755)
        assert look(cake) == ["noexec-below", str(cake.parent), ""]
    finally:
        subprocess.run(["umount", str(cake.parent)], check=True)


def test_where_the_mode_is_no_obstacle_something_else_is(
    cake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).is_dir())
    assert look(cake) == ["forbidden", str(cake), "www-data:www-data 755"]


@pytest.mark.parametrize(
    ("path", "place"), [("/srv/a b/cake", "/srv/a b"), ("/srv/ab", "/srv"), ("/var/www", "/")]
)
def test_the_mount_point_is_the_longest_that_is_above(
    tmp_path: Path, path: str, place: str
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert mounts.mount_point(path, str(tmp_path / "mounts")) == place
