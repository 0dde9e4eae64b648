"""Step 2: supervisor and, where SELinux wants them, its tools."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from tasks import facts
from tasks.commands import run
from tasks.target import Target


@operation()
def installed(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the packages, EPEL first on the RHEL family when nothing else offers supervisor.

    pyinfra's own `dnf.packages` asks `dnf repoquery` for each package on every run; this asks the
    package database once and goes to the repositories only for what is missing.
    """
    answer = facts.ask(target, "packages")
    present = {
        name for name, state, *_ in map(str.split, answer.all("package")) if state == "installed"
    }
    missing = [name for name in target.packages() if name not in present]
    if answer.one("supervisor_version") and target.platform.supervisor_package in missing:
        missing.remove(target.platform.supervisor_package)  # there by other means, such as pip
    if not missing and not answer.one("masked"):
        host.noop(f"{', '.join(target.packages())} installed")
        return
    epel = "yes" if target.settings.epel else "no"
    # A new service does not run yet, as it is masked meanwhile; an updated one may have stopped.
    is_new = not answer.one("supervisor_version")
    keeps = ("libraries", "rpc") if is_new else ("libraries",)
    yield run("install_packages", target, keeps=keeps, epel=epel)
