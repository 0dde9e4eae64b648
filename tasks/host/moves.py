"""Jobs on their way between the backends: queue logic joined to this host's MISP and its files."""

import json
import os
import time
from typing import Any, List, Tuple

from tasks.host import conversion, files, gate, old_backend, old_workers, tree, way_back
from tasks.host.errors import HostError, WebUserError
from tasks.host.jobs import Rename
from tasks.host.misp import Misp
from tasks.host.queues import Backend, OldBackend
from tasks.host.replies import PAGE
from tasks.host.site import LEAVE, Desired, Site
from tasks.host.waiting import Clock

LEFT = "not converted: "  # how a line about a record begins that stays where it is


class MoveError(HostError):
    """Jobs could not be moved; none is lost, and the next run goes on."""


def host_name() -> str:
    """As php_uname("n") says it: part of an old worker's name in Redis."""
    return os.uname().nodename


def old_state(one: Misp, pids: List[int]) -> OldBackend:
    """What the old backend has; an error is part of the answer."""
    try:
        old = one.old()
        if old is None:
            return OldBackend({}, {}, is_installed=False)
        left = one.site.scheduled_tasks == LEAVE
        now = int(time.time())
        return old_backend.look(old, pids, host_name(), now, with_scheduled=left)
    except HostError as error:
        return OldBackend({}, {}, error=str(error))


def convert(site: Site, desired: Desired) -> List[str]:
    """Make jobs of the new backend of what waits on the old one."""
    with Misp(site, desired) as one:
        return convert_jobs(one)


def finish_conversion(site: Site, desired: Desired) -> List[str]:
    """Finish a conversion that was cut off."""
    with Misp(site, desired) as one:
        return convert_jobs(one, only_held=True)


def convert_jobs(one: Misp, only_held: bool = False) -> List[str]:
    """As `convert`, or as `finish_conversion`."""
    old, new = _both(one)
    lists = {} if only_held else conversion.lists_of_old_jobs(old)
    if not only_held:
        _keep_copy(one.site, old, lists)
    messages: List[str] = []
    postpones = one.site.scheduled_tasks != LEAVE
    rename = _rename(one, messages)
    done = conversion.convert(old, new, lists, rename, Clock(), postpones=postpones)
    converted = "%d job(s) of the old backend became jobs of the new one" % done.moved
    return [converted, *(LEFT + line for line in done.left), *messages]


def _keep_copy(site: Site, old: Backend, lists: conversion.Lists) -> None:
    """It stays on the host: nobody else has these jobs once they move."""
    now = time.gmtime()
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", now)
    copy = {"taken": taken, "namespace": old.prefix.rstrip(":"), "lists": lists}
    files.make_folder(site.state_dir)
    name = time.strftime("/old-jobs-%Y-%m-%dT%H%M%SZ.json", now)
    files.write(site.state_dir + name, json.dumps(copy, indent=1).encode())


def move_back(one: Misp) -> List[str]:
    """Move what waits on the new backend to the old one's lists."""
    old, new = _both(one)
    messages: List[str] = []
    done = way_back.move_back(old, new, _store(one), _rename(one, messages), Clock())
    moved = ["%d job(s) of the new backend moved to the old one" % done.moved] if done.moved else []
    return [*moved, *done.left, *messages]


def settle(one: Misp) -> None:
    """End a move back that was cut off, before new workers start."""
    old = one.old()
    if old is not None:
        way_back.settle(old, one.new(), _discard(one), _rename(one, []), Clock())


def forget_old_workers(site: Site, desired: Desired) -> List[str]:
    """Remove what dead old workers of this host left in Redis."""
    with Misp(site, desired) as one:
        return forget_dead(one)


def forget_dead(one: Misp) -> List[str]:
    """As `forget_old_workers`."""
    old = one.old()
    if old is not None:
        pids = [process.pid for process in old_workers.processes(one.site, one.user)]
        old_backend.forget_dead_workers(old, pids, host_name())
    return []


def _both(one: Misp) -> Tuple[Backend, Backend]:
    old = one.old()
    if old is None:
        raise MoveError("there is no CakeResque in this MISP, so nothing says where its jobs are")
    return old, one.new()


def _rename(one: Misp, messages: List[str]) -> Rename:
    def rename(pairs: List[Tuple[str, str]]) -> None:
        for start in range(0, len(pairs), PAGE):  # process_id has no index
            problem = one.bridge.rename(dict(pairs[start : start + PAGE]))
            if problem and not messages:
                messages.append(
                    "MISP's page of jobs will not know the state of moved jobs, as its database "
                    "cannot be used: " + problem
                )

    return rename


def _discard(one: Misp) -> way_back.Discard:
    """Removes what `_store` stored, for a job that does not move after all."""

    def discard(name: str) -> None:
        gate.ask(one.user, tree.remove, [_ingest(one) + "/" + name])

    return discard


def _ingest(one: Misp) -> str:
    return one.site.app + "/tmp/cache/ingest"  # where MISP's writeToTempFile puts such files


def _store(one: Misp) -> way_back.Store:
    folder = _ingest(one)

    def store(name: str, data: bytes) -> str:
        path: Any = gate.feed_bytes(one.user, tree.store, data, folder, name)
        if path != folder + "/" + name:
            raise WebUserError("the input of a job could not be stored in %s" % folder)
        return str(path)

    return store
