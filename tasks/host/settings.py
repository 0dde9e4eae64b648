"""MISP's settings: how they are stored, and changing them through MISP's own command line."""

import os
from typing import Any, List

from tasks.host import files, gate, originals, rpc, tree, web
from tasks.host.errors import HostError
from tasks.host.misp import Misp, Stored
from tasks.host.parts import Place, Settings
from tasks.host.processes import now_ticks
from tasks.host.site import Desired, Site

_SECRETS = ("redis_password", "supervisor_password")


class SettingsError(HostError):
    """MISP did not take a setting."""


def ends_proof(name: str) -> bool:
    """Whether a proof of the workers does not hold any more once this setting is another."""
    key = name.rpartition(".")[2]
    return key == "enabled" or key.startswith("redis_")  # see `evidence` of proof.py


def look(one: Misp) -> Settings:
    """MISP's settings as a part of a look."""
    site = one.site
    is_pending = rpc.is_pending(site)
    try:
        stored, wanted = one.stored(), one.wanted()
        timeout = _read_timeout(one, stored)
    except HostError as error:
        return unknown(site, str(error))
    password = rpc.password(one)
    # In the database an empty value is no row at all (SystemSetting.php).
    absent = "" if stored.is_in_database else None
    return Settings(
        "",
        {key: value for key, value in stored.block.items() if key not in _SECRETS},
        Place(wanted.host, wanted.port, wanted.database, wanted.namespace, wanted.history_ttl),
        password is not None and stored.block.get("supervisor_password", absent) == password,
        stored.block.get("redis_password", absent) == wanted.password,
        not wanted.password.startswith("-"),
        stored.is_in_database,
        stored.is_encrypted,
        bool(stored.misp.get("background_jobs", True)),
        timeout,
        is_pending,
    )


def unknown(site: Site, error: str) -> Settings:
    """The part where MISP's settings cannot be asked."""
    place = Place("", 0, 0, "", 0)
    is_pending = rpc.is_pending(site)
    return Settings(error, {}, place, False, False, True, False, False, True, -1.0, is_pending)


def _read_timeout(one: Misp, stored: Stored) -> float:
    """How long a worker waits for Redis: phpredis takes PHP's limit unless MISP sets one."""
    own = stored.block.get("redis_read_timeout")
    php = one.bridge.once("php")
    values = [own, php.get("timeout") if isinstance(php, dict) else None]
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and value]
    return numbers[0] if numbers else -1.0


def apply(site: Site, desired: Desired, settings: List[List[Any]]) -> List[str]:
    """Set MISP's settings in this order; `enabled` comes last.

    Args:
        settings: `[name, value]`; the value `{"secret": KEY}` stands for a password.
    """
    with Misp(site, desired) as one:
        return _apply(one, settings)


def _apply(one: Misp, settings: List[List[Any]]) -> List[str]:
    site = one.site
    secrets = {
        "supervisor_password": rpc.password(one),
        "redis_password": one.wanted().password,
    }
    if secrets["supervisor_password"] is None:
        raise SettingsError(
            "no supervisor password is known on this host: the RPC step has to come first"
        )
    if any(ends_proof(name) for name, _ in settings):
        files.remove(site.proven_file)
    keep_config(one)
    # From here on every PHP process of the web tier may have settings that are no longer true.
    originals.note_change(site, site.config_php, _digest(one))
    web.note_change(site, 0)
    done: List[str] = []
    try:
        for name, value in settings:
            if isinstance(value, dict):
                set_one(one, name, str(secrets[value["secret"]] or ""), is_secret=True)
            else:
                set_one(one, name, _text(value))
            done.append(name)
    except HostError as error:
        left = "Set before it, and left so: %s" % ", ".join(done) if done else "None was set before"
        raise SettingsError("%s. %s" % (error, left)) from None
    finally:  # also where one is refused: what others do from here on is theirs
        originals.note_left(site, site.config_php, _digest(one))
    web.note_change(site, now_ticks())
    files.remove(rpc.pending_file(site))
    return []


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def set_one(one: Misp, name: str, value: str, is_secret: bool = False) -> None:
    """Set one setting through MISP's command line."""
    complaint = one.bridge.cake("Admin", "setSetting", name, value)
    if complaint:
        if is_secret:
            complaint = "MISP's answer is not shown, since it may hold the value"
        raise SettingsError("MISP does not take the setting %s: %s" % (name, complaint))


def keep_config(one: Misp) -> None:
    """Keep config.php as it was before the first change."""
    path = one.site.config_php
    if not originals.is_kept(one.site, path):
        status, digest = one.status_of(path)
        originals.keep_stream(
            one.site, path, status, digest, lambda copy: gate.save(one.user, tree.cat, copy, path)
        )


def _digest(one: Misp) -> str:
    return one.status_of(one.site.config_php)[1]


def disable(one: Misp) -> List[str]:
    """Turn the new backend off: the file as it was if nobody else changed it since.

    Else, and in the database, just `enabled` becomes false.
    """
    site = one.site
    digest = _digest(one)
    is_ours = originals.is_as_we_left_it(site, site.config_php, digest)
    if not one.stored().is_on and not is_ours:
        return _set_apart(site, digest)
    web.note_change(site, 0)
    messages = []
    if is_ours:
        _put_config_back(one)
    else:
        messages = _set_apart(site, digest)
    one.forget()
    if one.stored().is_on:
        set_one(one, "SimpleBackgroundJobs.enabled", "false")
        one.forget()
    web.note_change(site, now_ticks())
    return messages


def _set_apart(site: Site, digest: str) -> List[str]:
    """Keep the file as it was where it is not put back, once."""
    path = site.config_php
    is_copied = os.path.exists(originals.saved(site, path))
    if not is_copied or originals.is_as_it_was(site, path, digest):
        return []
    return [
        "config.php was changed by others since the migration, so it stays as it is, but for "
        "SimpleBackgroundJobs.enabled. How it was before it is in %s"
        % originals.set_apart(site, [path])
    ]


def _put_config_back(one: Misp) -> None:
    site = one.site
    known = originals.kept(site, site.config_php)
    data = files.read(originals.saved(site, site.config_php), 16 << 20)
    if known is None or data is None:
        raise SettingsError(
            "config.php cannot be put back: its copy is missing in %s" % site.state_dir
        )
    text = data.decode("latin-1")
    gate.ask(one.user, tree.write, site.config_php, text, known.mode, known.gid)


def is_unfinished(one: Misp) -> bool:
    """Whether a run was cut off amid the settings, before `enabled`: the file is ours."""
    return originals.is_as_we_left_it(one.site, one.site.config_php, _digest(one))
