"""What an operator should know of a host before its migration; none of it stops the run."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import parse
from tasks.obstacles import WORKER_KB, WORKER_OWN_KB, lack_of_memory
from tasks.parse import Answer
from tasks.target import Target


def of(target: Target, answer: Answer) -> Iterator[str]:
    """What is to be said of this host."""
    if not any(lack_of_memory(target, answer, WORKER_OWN_KB)):  # else it is refused
        yield from lack_of_memory(target, answer, WORKER_KB)
    words = answer.words("config")
    if len(words) == 3 and int(words[2], 8) & 0o004:
        yield (
            f"config.php, which holds passwords, can be read by every user (mode {words[2]}): "
            f"chmod 640 {target.settings.misp_root}/app/Config/config.php"
        )
    eviction = answer.record("redis").get("eviction")
    if eviction not in (None, "", "noeviction"):
        yield f"Redis may drop jobs when memory is short (maxmemory-policy is {eviction})"
    if target.database_mode:
        yield "MISP keeps its settings in the database: they are set and checked through its CLI"
    if target.rpc_elsewhere:
        yield f"the [inet_http_server] in {target.rpc_elsewhere} is used as it is"
    if not answer.all("web"):
        yield "no PHP process of a web tier runs: that it reads the new settings is not proven"
    yield from _launcher_notes(answer)
    if backlog := parse.backlog(answer.record("legacy")):
        yield f"the old backend has {backlog}"
    yield from _drain_notes(target, answer)


_WILL_STOP = "As it is, this run will stop before it retires the old workers"


def _drain_notes(target: Target, answer: Answer) -> Iterator[str]:
    legacy = answer.record("legacy")
    is_strict = target.settings.on_leftover_jobs == "stop"
    if is_strict and (problem := parse.never_drained(legacy, target.settings.drain_timeout)):
        yield f"{problem}. {_WILL_STOP}"
    is_drained = not (answer.all("process") or parse.waiting(legacy))
    if target.settings.on_leftover_jobs != "convert" and not is_drained:
        problem = parse.stuck(answer.all("process"), legacy)
        yield from [f"{problem}. {_WILL_STOP}"] if problem else []
    if target.settings.on_leftover_jobs == "convert" and legacy.get("scheduled"):
        yield (
            f"{legacy['scheduled']} task(s) that MISP's scheduler calls (pulls, pushes, feeds, "
            "caches) stay behind in the old backend, where nothing calls them any more: take them "
            "over to cron (app/Console/cake Server pullAll USER_ID, and so on)"
        )


def _launcher_notes(answer: Answer) -> Iterator[str]:
    for file in answer.all("launcher"):
        yield (
            f"{file} starts the old workers: that part of it is commented out when they retire, "
            "and rollback.py brings it back"
        )
    if answer.all("process") and not any(map(answer.all, ("unit", "launcher", "taken_out"))):
        yield (
            "nothing starts the old workers at boot, so they were started by hand: after a "
            "rollback app/Console/worker/start.sh starts them"
        )
