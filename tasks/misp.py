"""Step 6: MISP's settings, and a web tier that has read them."""

from __future__ import annotations

import json
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from tasks import facts, parse
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
        # And in the same breath what the next operation asks: the web tier's reload changes none.
        seen = facts.ask(target, "settings", "workers", "redis", fresh=True)
        if still := _wrong(target, seen):
            where = "the database" if target.database_mode else "config.php"
            reason = f"MISP took these settings, but {where} does not hold them: {', '.join(still)}"
            yield give_up(reason, target)
            return
    yield guarded(run("reload_web", target, keeps=("workers", "redis")), target)


def _wrong(target: Target, answer: Answer) -> list[str]:
    """Names of settings that are absent, of another value or of another type, in order."""
    return parse.wrong_settings(
        answer.record("settings"), target.misp_settings(), strict=not target.database_mode
    )


def _is_stale(answer: Answer) -> bool:
    """Whether PHP processes of the web tier may still have settings from before a change of ours.

    A child's age alone does not tell: the opcache is the master's, and a child that was born after
    the change serves the old config.php from it all the same.
    """
    change = answer.words("settings_changed")
    if len(change) != 2 or change[0] != answer.one("boot"):
        return False  # nothing was changed by us, or the host was started anew since
    return bool(answer.all("web")) and answer.words("web_reloaded") != change
