"""No job is lost, doubled or stranded, however a cut-over is interleaved and wherever it is killed.

The logic is the tool's own (tasks/host, tasks/drain.py); processes and time are models.
"""

from __future__ import annotations

import pytest

from tests.simulation.conftest import Lines
from tests.simulation.schedule import Schedule

BATCHES = 50

pytestmark = pytest.mark.simulation


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    seed = metafunc.config.getoption("--seed")
    count = metafunc.config.getoption("--schedules")
    size = -(-count // BATCHES)
    batches = [range(start, min(start + size, count)) for start in range(0, count, size)]
    metafunc.parametrize(
        "seeds",
        batches if seed is None else [range(seed, seed + 1)],
        ids=lambda one: f"{one[0]}-{one[-1]}",
    )


def test_every_job_runs_exactly_once(
    lines: Lines, seeds: range, request: pytest.FixtureRequest
) -> None:
    is_traced = request.config.getoption("--seed") is not None
    for seed in seeds:
        outcome = Schedule(seed, *lines, trace=is_traced).run()
        assert not outcome.faults, f"seed {seed}: {'; '.join(outcome.faults)} (--seed {seed} -s)"


def test_a_seed_is_a_schedule(lines: Lines) -> None:
    first, second = (Schedule(7, *lines).run() for _ in range(2))
    assert first == second
