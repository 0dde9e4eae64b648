"""Whether what a host lacks can be had, and has room: what the trial of the sources has shown."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.host.parts import Sources


def check(found: Sources) -> Iterator[str]:
    """Return why the host is refused."""
    yield from found.problems
    for room in found.rooms:
        if 0 <= room.free_kb < room.needed_kb:
            yield (
                f"the file system of {room.place} has {room.free_kb // 1024} MiB free, but "
                f"{room.needed_kb // 1024} are needed for {room.purpose}: make room"
            )
        if 0 <= room.free_inodes < room.needed_inodes:
            yield (
                f"the file system of {room.place} has {room.free_inodes} inodes free, but "
                f"{room.needed_inodes} are needed for {room.purpose}: remove files there"
            )


def noted(found: Sources) -> Iterator[str]:
    """Return what nobody knows yet."""
    for reason in found.late:
        yield (
            f"nobody knows yet whether all that is missing can be fetched ({reason}): the run "
            "itself waits longer for it"
        )
