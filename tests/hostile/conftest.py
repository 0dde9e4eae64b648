"""Attacks on hosts of a lab: see tests/labs.py for the lab, attacks.py for who attacks."""

from pathlib import Path

import pytest

from tests.labs import engine, lab, make_lab, pytest_runtest_makereport

__all__ = ["engine", "lab", "make_lab", "pytest_runtest_makereport"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is `hostile`, as pyproject.toml has the marker."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.hostile)
