"""A run of pyinfra's with one host that answers as it is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tasks import heartbeat, reporting
from tests.unit.pyinfra_fakes import Run

# A busy machine is no finding.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(heartbeat, "_beats", {})
    monkeypatch.setattr(heartbeat, "_greenlets", [])
    one = Run()
    one.use(monkeypatch)
    yield one
    for greenlet in heartbeat._greenlets:
        greenlet.kill()
    reporting._runs.clear()
