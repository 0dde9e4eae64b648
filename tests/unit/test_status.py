"""status.py on the operator's machine; runs of it are in tests/fake/test_status.py."""

from __future__ import annotations

from tasks import status
from tasks.report.status import Fault, Status


def test_a_secret_that_is_a_common_word_makes_no_status_unreadable() -> None:
    found = Status("old", "old", [Fault("old", "the old one")], lines=["old"], backend="on")
    clean = status._masked(found, ["old", ""])
    assert clean == Status("old", "old", [Fault("***", "the *** one")], lines=["***"], backend="on")
