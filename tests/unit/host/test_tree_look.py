"""MISP's files as a part of a look, where the web user may not look at them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.host import gate, tree_look
from tasks.host.misp import Misp
from tasks.host.parts import Tree
from tasks.host.site import Desired
from tests.unit.host.fake_misp import FakeMisp

ROOTS = "root:root 700"


@pytest.fixture
def look(misp: FakeMisp) -> Callable[[str], Tree]:
    """Look with a folder closed, named as the operator names MISP's: by a link."""
    misp.own()
    (misp.folder / "link").symlink_to(misp.root)

    def close(name: str) -> Tree:
        folder = misp.root / name
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
        site = misp.site()._replace(misp_root=f"{misp.folder}/link")
        with Misp(site, Desired()) as one:
            return tree_look.look(site, one, "")

    return close


def test_misps_own_folder_is_opened_in_its_place(
    misp: FakeMisp, look: Callable[[str], Tree]
) -> None:
    said = look("").error
    assert said.startswith(f"www-data may not enter {misp.root} ({ROOTS}), so MISP's files cannot")
    assert f'run `(cd -P {misp.root} && [ "$(pwd -P)" = {misp.root} ] && chmod o+x .)`, or' in said


def test_a_folder_below_is_given_to_its_user(misp: FakeMisp, look: Callable[[str], Tree]) -> None:
    folder = f"{misp.folder}/link/app/Config"
    said = look("app/Config").error
    assert said.startswith(f"www-data may not enter {folder} ({ROOTS}), so MISP's files cannot")
    assert (
        "-execdir chown -h www-data {} +`, then `setsid -w runuser -u www-data -- chmod u+rwx"
        in (said)
    )


@pytest.mark.parametrize("lie", [None, [], ["/a `id`"], ["/etc", "x", "y"]])
def test_a_lie_is_no_folder(
    misp: FakeMisp, look: Callable[[str], Tree], monkeypatch: pytest.MonkeyPatch, lie: object
) -> None:
    real = gate.ask

    def ask(user: object, function: Callable[..., object], *words: object) -> object:
        return lie if function.__name__ == "closed" else real(user, function, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(gate, "ask", ask)
    assert look("app/Config").error.startswith("www-data cannot look at MISP's files: ")


def test_no_folder_is_opened_that_is_not_on_misps_way(
    misp: FakeMisp, look: Callable[[str], Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gate.ask

    def ask(user: object, function: Callable[..., object], *words: object) -> object:
        lie = ["/etc `id`", "root:root `id`"]
        return lie if function.__name__ == "closed" else real(user, function, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(gate, "ask", ask)
    said = look("app/Config").error
    assert "`" not in said
    assert f"see the modes on the way (namei -l {Path(misp.root)})" in said
