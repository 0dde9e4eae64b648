"""Whether the Redis of the new queues is fit, and whether it stays the same one."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import parse
from tasks.checks.seen import Seen
from tasks.host.parts import Place, Settings
from tasks.host.redis import REFUSES
from tasks.host.remedies import quoted
from tasks.report.events import program
from tasks.target import Target

_LOCAL = ("localhost", "127.0.0.1", "::1")


def check(target: Target, seen: Seen) -> Iterator[str]:
    """Check the Redis that the new queues are in, or will be."""
    stored, backend = seen.settings, seen.new_backend
    if stored.error or seen.php.version == (0, 0, 0):
        return  # there is a sentence already
    if moved := list(moves(stored)):
        yield from moved
        return
    at = place(stored.wanted)
    if backend.error.startswith(REFUSES):
        yield f"{at} cannot be used as MISP's user: {backend.error}"
        return
    if backend.error:
        yield (
            f"{at} cannot be used with the credentials that MISP will have: {backend.error}. "
            "Start it, or check misp_redis_host, _port, _database and _password"
        )
        return
    if "EVAL" in backend.refused and target.settings.on_leftover_jobs == "convert":
        yield (
            f"on_leftover_jobs is convert, but {at} refuses EVAL, and a job moves in one step by a "
            "script or not safely: allow EVAL to MISP's user (its ACL, or rename-command in "
            "redis.conf), or set on_leftover_jobs to stop"
        )
    if backend.foreign_keys:
        yield (
            f"something else uses {at} (keys such as {', '.join(backend.foreign_keys)}): set "
            "misp_redis_database or misp_redis_namespace to another one"
        )
    if stored.is_on or parse.group_workers(seen.supervisor.workers):
        return  # workers and jobs there are this MISP's own
    if backend.blocked_clients:
        yield (
            f"{backend.blocked_clients} worker(s) of another MISP wait for jobs in {at}, and two "
            "MISPs would run each other's jobs: set misp_redis_database or misp_redis_namespace "
            "to another one"
        )
    if waiting := sum(backend.waiting.values()):
        yield (
            f"{waiting} job(s) already wait in {at}, though the new backend is off. If they are "
            "this MISP's own, set SimpleBackgroundJobs.enabled to true, and its workers do them. "
            "If not, set misp_redis_database or misp_redis_namespace to another one"
        )


def place(redis: Place) -> str:
    """Return where the queues are, in words."""
    at = redis.host if redis.host.startswith("/") else f"{redis.host}:{redis.port}"
    names = f"database {redis.database}, namespace {quoted(redis.namespace, 80)}"
    return f"Redis at {quoted(at, 200)}, {names}"


def moves(stored: Settings) -> Iterator[str]:
    """Say that a migrated MISP would get another Redis than it has. The deploy moves no queues."""
    if stored.error or not stored.is_on:
        return
    if not stored.block.get("redis_namespace"):
        yield (
            "MISP uses the new backend without SimpleBackgroundJobs.redis_namespace, so jobs that "
            f"wait now would stay behind when it becomes {stored.wanted.namespace}: set it in MISP "
            "while no job waits or runs, restart the workers, then run again"
        )
        return
    differing = {key: value for key, value in _wanted(stored) if not _is_same(stored, key, value)}
    if differing:
        has = " and ".join(f"{key} {quoted(str(stored.block.get(key)), 100)}" for key in differing)
        gets = " and ".join(f"misp_{key} {value}" for key, value in differing.items())
        yield (
            f"the queues of this migrated MISP are at {has}, but the inventory says {gets}, and "
            "the deploy moves no queues: set the inventory back to MISP's value. To move them to "
            f"another Redis, run {program('rollback')}, change the inventory, then run the deploy "
            "again"
        )


def _wanted(stored: Settings) -> list[tuple[str, str | int]]:
    redis = stored.wanted
    port: list[tuple[str, str | int]] = [("redis_port", redis.port)]
    return [
        ("redis_host", redis.host),
        *([] if redis.host.startswith("/") else port),  # a socket has none
        ("redis_database", redis.database),
        ("redis_namespace", redis.namespace),
    ]


def _is_same(stored: Settings, key: str, wanted: str | int) -> bool:
    has = stored.block.get(key)
    if has in (None, ""):
        return True  # MISP gets what it lacks
    if key == "redis_host" and has in _LOCAL and wanted in _LOCAL:
        return True
    return str(has) == str(wanted)
