"""What a fake host answers to a run, for pyinfra's `@fake` connector.

Keys are what the run's commands contain, values the lines they print; the first key that fits
counts. The parts of the hosts are in tests/hosts.py.
"""

from __future__ import annotations

from typing import Any

from tasks.checks import seen
from tasks.host import rollback
from tasks.host.diffs import FileChange
from tasks.host.done import Done, ProofJob
from tasks.host.preview import Preview, PreviewBack
from tasks.remote import PROJECT
from tasks.setting_types import DEFAULT_WORKERS
from tests import hosts

Answers = dict[str, Any]
Changes = dict[str, dict[str, Any]]

EXAMINE = hosts.look_key(seen.kinds(seen.SeenToMigrate))
EXAMINE_FOR_ROLLBACK = hosts.look_key(seen.kinds(seen.SeenToReturn))
EXAMINE_FOR_STATUS = hosts.look_key(seen.kinds(seen.SeenForStatus))
SOURCES = f"{PROJECT} sources.look"
SETTINGS_APPLIED = "look.take Settings Workers"
PROVEN = "look.take Supervisor View"
DRAIN = "look.take OldBackend"
GROUP_FILE = FileChange(
    "/etc/supervisor/conf.d/misp-workers.conf", "", "a" * 64, ["+[group:misp-workers]"]
)
PREVIEWS: Answers = {
    "preview.deploy": hosts.answer(Preview({"workers": [GROUP_FILE]}, {}, [])),
    "preview.rollback": hosts.answer(PreviewBack({}, False, {}, "")),
}


# What the calls tell that are more to a record than their lines.
JOBS = [ProofJob(queue, f"id-{queue}", 1_800_000_000, 0.25) for queue in DEFAULT_WORKERS]
DONE = {
    "proof.prove": Done([f"{one.queue}: completed" for one in JOBS], proof=tuple(JOBS)),
    "moves.convert": Done(["2 job(s) became new ones"], converted=2),
    "retire.retire": Done([], tasks=("17 * * * * www-data a task",)),
    "scheduled_tasks.hand_over_tasks": Done([]),
    "rollback.move_back": Done(["3 job(s) moved"], moved=3),
    "rollback.automatic": Done([rollback.RETURNED], moved=1),
}


ACTIONS = {
    **{f"{PROJECT} {name}": hosts.answer(done) for name, done in DONE.items()},
    f"{PROJECT} ": hosts.answer([]),
}


def migrating(family: str = "debian", /, **changes: dict[str, Any]) -> Answers:
    """A host on which every step has something to do and every step works."""
    before, after = hosts.migrating(family, **changes), hosts.converged(family)
    old = {name: before[name] for name in ("old_backend", "old_workers")}
    return {
        "id -u": hosts.identity(family),
        EXAMINE: hosts.look(before),
        SOURCES: hosts.answer(hosts.SOURCES),
        SETTINGS_APPLIED: hosts.look({**before, "settings": after["settings"]}),
        PROVEN: hosts.look({**after, **old}),
        "look.take": hosts.look(before),
        **PREVIEWS,
        **ACTIONS,
    }


def converged(family: str = "debian", /, **changes: dict[str, Any]) -> Answers:
    """A host that a run has finished with; one look at it is all that a run takes."""
    return {
        "id -u": hosts.identity(family),
        "look.take": hosts.look(hosts.converged(family, **changes)),
        SOURCES: hosts.answer(hosts.SOURCES),
        **PREVIEWS,
        **ACTIONS,
    }


def failing(answers: Answers, action: str, kind: str = "HostError") -> Answers:
    """The same host, on which one action gives up with the words "it broke"."""
    return first({f"{PROJECT} {action}": hosts.refusal(kind, "it broke")}, answers)


def draining(answers: Answers, changes: Changes) -> Answers:
    """The same host, whose old backend is found like this once the new workers are proven."""
    found = hosts.changed(hosts.converged(), {"old_workers": OLD_ALIVE, **changes})
    return first({PROVEN: hosts.look(found), DRAIN: hosts.look(found)}, answers)


def first(some: Answers, rest: Answers) -> Answers:
    """Answers of which `some` count before the rest."""
    return {**some, **{key: answer for key, answer in rest.items() if key not in some}}


OLD_ALIVE: dict[str, Any] = {
    name: getattr(hosts.migrating()["old_workers"], name) for name in ("processes", "units")
}
