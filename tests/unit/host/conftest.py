"""Both backends in a real Redis, each test finds it empty; and a MISP tree of the web user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host.queues import Backend
from tests.redis_server import Connection, server
from tests.unit.host.fake_misp import FakeMisp, open_folder


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with server(tmp_path_factory.mktemp("redis")) as path:
        yield path


@pytest.fixture
def old(redis_socket: Path) -> Iterator[Backend]:
    connection = Connection(redis_socket, 0)
    connection.command("FLUSHALL")
    yield Backend(connection, "resque:")
    connection.close()


@pytest.fixture
def new(redis_socket: Path, old: Backend) -> Iterator[Backend]:
    connection = Connection(redis_socket, 1)
    yield Backend(connection, "background_jobs:", 86400)
    connection.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's that every user may enter."""
    with open_folder() as path:
        yield path


@pytest.fixture
def misp(folder: Path) -> FakeMisp:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return FakeMisp(folder)
