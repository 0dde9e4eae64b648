"""Jobs on their way between the backends: queue logic joined to this host's MISP and its files."""

import json
import os
import time
from typing import Any, Callable, List, Tuple

from tasks.host import conversion, files, gate, old_backend, old_workers, tree, way_back
from tasks.host.done import Done
from tasks.host.errors import HostError, RefusedError, WebUserError
from tasks.host.jobs import Rename
from tasks.host.misp import Misp
from tasks.host.new_backend import Client
from tasks.host.places import Place
from tasks.host.processes import tcp_rows
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
    """What the old backend has, or has left behind; an error is part of the answer."""
    is_installed, at = True, ""
    try:
        place = one.old_place()
        is_installed = place is not None
        place = place or one.left_place()
        at = repr(place)
        old, has_others = one.at(place), _others_of(place)
        left = one.site.scheduled_tasks == LEAVE or not is_installed
        found = old_backend.look(
            old, pids, host_name(), int(time.time()), has_others, with_scheduled=left
        )
    except HostError as error:
        return OldBackend({}, {}, error=str(error), is_installed=is_installed, at=at)
    found = found._replace(is_installed=is_installed, at=at)
    return found if is_installed else old_backend.left_behind(found)


def _others_of(place: Place) -> Callable[[List[Client]], bool]:
    """Tells whether clients of the old backend's database may be another host's.

    One is this host's where Redis sees it at a port that a connection to Redis has here. Where
    something between the two changes ports, all of them count as another host's.
    """

    def has_others(clients: List[Client]) -> bool:
        # Now, or this question's own connection would not be among them.
        ports = {row.port for row in tcp_rows() if row.peer_port == place.port}
        if place.is_local:
            ports.add(0)  # through a socket file
        return any(one.database == place.database and one.port not in ports for one in clients)

    return has_others


def convert(site: Site, desired: Desired) -> Done:
    """Make jobs of the new backend of what waits on the old one.

    Raises:
        RefusedError: MISP does not use the new backend; no job moved.
        HostError: the text says what stays.
    """
    with Misp(site, desired) as one:
        _refuse_unused(one)
        return convert_jobs(one)


def finish_conversion(site: Site, desired: Desired) -> Done:
    """Finish a conversion that was cut off."""
    with Misp(site, desired) as one:
        _refuse_unused(one)
        return convert_jobs(one, only_held=True)


def _refuse_unused(one: Misp) -> None:
    """A run that waited for long may come after another one, which took the host back."""
    if not one.stored().is_on:
        raise RefusedError(
            "MISP does not use the new backend any more, so its jobs stay on the old one. See how "
            "the host is now (its status), then run again"
        )


def convert_jobs(one: Misp, only_held: bool = False) -> Done:
    """As `convert`, or as `finish_conversion`."""
    old, new = one.old() or one.at(one.left_place()), one.new()
    lists = {} if only_held else _lists(one, old)
    if not only_held:
        _keep_copy(one.site, old, lists)
    messages: List[str] = []
    # A hand-over comes only where CakeResque is.
    postpones = one.site.scheduled_tasks != LEAVE and one.old_place() is not None
    rename = _rename(one, messages)
    done = conversion.convert(old, new, lists, rename, Clock(), postpones=postpones)
    converted = "%d job(s) of the old backend became jobs of the new one" % done.moved
    left = [LEFT + line for line in done.left]
    return Done([converted, *left, *messages], converted=done.moved)


def _lists(one: Misp, old: Backend) -> conversion.Lists:
    """The jobs to convert. Without CakeResque other hosts may have theirs in the same Redis."""
    lists = conversion.lists_of_old_jobs(old)
    if one.old_place() is not None:
        return lists
    state = old_state(one, [])
    if state.error:
        raise MoveError("%s cannot be asked: %s" % (state.at, state.error))
    names = {"queue:" + queue for queue, count in state.waiting.items() if count}
    return {
        name: jobs
        for name, jobs in lists.items()
        if name in names or (old_backend.delayed_until(name) and state.delayed)
    }


def _keep_copy(site: Site, old: Backend, lists: conversion.Lists) -> None:
    """It stays on the host: nobody else has these jobs once they move."""
    now = time.gmtime()
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", now)
    copy = {"taken": taken, "namespace": old.prefix.rstrip(":"), "lists": lists}
    files.make_folder(site.state_dir)
    name = time.strftime("/old-jobs-%Y-%m-%dT%H%M%SZ.json", now)
    files.write(site.state_dir + name, json.dumps(copy, indent=1).encode())


def move_back(one: Misp) -> Done:
    """Move what waits on the new backend to the old one's lists."""
    old, new = one.old(), one.new()
    if old is None:
        raise MoveError("there is no CakeResque in this MISP, so nobody would do jobs there")
    messages: List[str] = []
    done = way_back.move_back(old, new, _store(one), _rename(one, messages), Clock())
    moved = ["%d job(s) of the new backend moved to the old one" % done.moved] if done.moved else []
    return Done([*moved, *done.left, *messages], moved=done.moved)


def settle(one: Misp) -> None:
    """End a move back that was cut off, before new workers start."""
    old = one.old() or one.at(one.left_place())
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
