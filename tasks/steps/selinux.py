"""Step 5: the guide's "Make SELinux happy", kept over a relabel and an update."""

from __future__ import annotations

from pyinfra.context import host

from tasks import facts, render
from tasks.commands import run
from tasks.host import selinux
from tasks.plan import decisions, forecast
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step(forecast.SELINUX)
def module_loaded(target: Target) -> Commands:
    """Have the module, the label of `cake` that it goes by, and the web tier's way to the network.

    MISP's own install text labels `cake` by chcon, which a relabel undoes; the rule stays.
    """
    if target.selinux == "none":
        host.noop(target.selinux_reason)
        return
    if not decisions.selinux(target, facts.asking(target)):
        host.noop("the SELinux module is in place")
        return
    install = call(
        selinux.install,
        site=target.site(),
        source=render.selinux_module(),
        digest=decisions.selinux_digest(),
        load=target.selinux == "load",
    )
    builds = "the SELinux policy is built with the module"
    yield run(install, target, waits=builds, limit=selinux.BUILD_SECONDS)
