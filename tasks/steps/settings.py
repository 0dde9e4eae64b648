"""Step 6: MISP's settings, and a web tier that has read them."""

from __future__ import annotations

from pyinfra.context import host, state

from tasks import facts
from tasks.commands import Guarded, give_up, run
from tasks.host import bridge, parts, settings, web
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.report import record, recording
from tasks.steps.step import Commands, step
from tasks.target import Target

ENABLED = "SimpleBackgroundJobs.enabled"


@step(forecast.SETTINGS, returns=True)
def configured(target: Target) -> Commands:
    """Have all settings stored, with their types, `enabled` last, and no PHP process older.

    The look reads config.php itself: `getSetting` shows defaults for absent keys. In database mode
    the file does not count and MISP's command line is asked.
    """
    if not decisions.settings(target, facts.asking(target)):
        host.noop("MISP's settings are in place and the web tier has them")
        return
    seen = facts.ask(target, parts.Settings)
    wrong = decisions.wrong_settings(target, seen)
    is_unfinished = decisions.has_new_password(target, seen)
    # After a run that ended between `enabled` and the web tier's reload: nothing was proven yet.
    is_cut_off = not (wrong or is_unfinished or facts.ask(target, parts.Proof).proven)
    enabled = ""
    if wrong or is_unfinished:
        wanted = target.misp_settings()
        pairs: list[list[object]] = [[name, wanted[name]] for name in wrong]
        yield run(
            call(settings.apply, site=target.site(), desired=target.desired(), settings=pairs),
            target,
            waits=f"MISP's command line stores {len(pairs)} settings, one after the other",
            limit=len(pairs) * bridge.CAKE_SECONDS,
        )
        enabled = record.now() if ENABLED in wrong else ""
        # In the same round trip what the next step asks: the web tier's reload changes none of it.
        facts.see(target, parts.Settings, parts.Workers, parts.Supervisor, parts.NewBackend)
        if still := decisions.wrong_settings(target, facts.ask(target, parts.Settings)):
            where = "the database" if target.database_mode else "config.php"
            reason = f"MISP took these settings, but {where} does not hold them: {', '.join(still)}"
            yield give_up(reason, target)
            return
    keeps = (parts.Workers, parts.Supervisor, parts.NewBackend)
    reload = call(web.reload_web, site=target.site())
    ends = "the web tier is reloaded, and ends requests that know the old settings"
    yield Guarded(run(reload, target, keeps, waits=ends, limit=web.SECONDS), target)
    if enabled or is_cut_off:
        recording.cut_over(state, host, enabled=enabled)
