"""A run of pyinfra's with one host that answers as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tasks import heartbeat
from tasks.report import record, recording
from tests.unit.pyinfra_fakes import Run

# A busy machine is no finding.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    monkeypatch.setenv(record.VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(heartbeat, "_beats", {})
    monkeypatch.setattr(heartbeat, "_greenlets", [])
    one = Run()
    one.use(monkeypatch)
    yield one
    for greenlet in heartbeat._greenlets:
        greenlet.kill()
    recording.forget()
