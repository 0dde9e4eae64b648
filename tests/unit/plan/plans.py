"""Plans of sample hosts, made without a host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tasks import misp_rest
from tasks.plan import changes, forecast
from tasks.plan.changes import Shown
from tasks.plan.decisions import Ask
from tasks.plan.document import Change, Document, Project, Step
from tasks.target import Target
from tests import hosts


def asking(found: hosts.Parts) -> Ask:
    """Gives the parts of a sample host."""
    parts: dict[type, Any] = {type(one): one for one in found.values()}
    parts[misp_rest.View] = None
    return lambda kind: parts[kind]


def plan(
    found: hosts.Parts,
    target: Target | None = None,
    *,
    name: str = "misp1",
    deploy: Any = "deploy",
    rests_on: dict[str, str] | None = None,
    **shown: Any,
) -> Document:
    """The plan of a host with these parts; `shown` as in `changes.Shown`."""
    target = replace(target or hosts.target(), is_on=found["settings"].is_on)
    steps = forecast.DEPLOY if deploy == "deploy" else forecast.ROLLBACK
    ask = asking(found)
    return Document(
        host=name,
        deploy=deploy,
        project=Project(version="1", commit="c"),
        steps=[
            Step(
                step=one.step.title,
                limit=one.step.limit(target),
                changes=changes.of(one, Shown(target, ask, **shown)),
            )
            for one in forecast.foreseen(steps, target, ask)
        ],
        rests_on=rests_on or {},
    )


def changes_of(document: Document, title: str) -> list[Change]:
    """The changes of the step whose title begins so."""
    (step,) = (one for one in document.steps if one.step.startswith(title))
    return step.changes


def words(found: list[Change]) -> list[str]:
    """Each change in a line."""
    return [f"{one.kind} {one.name}: {one.before} -> {one.after}" for one in found]
