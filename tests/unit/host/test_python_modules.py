"""Root's Python imports nothing that somebody else can change, wherever it may look."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.host import python_modules
from tasks.host.files import FileError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="these files are root's")
HIM = 33


@pytest.fixture
def venv(folder: Path) -> Path:
    """A venv of root's, whose Python is a link to one elsewhere."""
    base, venv = folder / "base", folder / "venv"
    for name in ("base/bin", "base/lib/python3.11", "venv/bin", "more"):
        (folder / name).mkdir(parents=True)
    packages = venv / "lib64/python3.11/site-packages/supervisor"
    packages.mkdir(parents=True)
    (base / "bin/python3").touch(0o755)
    (base / "lib/python3.11/os.py").touch()
    (venv / "bin/python").symlink_to(base / "bin/python3")
    (venv / "pyvenv.cfg").write_text(f"home = {base}/bin\nversion = 3.11.2\n")
    (packages / "options.py").touch()
    (packages.parent / "added.pth").write_text(f"import os\n# {folder}\n{folder}/more\nnot there\n")
    (folder / "more/x.py").touch()
    script = venv / "bin/supervisord"
    script.write_text(f"#!{venv}/bin/python -sE\n")
    script.chmod(0o755)
    return venv


def check(venv: Path) -> None:
    python_modules.check(str(venv / "bin/supervisord"))


def test_what_is_all_roots_is_let_pass(venv: Path) -> None:
    check(venv)


@pytest.mark.parametrize(
    "name",
    [
        "venv/lib64/python3.11",
        "venv/lib64/python3.11/site-packages",
        "venv/lib64/python3.11/site-packages/supervisor",
        "venv/lib64/python3.11/site-packages/supervisor/options.py",
        "venv/lib64/python3.11/site-packages/added.pth",
        "venv/pyvenv.cfg",
        "base/lib/python3.11/os.py",
        "more",
        "more/x.py",
    ],
)
@pytest.mark.parametrize("spoil", [lambda one: os.chown(one, HIM, 0), lambda one: one.chmod(0o777)])
def test_whatever_others_can_change_is_named(
    venv: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(venv.parent / name)
    with pytest.raises(FileError, match=rf"/{name}( |/).*changed by others than root"):
        check(venv)


def test_a_venv_below_a_folder_that_the_web_user_may_write_is_refused(venv: Path) -> None:
    os.chown(venv.parent, HIM, HIM)
    with pytest.raises(FileError, match="can be changed by others than root"):
        check(venv)


def test_a_link_among_the_modules_is_followed_to_what_it_means(venv: Path) -> None:
    packages = venv / "lib64/python3.11/site-packages"
    (packages / "linked").symlink_to(venv.parent / "theirs")
    (packages / "circle").symlink_to(packages)
    check(venv)  # it leads nowhere
    (venv.parent / "theirs").mkdir()
    check(venv)
    (venv.parent / "theirs/y.py").touch()
    os.chown(venv.parent / "theirs/y.py", HIM, HIM)
    with pytest.raises(FileError, match=r"theirs/y\.py can be changed"):
        check(venv)


def test_a_tree_without_an_end_is_given_up(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_modules, "_FOLDERS", 3)
    with pytest.raises(FileError, match="has more than 3 folders"):
        check(venv)


def test_beside_the_systems_python_is_what_pip_has_added(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = folder / "local"
    module = local / "lib/python3.11/dist-packages/x.py"
    module.parent.mkdir(parents=True)
    module.touch()
    os.chown(module, HIM, HIM)
    monkeypatch.setattr(python_modules, "_LOCAL", str(local))
    script = folder / "supervisord"
    script.write_text("#!/usr/bin/python3\n")
    with pytest.raises(FileError, match=r"x\.py can be changed"):
        python_modules.check(str(script))
    script.write_text("#!/bin/sh\n")
    python_modules.check(str(script))
