"""The automatic return of a host whose new workers are not proven."""

from __future__ import annotations

from tasks.host import rollback
from tasks.remote import Call, call
from tasks.target import Target

RETURNED = rollback.RETURNED


def automatic(target: Target) -> Call[list[str]]:
    """The call that brings the host back to its old workers, if these still live."""
    return call(rollback.automatic, site=target.site(), desired=target.desired())
