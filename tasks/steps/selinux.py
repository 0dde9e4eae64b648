"""Step 5: the guide's "Make SELinux happy", kept over a relabel and an update."""

from __future__ import annotations

import hashlib

from pyinfra.context import host

from tasks import facts, render
from tasks.commands import run
from tasks.host import parts, selinux
from tasks.remote import call
from tasks.steps.step import Commands, step
from tasks.target import Target


@step()
def module_loaded(target: Target) -> Commands:
    """Have the module, the label of `cake` that it goes by, and the web tier's way to the network.

    MISP's own install text labels `cake` by chcon, which a relabel undoes; the rule stays.
    """
    if target.selinux == "none":
        host.noop(target.selinux_reason)
        return
    source = render.selinux_module()
    digest = hashlib.sha256(source.encode()).hexdigest()
    if not _faults(target, facts.ask(target, parts.Selinux), digest):
        host.noop("the SELinux module is in place")
        return
    load = target.selinux == "load"
    install = call(selinux.install, site=target.site(), source=source, digest=digest, load=load)
    builds = "the SELinux policy is built with the module"
    yield run(install, target, waits=builds, limit=selinux.BUILD_SECONDS)


def _faults(target: Target, seen: parts.Selinux, digest: str) -> list[str]:
    faults = [] if seen.built == digest else ["not built"]
    if target.selinux == "load":
        faults += [] if seen.is_loaded else ["not loaded"]
        faults += [] if seen.cake_label == seen.cake_rule == selinux.CAKE_TYPE else ["label"]
        faults += [] if seen.has_network else ["network"]
    return faults
