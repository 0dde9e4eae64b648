"""Step 3: the PHP libraries that MISP speaks to supervisord with."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts
from tasks.commands import run
from tasks.host import libraries, parts
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.LIBRARIES)
def present(target: Target) -> Commands:
    """Have the guide's five packages in app/Vendor, by Composer as the web user.

    The look loads their classes: composer.json names them on MISP 2.5 whether they are installed or
    not, and MISP's own update resets it.
    """
    if not decisions.libraries(target, facts.asking(target)):
        host.noop("the PHP libraries load")
        return
    require = call(
        libraries.require,
        site=target.site(),
        desired=target.desired(),
        composer=target.composer.split(),
        http_proxy=target.secrets.proxy_url,
    )
    keeps = (parts.Supervisor, parts.Rpc)
    installs = f"Composer installs {len(libraries.LIBRARIES)} PHP libraries"
    yield run(require, target, keeps, waits=installs, limit=libraries.COMPOSER_SECONDS)
