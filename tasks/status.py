"""How the workers of a host are: one look, a few lines, and each fault with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyinfra import logger
from pyinfra.context import host, state

from tasks import facts, misp_rest, obstacles, parse, render
from tasks.acquaintance import ROOT_IS_NO_WEB_USER, RefusedError, asked_target, with_answers
from tasks.parse import Answer
from tasks.target import Target

SUBJECTS = ("system", "misp", "php", "settings", "redis", "supervisor", "legacy", "proof", "view")
OF_A_RUN = ("new_backend", "run_state")  # the last one: a script at work is not waited for
DISK_KB = 100_000  # a worker that cannot write its log or a job's file is of no use
LIVING = ("active", "activating", "reloading")
STARTED_AT_BOOT = ("enabled", "enabled-runtime", "linked")

Part = Callable[[Target, Answer], Iterator[str]]


def reported() -> None:
    """Print the current host's state; with a fault the host counts as failed (exit status 1)."""
    try:
        asked = asked_target()
        answer = facts.ask(asked, *SUBJECTS, *OF_A_RUN)
        target = with_answers(asked, answer)
        found = [fault for part in FAULTS for fault in part(target, answer)]
        _say([*described(target, answer)], found + _rest_faults(target, answer))
    except RefusedError as refusal:
        _say([], refusal.problems)


def _say(lines: list[str], found: list[str]) -> None:
    for line in lines:
        logger.info(f"{host.print_prefix}{line}")
    if not found:
        logger.info(f"{host.print_prefix}healthy")
        return
    logger.error(f"{host.print_prefix}{len(found)} fault{'s' if len(found) > 1 else ''}:")
    for number, fault in enumerate(found, 1):
        logger.error(f"{host.print_prefix}  {number}. {fault}")
    state.fail_hosts({state.inventory.get_host(host.name)})


def described(target: Target, answer: Answer) -> Iterator[str]:
    """What there is, be it right or wrong."""
    version = ".".join(map(str, target.version)) if any(target.version) else "unknown"
    backend = "on" if _is_on(answer) else "off"
    yield f"MISP {version}, new backend {backend}"
    running = [name for name, one in _group(answer).items() if one.state == "RUNNING"]
    yield f"workers: {len(running)} RUNNING, {len(target.process_names)} wanted"
    yield f"new queues: {_new_queues(answer)}"
    legacy = answer.record("legacy")
    if legacy.get("installed") is False:
        yield "old backend: not in this MISP any more"
    else:
        alive = len(answer.all("process"))
        yield f"old backend: {alive} worker process{'' if alive == 1 else 'es'}, " + (
            parse.backlog(legacy) or "nothing waiting, running or delayed"
        )


def _new_queues(answer: Answer) -> str:
    redis = answer.record("waiting")
    if "error" in redis:
        return f"unknown: {redis['error']}"
    queues = redis.get("queues")
    waiting = queues.items() if isinstance(queues, dict) else ()
    parts = [f"{count} waiting in {queue}" for queue, count in waiting if count]
    parts = parts or [f"{redis.get('waiting') or 0} waiting"]
    return ", ".join([*parts, f"{len(answer.all('busy_worker'))} running"])


def _is_on(answer: Answer) -> bool:
    return (answer.record("settings").get("block") or {}).get("enabled") in (True, 1, "1", "true")


def _group(answer: Answer) -> dict[str, parse.Process]:
    status = parse.supervisor_status(answer.all("status"))
    return {name: one for name, one in status.items() if name.startswith(f"{render.GROUP}:")}


def _misp(target: Target, answer: Answer) -> Iterator[str]:
    root = target.settings.misp_root
    if not answer.one("root"):
        yield f"{root} is no directory here: set misp_root to where MISP is installed"
    elif not answer.one("config"):
        yield f"{root}/app/Config/config.php is missing: finish MISP's own installation first"
    elif target.web_user == "root":
        yield ROOT_IS_NO_WEB_USER
    elif not answer.one("php_version"):
        yield "no php runs MISP's jobs here: install it, or link it into /usr/bin"
    elif error := answer.record("settings").get("error"):
        yield f"{root}/app/Config/config.php {error}: mend the file"


def _settings(target: Target, answer: Answer) -> Iterator[str]:
    """Workers keep the settings they began with: a broken one shows when the next job is queued."""
    if not _is_on(answer):
        return
    if moved := list(obstacles.other_redis(target, answer)):
        yield from moved
        return
    stored, wanted = answer.record("settings"), target.misp_settings()
    if wrong := parse.wrong_settings(stored, wanted, strict=not target.database_mode):
        yield (
            f"MISP's settings are not as the migration leaves them ({', '.join(wrong)}): run "
            "deploy.py again, which sets them"
        )


def _run(target: Target, answer: Answer) -> Iterator[str]:
    """An interrupted migration, or one under way."""
    if at_work := answer.one("busy"):
        yield f"{at_work}: wait until that run has ended"
        return
    if answer.one("at_work"):
        yield "a step of an earlier run is still at work here: wait a little and look again"
        return
    if not answer.one("state_dir"):
        return
    reasons = [key for key in ("pending", "composer_unfinished") if answer.one(key)]
    if answer.all("stopping"):
        reasons.append("old workers half stopped")
    if not answer.one("proven"):
        reasons.append("no proof")
    if reasons:
        last = f" (last run: {answer.one('last_run')})" if answer.one("last_run") else ""
        yield (
            f"a migration of this host was interrupted or failed{last}: {', '.join(reasons)}. Run "
            "deploy.py again to finish it, or rollback.py to go back"
        )
    elif answer.one("proven") != answer.one("evidence"):
        yield (
            "what was proven is no longer what is here (workers' file, Redis settings, MISP's or "
            "PHP's version): run deploy.py again, which proves it anew"
        )


def _daemon(target: Target, answer: Answer) -> Iterator[str]:
    unit = target.platform.supervisor_unit
    active, enabled = [*answer.words("unit_state"), "", ""][:2]
    if not _is_on(answer):
        return
    if active != "active":
        yield (
            f"supervisord is {active or 'absent'}: systemctl start {unit}, and see journalctl -u "
            f"{unit} for why it ended"
        )
    if enabled not in STARTED_AT_BOOT:
        state_at_boot = enabled or "no unit"
        yield f"supervisord does not start at boot ({state_at_boot}): systemctl enable {unit}"


def _workers(target: Target, answer: Answer) -> Iterator[str]:
    if not _is_on(answer):
        if _group(answer):
            yield (
                "workers of the new backend run though MISP does not use it: run deploy.py to "
                "finish, or rollback.py to take them away"
            )
        return
    if answer.words("unit_state")[:1] != ["active"]:
        return  # said already
    group = _group(answer)
    running = {"RUNNING", *(("STARTING", "BACKOFF") if _is_without_redis(answer) else ())}
    for name in target.process_names:
        if name not in group:
            yield f"{name} is missing: run deploy.py again"
        elif group[name].state not in running:
            yield f"{name} {_why(group[name])}"
    for name in sorted(set(group) - set(target.process_names)):
        yield f"{name} is not wanted: run deploy.py again, or correct misp_workers"


def _why(worker: parse.Process) -> str:
    said = f"is {worker.state} ({worker.note})" if worker.note else f"is {worker.state}"
    log = f"{render.LOG_DIR}/{worker.name.partition(':')[2].rpartition('_')[0]}*.log"
    if worker.state in ("FATAL", "EXITED"):
        return f"{said}: see {log}, mend it, then supervisorctl start {worker.name}"
    if worker.state in ("STARTING", "BACKOFF"):
        return f"{said}: supervisord goes on trying; if it stays so see {log}"
    return f"{said}: supervisorctl start {worker.name}"


def _view(target: Target, answer: Answer) -> Iterator[str]:
    if not _is_on(answer) or _is_without_redis(answer):
        return
    seen = parse.wrong_misp_view(answer.record("get_workers"), target.worker_counts)
    if seen:
        yield f"MISP's own view (cake Admin getWorkers): {'; '.join(seen)}. {_VIEW_REMEDY}"


_VIEW_REMEDY = (
    "If the workers themselves are well, the password, the libraries or the view on /proc are "
    "wrong: run deploy.py again"
)


def _rest_faults(target: Target, answer: Answer) -> list[str]:
    if not _is_on(answer) or _is_without_redis(answer):
        return []
    seen = misp_rest.faults(target, facts.rest_view(target))
    return [f"MISP's own view: {'; '.join(seen)}. {_VIEW_REMEDY}"] if seen else []


def _redis(target: Target, answer: Answer) -> Iterator[str]:
    redis = answer.record("redis")
    if _is_without_redis(answer):
        yield (
            f"Redis at {target.redis.get('redis_host')}:{target.redis.get('redis_port')}, where "
            f"the queues are, cannot be used: {redis['error']}. Start it, or correct MISP's "
            "SimpleBackgroundJobs settings; the workers come back by themselves, unless FATAL"
        )
    if aside := redis.get("aside"):
        yield (
            f"{aside} job(s) were set aside by a step that was cut off, and no worker takes them: "
            "run deploy.py again, which puts them back (or rollback.py)"
        )
    if _is_on(answer) and (fault := parse.impatience(answer.record("settings"))):
        yield fault


def _is_without_redis(answer: Answer) -> bool:
    """Then workers start in vain and MISP's view fails: consequences, not faults of their own."""
    return _is_on(answer) and "error" in answer.record("redis")


def _old_workers(target: Target, answer: Answer) -> Iterator[str]:
    legacy, alive = answer.record("legacy"), answer.all("process")
    if not _is_on(answer):
        yield from _old_backend_alone(answer)
        return
    programs = [*obstacles.old_programs(answer)]
    yield from programs
    back = [*_units_that_start_them(answer), *answer.all("launcher")]
    left = sum((legacy.get("waiting") or {}).values()) if legacy.get("waiting") else 0
    if back or (alive and not programs):
        what = f"{len(alive)} old worker process(es) live" if alive else "old workers are stopped"
        how = f" and {', '.join(back)} can start them again" if back else ""
        yield f"{what}{how}: run deploy.py again, which drains and retires them"
        yield from _stuck_jobs(answer)
    elif left:
        yield (
            f"{left} job(s) wait in the old backend and no worker does them: rollback.py takes the "
            "old workers back, or start them by app/Console/worker/start.sh and run deploy.py again"
        )


def _units_that_start_them(answer: Answer) -> list[str]:
    found = []
    for line in answer.all("unit"):
        unit, active, enabled = [*line.split(), "", ""][:3]
        if active in LIVING or enabled in STARTED_AT_BOOT:
            found.append(unit)
    return found


def _old_backend_alone(answer: Answer) -> Iterator[str]:
    if not answer.one("config") or "error" in answer.record("settings"):
        return  # said already: which backend MISP uses is unknown
    if not answer.all("process"):
        yield (
            "MISP uses its old backend and no old worker lives, so no job is done: start the old "
            "workers, or run deploy.py"
        )
    elif "error" in answer.record("legacy"):
        yield (
            f"the old workers' Redis cannot be asked: {answer.record('legacy')['error']}. Start "
            "it, or see app/Plugin/CakeResque/Config/config.php"
        )
    else:
        yield from _stuck_jobs(answer)


def _stuck_jobs(answer: Answer) -> Iterator[str]:
    legacy, alive = answer.record("legacy"), answer.all("process")
    if alive and (problem := parse.stuck(alive, legacy)):
        yield f"the old backend has {parse.backlog(legacy)}, and {problem}"


def _disk(target: Target, answer: Answer) -> Iterator[str]:
    places = {"disk_kb": f"{target.settings.misp_root}/app/tmp", "disk_var_kb": "/var"}
    for key, place in places.items():
        free = answer.one(key)
        if free.isdigit() and int(free) < DISK_KB:
            yield f"{int(free) // 1024} MiB are free in {place}: make room"


FAULTS: tuple[Part, ...] = (
    _misp,
    _settings,
    _run,
    _daemon,
    _redis,
    _workers,
    _view,
    _old_workers,
    _disk,
)
