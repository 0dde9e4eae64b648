"""Step 6: MISP's settings, and a web tier that has read them."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from tasks import facts
from tasks.commands import give_up, guarded, run
from tasks.parse import Answer
from tasks.target import Target


@operation()
def configured(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have all settings stored, with their types, `enabled` last, and no PHP process older.

    What is stored is read from config.php itself: `getSetting` shows defaults for absent keys. In
    database mode the file does not count and the CLI is asked.
    """
    answer = facts.ask(target, "settings", "web")
    wrong = _wrong(target, answer)
    # A new password is pending until MISP has it; a dry run knows that there will be one.
    is_unfinished = bool(answer.one("pending")) or target.settings.rotate_password
    if not wrong and not is_unfinished and not _is_stale(answer):
        host.noop("MISP's settings are in place and the web tier has them")
        return
    if wrong or is_unfinished:
        pairs = [[name, target.misp_settings()[name]] for name in wrong]
        yield run("apply_settings", target, settings_json=json.dumps(pairs))
        if still := _wrong(target, facts.ask(target, "settings", fresh=True)):
            where = "the database" if target.database_mode else "config.php"
            reason = f"MISP took these settings, but {where} does not hold them: {', '.join(still)}"
            yield give_up(reason, target)
            return
    yield guarded(run("reload_web", target), target)


def _wrong(target: Target, answer: Answer) -> list[str]:
    """Names of settings that are absent, of another value or of another type, in order."""
    stored = answer.record("settings")
    block = stored.get("block") or {}
    wrong = []
    for name, value in target.misp_settings().items():
        key = name.partition(".")[2]
        if isinstance(value, dict):
            is_right = stored.get(f"{key}_matches") is True
        else:
            is_right = _same(block.get(key), value, strict=not target.database_mode)
        if not is_right:
            wrong.append(name)
    return wrong


def _same(stored: Any, wanted: str | int | bool, *, strict: bool) -> bool:
    """Equal in value and, in the file, in type: BackgroundJobsTool.php compares with `=== true`.

    The database keeps text, and what the CLI shows of it may be text as well.
    """
    if strict:
        return type(stored) is type(wanted) and stored == wanted
    if isinstance(wanted, bool):
        return stored in (wanted, int(wanted), str(int(wanted)), str(wanted).lower())
    return str(stored) == str(wanted)


def _is_stale(answer: Answer) -> bool:
    """Whether PHP processes of the web tier may still have settings from before a change of ours.

    A child's age alone does not tell: the opcache is the master's, and a child that was born after
    the change serves the old config.php from it all the same.
    """
    change = answer.words("settings_changed")
    if len(change) != 2 or change[0] != answer.one("boot"):
        return False  # nothing was changed by us, or the host was started anew since
    return bool(answer.all("web")) and answer.words("web_reloaded") != change
