"""Step 2: supervisor and, where SELinux wants them, its tools."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts
from tasks.commands import run
from tasks.host import packages, parts
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.PACKAGES)
def installed(target: Target) -> Commands:
    """Have the packages, EPEL first on the RHEL family when nothing else offers supervisor.

    The look asks the package database once; repositories are asked only for what is missing. Why
    this is not pyinfra's own operation: see tasks/host/packages.py.
    """
    if not decisions.packages(target, facts.asking(target)):
        host.noop(f"{', '.join(target.packages())} installed")
        return
    names = target.wanted(facts.ask(target, parts.Packages))
    install = call(
        packages.install,
        site=target.site(),
        names=names,
        manager=target.platform.manager,
        may_use_epel=target.settings.epel,
        http_proxy=target.secrets.proxy_url,
    )
    installs = f"{target.platform.manager.install[0]} installs {', '.join(names)}" if names else ""
    keeps = (parts.Libraries,)
    yield run(install, target, keeps, waits=installs, limit=packages.INSTALL_SECONDS)
