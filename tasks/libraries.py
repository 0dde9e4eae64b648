"""Step 3: the PHP libraries that MISP speaks to supervisord with."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from tasks import facts, parse
from tasks.commands import run
from tasks.target import Target


@operation()
def present(target: Target) -> Generator[PyinfraCommand, None, None]:
    """Have the guide's five packages in app/Vendor, by Composer as the web user.

    They are looked for by loading their classes: composer.json names them on MISP 2.5 whether they
    are installed or not, and MISP's own update resets it.
    """
    if parse.has_libraries(facts.ask(target, "libraries")):
        host.noop("the PHP libraries load")
        return
    yield run("require_libraries", target, keeps=("rpc",))
