"""What a crash left is told from what is in use or kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab import owner


def test_a_living_process_owns_its_lab() -> None:
    assert not owner.is_gone(owner.current())


def test_a_process_that_ended_does_not() -> None:
    script = "from lab import owner; print(owner.current())"
    ended = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert owner.is_gone(ended.strip())


def test_a_later_process_of_the_same_number_is_another() -> None:
    machine, pid, start = owner.current().split(" ")
    assert owner.is_gone(f"{machine} {pid} {int(start) - 1}")


@pytest.mark.parametrize("name", ["", owner.KEPT, "elsewhere 4194304 5", "a b c d"])
def test_kept_labs_and_those_of_other_machines_are_left_alone(name: str) -> None:
    assert not owner.is_gone(name)
