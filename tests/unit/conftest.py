"""A run of pyinfra's with one host that answers as it is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks import heartbeat
from tasks.report import recording
from tests.unit.pyinfra_fakes import Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(heartbeat, "_beats", {})
    monkeypatch.setattr(heartbeat, "_greenlets", [])
    one = Run()
    one.use(monkeypatch)
    yield one
    for greenlet in heartbeat._greenlets:
        greenlet.kill()
    recording._runs.clear()
