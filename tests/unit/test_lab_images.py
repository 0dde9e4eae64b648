"""An image is the same when, and only when, what goes into it is the same."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from lab.bases import BASES, lookup
from lab.errors import LabError
from lab.images import Recipe, files_below
from lab.paths import RECIPES


def _recipe(folder: Path, **arguments: str) -> Recipe:
    return Recipe("host:test", files_below(folder), arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files/etc").mkdir(parents=True)
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    (tmp_path / "files/etc/motd").write_text("hello\n")
    return tmp_path


def test_content_name_and_arguments_count(folder: Path) -> None:
    first = _recipe(folder, BASE="a").digest()
    assert _recipe(folder, BASE="a").digest() == first
    assert _recipe(folder, BASE="b").digest() != first
    (folder / "files/etc/motd").write_text("bye\n")
    assert _recipe(folder, BASE="a").digest() != first


def test_the_umask_of_a_clone_does_not_count_but_the_execute_bit_does(folder: Path) -> None:
    first = _recipe(folder).digest()
    (folder / "Dockerfile").chmod(0o600)
    assert _recipe(folder).digest() == first
    (folder / "Dockerfile").chmod(0o755)
    assert _recipe(folder).digest() != first


def test_the_build_context_holds_every_file(folder: Path) -> None:
    with tarfile.open(fileobj=_recipe(folder).context()) as archive:
        assert archive.getnames() == ["Dockerfile", "files/etc/motd"]
        assert {member.mode for member in archive} == {0o644}


@pytest.mark.parametrize("name", BASES)
def test_every_base_has_a_recipe_and_a_way_to_come_by_it(name: str) -> None:
    spec = BASES[name]
    assert (RECIPES / spec.recipe / "Dockerfile").is_file()
    assert spec.image or spec.suite or spec.parent in BASES


def test_no_recipe_installs_supervisor() -> None:
    for listing in RECIPES.glob("*/packages*.txt"):
        assert "supervisor" not in listing.read_text().splitlines()


def test_an_unknown_base_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"slackware.*[\s\S]*debian-12"):
        lookup("slackware")
