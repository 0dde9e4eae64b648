"""Each worker of pytest's has a redis-server of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_server import Connection, server

Lines = tuple[Connection, Connection]  # to the old backend's database and to the new one's


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, help="simulation: replay this schedule and print each step"
    )
    parser.addoption("--schedules", type=int, default=10_000, help="simulation: how many schedules")


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lines]:
    with server(tmp_path_factory.mktemp("redis")) as path:
        yield Connection(path, 0), Connection(path, 1)
