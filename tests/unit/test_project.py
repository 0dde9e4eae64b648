"""Which version runs: never an error, and never another repository's commit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import project

IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@example.org"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(project, "ROOT", tmp_path)
    project.version_and_commit.cache_clear()
    yield tmp_path
    project.version_and_commit.cache_clear()


def git(folder: Path, *words: str) -> str:
    command = ["git", *IDENTITY, *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_checkout_has_its_version_and_its_commit(root: Path) -> None:
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    git(root, "tag", "-m", "v", "v9")
    commit = git(root, "rev-parse", "HEAD").strip()
    assert project.version_and_commit() == {"version": "1.2.3", "commit": commit}
    (root / "pyproject.toml").write_text('version = "1.2.4"\n')
    project.version_and_commit.cache_clear()
    assert project.version_and_commit() == {"version": "1.2.4", "commit": f"{commit}-dirty"}


def test_a_folder_in_another_repository_has_no_commit(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(root, "init", "-q")
    git(root, "commit", "-qm", "first", "--allow-empty")
    (root / "below").mkdir()
    monkeypatch.setattr(project, "ROOT", root / "below")
    assert project.version_and_commit()["commit"] == ""


@pytest.mark.parametrize("path", ["/nonexistent", None])
def test_without_git_or_with_a_broken_repository_there_is_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    (root / ".git").mkdir()
    if path:
        monkeypatch.setenv("PATH", path)
    assert project.version_and_commit()["commit"] == ""
