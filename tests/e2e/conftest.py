"""Labs for end-to-end tests: see tests/labs.py."""

from tests.labs import engine, lab, make_lab, pytest_runtest_makereport

__all__ = ["engine", "lab", "make_lab", "pytest_runtest_makereport"]
