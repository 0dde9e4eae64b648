"""Whether PHP-FPM may do what MISP does in it: ask supervisord, queue jobs, look at workers."""

from __future__ import annotations

from collections.abc import Iterator

from tasks import parse
from tasks.checks.seen import SeenToMigrate
from tasks.checks.system import EXTENSIONS, oldest_php
from tasks.host.parts import Pool
from tasks.target import Target

FUNCTIONS = ("curl_init", "curl_exec")  # how MISP's supervisor client asks (Guzzle)


def check(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Check the pools that may be MISP's: if one of them is fit, it may be MISP's own."""
    answered = [pool for pool in seen.web.pools if not pool.error]
    faults = [list(_of(target, pool)) for pool in answered]
    if faults and all(faults):
        yield from faults[0]
    if not _asks_rest(target) and not _unknown(seen):
        yield from _silent(target, seen)


def noted(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    """Name a pool that gave no answer, where that is no reason to refuse the host."""
    if unknown := _unknown(seen):
        yield (
            f"nobody knows whether PHP-FPM at {unknown[0].at} may do what MISP does in it "
            f"({unknown[0].error}): if it is busy run again later{_advice(target)}"
        )
    elif target.settings.misp_url:  # else the host is refused
        yield from _silent(target, seen)


def _silent(target: Target, seen: SeenToMigrate) -> Iterator[str]:
    pools = seen.web.pools
    if pools and all(pool.error for pool in pools):
        yield (
            f"PHP-FPM at {pools[0].at} cannot be asked what it may do ({pools[0].error}): have it "
            f"run PHP files of {target.settings.misp_root}/app/tmp as "
            f"{seen.tree.web_user or 'the web user'}{_advice(target)}"
        )


def _unknown(seen: SeenToMigrate) -> list[Pool]:
    """Pools of which nobody knows whether they are fit, where no pool has answered."""
    pools = seen.web.pools
    return [pool for pool in pools if pool.may_be_fit] if all(pool.error for pool in pools) else []


def _advice(target: Target) -> str:
    return "" if _asks_rest(target) else ", or set misp_url and misp_api_key"


def _asks_rest(target: Target) -> bool:
    return bool(target.settings.misp_url and target.secrets.api_key)


def _of(target: Target, pool: Pool) -> Iterator[str]:
    where = f"PHP-FPM at {pool.at}"
    oldest = oldest_php(target.version)
    if pool.version < oldest:
        yield (
            f"{where} is PHP {parse.dotted(pool.version)}, but MISP {parse.dotted(target.version)} "
            f"needs {oldest[0]}.{oldest[1]}: have the web server use a newer PHP-FPM"
        )
    if pool.config_error:
        yield (
            f"{where} cannot use {target.settings.misp_root}/app/Config/config.php, which "
            f"{pool.config_error} there: correct its mode, or open_basedir and the like"
        )
    present = {name.lower() for name in pool.extensions}
    if missing := [name for name in EXTENSIONS if name not in present]:
        yield (
            f"{where} lacks the extension(s) {', '.join(missing)}: install them, enable them for "
            "PHP-FPM too, and restart it"
        )
    if disabled := [name for name in FUNCTIONS if name in pool.disabled]:
        yield (
            f"{where} may not call {', '.join(disabled)}, by which MISP asks supervisord: take it "
            "out of disable_functions (PHP-FPM's php.ini, or php_admin_value in its pool's file), "
            "and restart PHP-FPM"
        )
    if pool.open_basedir and not pool.sees_proc:
        yield (
            f"{where} may not look at /proc, where MISP looks at its workers: add /proc to its "
            f"open_basedir ({pool.open_basedir}), and restart PHP-FPM"
        )
