"""Which parts a command asks for follows from the types of what it looks at."""

from __future__ import annotations

from tasks.checks import seen
from tasks.host import parts
from tests import hosts


def test_the_kinds_are_the_types_of_the_fields() -> None:
    assert set(seen.kinds(seen.SeenToReturn)) - set(seen.kinds(seen.Seen)) == {parts.Originals}


def test_each_part_is_asked_for_by_its_class() -> None:
    found = hosts.converged()
    by_kind = {type(part): part for part in found.values()}
    gathered = seen.gathered(seen.SeenForStatus, by_kind.__getitem__)
    assert gathered == hosts.seen(seen.SeenForStatus, found)
