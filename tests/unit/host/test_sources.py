"""What the trial of the sources answers, and how much room Composer's work takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.host import composer_files, gate, libraries, originals, packages, sources
from tasks.host.errors import HostError
from tasks.host.packages import Manager, PackageError
from tasks.host.parts import Sources
from tasks.host.programs import LateError
from tasks.host.site import Desired, Site
from tasks.host.trial import Trial
from tests.unit.host.fake_misp import FakeMisp

MANAGER = Manager(["apt"], [], [], [], [], [])
TRIAL = Trial([], "/nowhere")


def look(site: Site, names: list[str], composer: list[str]) -> Sources:
    return sources.look(site, Desired(), MANAGER, TRIAL, names, True, composer, "http://proxy")


def answers(patch: pytest.MonkeyPatch, module: Any, function: str, answer: Any) -> list[Any]:
    """Have a trial answer, or raise; what it is asked."""
    asked = []

    def ask(*arguments: Any) -> Any:
        asked.append(arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer

    patch.setattr(module, function, ask)
    return asked


def test_nothing_that_is_missing_is_nothing_that_is_tried(misp: FakeMisp) -> None:
    assert look(misp.site(), [], []) == Sources({}, {}, [], [], [])


def test_both_are_tried_whatever_the_other_says(
    misp: FakeMisp, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = misp.site()
    asked = answers(monkeypatch, packages, "offered", PackageError("no mirror"))
    answers(monkeypatch, libraries, "resolved", LateError("php did not end in time"))
    found = look(site, ["supervisor"], ["php", "composer.phar"])
    assert asked == [(site, MANAGER, TRIAL, ["supervisor"], True, "http://proxy")]
    assert found[:4] == ({}, {}, ["no mirror"], ["php did not end in time"])
    answers(monkeypatch, packages, "offered", {"supervisor": "4.2.5-1"})
    asked = answers(monkeypatch, libraries, "resolved", {"psr/log": "3.0.0"})
    found = look(site, ["supervisor"], ["php", "composer.phar"])
    assert asked == [(site, Desired(), ["php", "composer.phar"], "http://proxy")]
    assert found[:4] == ({"supervisor": "4.2.5-1"}, {"psr/log": "3.0.0"}, [], [])


def test_room_is_what_vendor_takes(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, libraries, "resolved", {})
    own = misp.app / "Vendor/own"
    own.mkdir()
    (own / "big").write_bytes(os.urandom(300_000))
    (own / "link").symlink_to("big")
    misp.own()
    site = misp.site()
    state, app = look(site, [], ["composer"]).rooms
    # The folder, the file and the link, each with its header; twice, and what is left to the host.
    assert state.needed_kb == 2 * (3 + 292) + 65_536
    assert state.free_kb > 0
    assert app.needed_inodes == 3 + 2_000
    assert 50_292 <= app.needed_kb <= 50_400
    assert app.free_kb > 0
    assert (state.place, app.place) == (site.state_dir, str(misp.app))
    monkeypatch.setattr(originals, "is_kept", lambda *_: True)
    assert look(site, [], ["composer"]).rooms[0].needed_kb == 3 + 292 + 65_536


@pytest.mark.parametrize("answer", [None, [1, 2], ["1", 2, 3, 4, 5], [True, 2, 3, 4, 5]])
def test_a_word_that_is_none_tells_nothing_of_room(
    misp: FakeMisp, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    answers(monkeypatch, libraries, "resolved", {})
    monkeypatch.setattr(gate, "ask", lambda *_, **__: answer)
    assert look(misp.site(), [], ["composer"]).rooms == []


def test_so_does_a_vendor_that_cannot_be_looked_at(
    misp: FakeMisp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise HostError("no")

    answers(monkeypatch, libraries, "resolved", {})
    monkeypatch.setattr(gate, "ask", closed)
    assert look(misp.site(), [], ["composer"]).rooms == []


def test_copies_are_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "composer.json").write_text("{}")
    copy = Path(composer_files.copy(str(tmp_path)))
    assert [one.name for one in copy.iterdir()] == ["composer.json"]
    assert copy.parent == tmp_path / "tmp"
