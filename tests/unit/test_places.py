from __future__ import annotations

from pathlib import Path

import pytest

from tasks import places

WHEEL = ["config.py", "deploy.py", "healthcheck.py", "rollback.py", "status.py", "templates"]


def test_a_checkout_keeps_its_runs_beside_itself() -> None:
    assert places.runs() == places.ROOT / "reports" / "runs"


def test_an_installation_keeps_them_in_the_callers_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert places.runs() == Path("/state/misp-workers/runs")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/a")
    assert places.runs() == Path("/home/a/.local/state/misp-workers/runs")


@pytest.mark.parametrize("name", WHEEL)
def test_what_a_wheel_takes_is_what_stands_at_the_top(name: str) -> None:
    assert (places.FILES / name).resolve() == places.ROOT / name
