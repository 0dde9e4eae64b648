"""Whether somebody can take over MISP's scheduled tasks from the old backend."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import parse
from tasks.checks.seen import SeenToMigrate
from tasks.host import cron
from tasks.host.site import CRON, NATIVE, SCHEDULER_SINCE
from tasks.target import Target

_LEAVE = "set scheduled_tasks to leave, and MISP's scheduled tasks are yours to move"


def check(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Check the tasks that are on, if there are any."""
    tasks, owner = seen.scheduled_tasks, target.scheduled_tasks
    has_tasks = bool(tasks.left or tasks.unfit)
    is_migrated = target.is_on and not seen.old_workers.live
    if (has_tasks or not is_migrated) and (problem := _against_version(target)):
        yield problem
        return
    if not has_tasks:
        return
    if tasks.odd:
        yield f"{tasks.odd}: remove them from Redis, or {_LEAVE}"
    if "EVAL" in seen.new_backend.refused or tasks.refuses_scripts:
        yield (
            "MISP's scheduled tasks move by a script, and Redis refuses EVAL to MISP's user: allow "
            f"it (its ACL, or rename-command in redis.conf), or {_LEAVE}"
        )
    if tasks.error:
        yield (
            f"MISP has scheduled tasks, and its table of them cannot be read: {tasks.error}. Mend "
            f"what app/Config/database.php names, or {_LEAVE}"
        )
    if owner == NATIVE and not target.has_scheduler:
        yield (
            "MISP's scheduled tasks go to MISP's own scheduler, and misp_scheduler is false, so "
            f"nobody would run them: set misp_scheduler to true, or {_LEAVE}"
        )
    if owner == CRON and not cron.can_name(target.web_user, target.settings.misp_root):
        yield f"cron cannot name the web user {target.web_user}: {_LEAVE}"
    for kind in dict.fromkeys(tasks.unfit):
        yield _unfit(kind, owner)
    if tasks.lacks:
        yield (
            "MISP's scheduled tasks are to go to cron, but this host lacks "
            f"{' and '.join(tasks.lacks)}: install and start it, or {_LEAVE}"
        )


def _against_version(target: Target) -> str:
    """Say why the owner that the inventory names is none with this MISP; empty: he is one.

    MISP's table has other columns since it has its scheduler, so a look at the tasks cannot tell.
    """
    owner, version = target.settings.scheduled_tasks, target.version
    fault = ""
    if owner == CRON and version >= SCHEDULER_SINCE:
        fault = "has a scheduler of its own"
    if owner == NATIVE and (0, 0, 0) < version < SCHEDULER_SINCE:
        fault = f"has no scheduler of its own (it came with {parse.dotted(SCHEDULER_SINCE)})"
    if not fault:
        return ""
    return (
        f"scheduled_tasks is {owner}, but MISP {parse.dotted(version)} {fault}: take the key out "
        f"of the inventory, or {_LEAVE}"
    )


def _unfit(kind: str, owner: str) -> str:
    if owner == NATIVE:
        return (
            f"MISP's scheduled task {kind} is on in the old backend, and MISP's own scheduler has "
            "none that does the same: add it there (Administration, Scheduled Tasks) and run "
            f"again, or {_LEAVE}"
        )
    return (
        f"MISP's scheduled task {kind} is on, and cron cannot run it (MISP has no command for it, "
        "or its numbers make no sense): set its frequency to 0 in MISP (Administration, Scheduled "
        f"Tasks) and let it run once, or {_LEAVE}"
    )
