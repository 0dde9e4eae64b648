"""Step 5: the guide's "Make SELinux happy", kept over a relabel and an update."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from tasks import facts, render
from tasks.commands import run
from tasks.parse import Answer
from tasks.target import Target

CAKE_TYPE = "httpd_sys_script_exec_t"


@operation()
def module_loaded(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the module, the label of `cake` that it goes by, and the web tier's way to the network.

    MISP's own install text labels `cake` by chcon, which a relabel undoes; the rule stays.
    """
    if target.selinux == "none":
        host.noop(target.selinux_reason)
        return
    source = render.selinux_module()
    digest = hashlib.sha256(source.encode()).hexdigest()
    faults = _faults(target, facts.ask(target, "selinux"), digest)
    if not faults:
        host.noop("the SELinux module is in place")
        return
    yield run(
        "install_selinux_module",
        target,
        module_source=source,
        module_digest=digest,
        load_module="yes" if target.selinux == "load" else "no",
    )


def _faults(target: Target, answer: Answer, digest: str) -> list[str]:
    faults = [] if answer.one("built") == digest else ["not built"]
    if target.selinux == "load":
        expected = {
            "module": "loaded",
            "cake_label": CAKE_TYPE,
            "cake_rule": CAKE_TYPE,
            "network": "on",
        }
        faults += [key for key, value in expected.items() if answer.one(key) != value]
    return faults
