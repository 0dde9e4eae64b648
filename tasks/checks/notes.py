"""What an operator should know of a host before its migration. No note stops the run."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.backlog import SCHEDULED, elsewhere, left_behind, never_quiet, nobody_there
from tasks.checks import old_workers, web
from tasks.checks.seen import SeenToMigrate
from tasks.checks.system import WORKER_KB, WORKER_OWN_KB, lack_of_memory
from tasks.drain import LONGEST_WAIT
from tasks.host.parts import OwnRpc
from tasks.host.remedies import NOBODY_KNOWN, as_web_user, quoted, word
from tasks.target import Target

_WILL_STOP = "As it is, this run will stop before it retires the old workers"
# Units that start whatever others have given them, at boot and later.
_STARTERS = ("cron.service", "crond.service", "anacron.service", "atd.service", "rc-local.service")
_WORLD_READABLE = 0o004
_SHORTEST = 20  # characters of a password that others may try
_UNKNOWN = {
    "SCAN": "something else may have keys in the new queues' namespace",
    "CLIENT LIST": "workers of another MISP may take jobs there",
    "INFO": "Redis may drop jobs when its memory is full",
    "EVAL": "no job could be moved between the backends, as a rollback does",
}


def of(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Return what there is to note of this host."""
    if not any(lack_of_memory(target, seen, WORKER_OWN_KB)):  # else the host is refused
        yield from lack_of_memory(target, seen, WORKER_KB)
    mode, config = seen.tree.config_mode, f"{target.settings.misp_root}/app/Config/config.php"
    if mode >= 0 and mode & _WORLD_READABLE:
        yield (
            f"every user can read config.php, which holds passwords (mode {mode:o}): run "
            f"`{as_web_user(seen.tree.web_user, 'chmod', '640', config)}`"
        )
    eviction = seen.new_backend.eviction
    if eviction not in ("", "noeviction"):
        yield (
            f"Redis may drop jobs when memory is short (maxmemory-policy is {eviction}): set it "
            "to noeviction"
        )
    if refused := seen.new_backend.refused:
        unknown = ", ".join(_UNKNOWN[command] for command in refused if command in _UNKNOWN)
        yield (
            f"Redis refuses {', '.join(refused)} to MISP's user, so {unknown}. Allow these "
            "(its ACL, or rename-command in redis.conf), or see for yourself"
        )
    if target.database_mode:
        yield "MISP keeps its settings in the database: the deploy asks and sets them by MISP's CLI"
    if target.rpc_elsewhere:
        yield f"the deploy uses the [inet_http_server] in {target.rpc_elsewhere} as it is"
        yield from _own_rpc(target, seen.own_rpc)
    if seen.supervisor.lost_folders:
        yield (
            f"supervisord cannot start without {', '.join(seen.supervisor.lost_folders)}, so the "
            "deploy makes what is missing, now and before each start"
        )
    if not seen.web.users:
        yield (
            "no PHP process serves the web, so nothing can prove that it reads the new settings: "
            "start PHP-FPM, or the web server that has PHP as a module, if this host has one"
        )
    yield from _web(target, seen)
    yield from _launchers(target, seen)
    yield from _old_jobs(target, seen)


def _own_rpc(target: Target, own: OwnRpc) -> Iterator[str]:
    """Say how others on the host could get the password, by which they control every program."""
    file = target.rpc_elsewhere
    if own.mode >= 0 and own.mode & _WORLD_READABLE and own.password_length:
        yield (
            f"every user can read {file} with the RPC's password in clear (mode {own.mode:o}), and "
            "whoever has it can stop and start every program of supervisord's: run `chmod 600 "
            f"{word(file)}`"
        )
    if 0 < own.password_length < _SHORTEST:
        yield (
            f"the RPC's password in {file} has {own.password_length} characters, and every user of "
            f"this host may try passwords: set one of {_SHORTEST} or more there (openssl rand -hex "
            "24), restart supervisord, then run again"
        )


def _web(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    yield from web.noted(target, seen)
    versions = {pool.version[:2] for pool in seen.web.pools if not pool.error}
    if versions and any(seen.php.version) and seen.php.version[:2] not in versions:
        others = ", ".join(f"{one[0]}.{one[1]}" for one in sorted(versions))
        yield (
            f"jobs run by PHP {seen.php.version[0]}.{seen.php.version[1]} and the web by PHP-FPM "
            f"{others}: Composer chooses MISP's libraries for the first, and both have to run them"
        )


def _launchers(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    old = seen.old_workers
    for launcher in old.launchers:
        by = f", by {launcher.via}" if launcher.via else ""
        yield (
            f"{launcher.path} starts the old workers{by}: the deploy comments that part out when "
            "it retires them, and the rollback brings it back"
        )
    for unit, via in old.indirect.items():
        yield (
            f"{unit} starts the old workers, by {via}: the deploy stops and disables it, with "
            "whatever else it does, when it retires them, and the rollback brings it back"
        )
    for unit, variables in old.variables.items() if old.processes else ():
        yield (
            f"{unit} sets variables for the old workers ({quoted(variables)}). MISP starts jobs of "
            "the new backend without any. If they need one, as for a proxy, set it where MISP or "
            "PHP reads it itself"
        )
    if not old.processes or old.launchers or old.is_taken_out or old.programs:
        return
    if starters := [one.words for one in old.origins if one.unit in _STARTERS]:
        yield (
            f"old workers were started in {' and '.join(starters)}, by nothing that this deploy "
            "reads: look what has started them there and take it out, so that they do not come "
            f"back. After a rollback {old_workers.starts(target)} starts them"
        )
    elif not any(unit.is_there for unit in old.units):
        yield (
            "as far as this deploy sees, nothing starts the old workers at boot, so somebody "
            f"started them by hand: after a rollback {old_workers.starts(target)} starts them"
        )


def _old_jobs(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    old, workers, choice = seen.old_backend, seen.old_workers, target.settings.on_leftover_jobs
    if seen.tree.error:  # nothing was asked, and that is said
        return
    is_refused = (choice != "convert" and left_behind(old)) or (old.error and workers.processes)
    if old.backlog and not is_refused:
        yield f"the old backend has {old.backlog}"
    look = old_workers.look(target, seen)
    if problem := elsewhere(look):
        yield f"the old backend has {old.backlog}, and {problem}"
    # Else nothing is left to drain.
    if choice != "convert" and old.is_installed and (workers.live or old.convertible):
        limit = LONGEST_WAIT if choice == "wait" else target.settings.drain_timeout
        renewing = f"the old backend has {old.backlog}. {SCHEDULED}" if old.scheduled else ""
        for problem in (never_quiet(old, limit) or renewing, nobody_there(look)):
            if problem:
                yield f"{problem}. {_WILL_STOP}"
    if choice == "convert" and old.scheduled and old.is_installed:
        yield (
            f"{old.scheduled} task(s) of MISP's scheduler (pulls, pushes, feeds, caches) stay "
            "behind in the old backend, where nothing calls them any more: move them to "
            f"{target.web_user or 'the web user'}'s crontab, not root's (`crontab -u "
            f"{word(target.web_user or NOBODY_KNOWN)} -e`; "
            f"{target.settings.misp_root}/app/Console/cake Server pullAll USER_ID, and so on)"
        )
