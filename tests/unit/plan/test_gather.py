"""What a plan rests on. All else of a plan's making is in tests/fake/test_plan.py."""

from __future__ import annotations

from tasks.plan import gather
from tasks.settings import from_host_data


def test_data_that_change_nothing_on_a_host_void_no_plan() -> None:
    how = {"expect": "migrated", "take_over": True, "show_calls": True, "approved_plan": "/plan"}
    assert gather._data(from_host_data({"epel": False, **how})) == {"data epel": "false"}
