"""Whether what is about to be done to a host is what was approved. Pure.

A run may be cut off or fail, and the same plan is applied again. So a plan holds as long as each
change that is left was approved: it leads to what was approved, and begins where the plan began or
where a change of the plan ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from tasks.host.diffs import LATER
from tasks.plan.document import Change, Document
from tasks.report.events import program

DATA = "data "  # how names in `rests_on` begin that are the operator's keys
_ANEW = "make a new plan and approve that"


def problems(approved: Mapping[str, Document], now: Document) -> list[str]:
    """Say why the host may not be changed as it would be now; empty: it may.

    Args:
        approved: the plans by host.
    """
    if not now.steps:
        return []
    plan = approved.get(now.host)
    if plan is None:
        return [f"the approved plan does not have this host: {_ANEW}"]
    if plan.deploy != now.deploy:
        is_for, this = program(plan.deploy), program(now.deploy)
        return [f"the approved plan is for {is_for}, and this is {this}"]
    found = [*_other_ground(plan.rests_on, now.rests_on), *_other_changes(plan, now)]
    return [f"since the plan was approved, {one}: {_ANEW}" for one in found]


def _other_ground(plan: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """What the plan rests on and is another; a change of the plan's own is none of it."""
    added = [name for name in now if name.startswith(DATA) and name not in plan]
    for name in [*plan, *added]:
        before, after = plan.get(name, ""), now.get(name, "")
        if before != after:
            yield f"{name} has changed ({_from_to(before, after)})"


def _other_changes(plan: Document, now: Document) -> Iterator[str]:
    approved = defaultdict(list)
    for change in _lasting(plan):
        approved[change.kind, change.name].append(change)
    titles = {step.step for step in plan.steps}
    for step in now.steps:
        if step.step not in titles and all(change.volatile for change in step.changes):
            yield f"the step {step.step!r} has something to do as well"
    for change in _lasting(now):
        if problem := _problem(change, approved[change.kind, change.name]):
            yield problem


def _lasting(document: Document) -> list[Change]:
    changes = [change for step in document.steps for change in step.changes]
    return [change for change in changes if not change.volatile]


def _problem(change: Change, approved: list[Change]) -> str:
    what = change.name if change.kind == "file" else f"{change.kind} {change.name}"
    if not approved:
        return f"{what} is to be changed as well"
    ends = {one.after for one in approved}
    if not ends & {change.after, LATER}:
        return f"{what} is to become another ({_from_to(approved[-1].after, change.after)})"
    if change.before not in ends | {one.before for one in approved}:
        return f"{what} is another ({_from_to(approved[0].before, change.before)})"
    return ""


def _from_to(before: str, now: str) -> str:
    return f"it was {_short(before)}, it is {_short(now)}"


def _short(text: str) -> str:
    is_digest = len(text) == 64 and text.isalnum()
    return text[:12] if is_digest else text or "nothing"
