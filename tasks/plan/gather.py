"""The plan of the current host: made before its first operation, told, shown, and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pyinfra import logger
from pyinfra.context import host, state

from tasks import facts, parse, places, project, remote, render
from tasks.errors import RefusedError
from tasks.host import parts, preview
from tasks.plan import changes, compare, decisions, document, forecast, show
from tasks.plan.changes import Shown
from tasks.plan.document import Document, Step
from tasks.plan.forecast import Foreseen
from tasks.report import recording
from tasks.secret import SecretRef
from tasks.settings import Settings
from tasks.target import Target

Deploy = Literal["deploy", "rollback"]
# Keys that say how a run goes or what `status` expects, not what a run leaves.
_HOW = {"approved_plan", "expect", "take_over", "show_calls"}
_WRITES = {
    forecast.LIBRARIES: preview.LIBRARIES,
    forecast.RPC: preview.RPC,
    forecast.SETTINGS: preview.SETTINGS,
    forecast.WORKERS: preview.WORKERS,
    forecast.RETIRE: preview.LAUNCHERS,
    forecast.SCHEDULED_TASKS: preview.TASKS,
}


class Offered(NamedTuple):
    """Versions of what would be installed, by name; empty: nobody has asked."""

    packages: Mapping[str, str] = {}
    libraries: Mapping[str, str] = {}


def foresee(target: Target, deploy: Deploy, offered: Offered | None = None) -> None:
    """Tell the host's plan in a dry run, and hold a run to the plan that was approved.

    Args:
        offered: versions, where the host's sources were asked.

    Raises:
        RefusedError: an approved plan is given, and it is not what would be done now.
        MigrationError: the host does not say what it would write.
    """
    approved = target.settings.approved_plan
    if not (approved or state.should_check_for_changes()):
        return
    plan = made(target, deploy, offered or Offered())
    told = recording.plan(state, host, plan.model_dump())
    plan = Document.model_validate(told)  # the approved one was told, too
    if state.config.DIFF:
        for line in show.lines({host.name: told}):
            logger.info(f"{host.print_prefix}{line}")
    if approved and (problems := compare.problems(_approved(approved), plan)):
        raise RefusedError(*problems)


@cache
def _approved(path: str) -> dict[str, Document]:
    return document.load(Path(path))[1]


def made(target: Target, deploy: Deploy, offered: Offered) -> Document:
    """The current host's plan. Where files will change, it takes one round trip."""
    ask = facts.asking(target)
    steps = forecast.DEPLOY if deploy == "deploy" else forecast.ROLLBACK
    found = forecast.foreseen(steps, target, ask)
    shown = Shown(target, ask, packages=offered.packages, libraries=offered.libraries)
    if found:
        shown = _deploy(shown, found) if deploy == "deploy" else _rollback(shown)
    return Document(
        host=host.name,
        deploy=deploy,
        project=document.Project(**project.version_and_commit()),
        steps=[
            Step(step=one.step.title, limit=one.step.limit(target), changes=changes.of(one, shown))
            for one in found
        ],
        rests_on=_rests_on(target, found),
    )


def _deploy(shown: Shown, found: list[Foreseen]) -> Shown:
    target, ask = shown.target, shown.ask
    acting = {one.step: one for one in found}
    steps = [name for step, name in _WRITES.items() if step in acting]
    lives = ask(parts.OldWorkers).live
    if preview.LAUNCHERS in steps and not lives:
        steps.remove(preview.LAUNCHERS)
    if lives and ask(parts.ScheduledTasks).left:
        steps.append(preview.TASKS)
    if not steps:
        return shown
    rpc = acting.get(forecast.RPC)
    wants = preview.Wants(
        steps,
        rpc_text="" if target.rpc_elsewhere else target.rpc_text(),
        rotates=target.settings.rotate_password,
        restarts=bool(rpc and decisions.restarts_supervisord(target, rpc.ask)),
        group_text=target.group_text(),
    )
    call = remote.look(preview.deploy, site=target.site(), desired=target.desired(), wants=wants)
    seen = facts.get(target, call)
    return shown._replace(files=seen.files, digests=seen.digests, tasks=seen.tasks)


def _rollback(shown: Shown) -> Shown:
    target = shown.target
    call = remote.look(preview.rollback, site=target.site(), desired=target.desired())
    seen = facts.get(target, call)
    return shown._replace(files=seen.files, back=seen)


def _rests_on(target: Target, found: Iterable[Foreseen]) -> dict[str, str]:
    """What must be the same when the plan is applied, but for what the plan itself changes."""
    place = target.redis
    ground = {
        "the code of this project": _code(),
        "MISP's version": parse.dotted(target.version),
        "PHP's version": facts.asking(target)(parts.Php).version_text,
        "the web user": target.web_user,
        "SELinux": target.selinux_reason,
        "the new queues' Redis": f"{place.host}:{place.port}/{place.database} {place.namespace}",
    }
    if forecast.PACKAGES not in {one.step for one in found}:
        seen: parts.Packages = facts.asking(target)(parts.Packages)
        ground["supervisor's version"] = seen.supervisor_version
    return {**ground, **_data(target.settings)}


@cache
def _code() -> str:
    """The SHA-256 of all that decides what happens to a host, changed files as they are."""
    total = hashlib.sha256()
    folders = [(places.ROOT / "tasks", "*.py"), (places.ROOT / "tasks", "*.php")]
    for folder, pattern in (*folders, (render.TEMPLATES, "*")):
        for path in sorted(folder.rglob(pattern)):
            total.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def _data(settings: Settings) -> dict[str, str]:
    """The operator's data as far as it is given; of a secret only where it comes from."""
    names = settings.model_fields_set - _HOW
    return {f"{compare.DATA}{name}": _shown(getattr(settings, name)) for name in sorted(names)}


def _shown(value: Any) -> str:
    if isinstance(value, SecretRef):
        return value.describe()
    return json.dumps(value, sort_keys=True)
