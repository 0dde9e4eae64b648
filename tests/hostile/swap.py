"""The web user's program that puts links in the place of folders. Goes to the host as it is.

    swap.py storm TARGET FOLDER...        again and again, as often as MISP still works between
    swap.py on-open FILE TARGET FOLDER    whenever somebody has opened the file, for an instant
    swap.py when-new TARGET FOLDER        once: as soon as there is another folder than now

A folder's link goes to the folder of the same name below TARGET. Ends when it is killed; the
folders are in their places again then, or by `swap.py back TARGET FOLDER...`.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
EXCHANGE = 2
IN_OPEN = 0x20


def link_of(folder: str) -> str:
    return folder + ".link"


def exchange(folder: str) -> None:
    """The folder's link in its place and the folder in the link's, or the other way round."""
    LIBC.renameat2(-100, os.fsencode(folder), -100, os.fsencode(link_of(folder)), EXCHANGE)


def prepare(target: str, folders: Sequence[str]) -> None:
    for folder in folders:
        if not os.path.lexists(link_of(folder)):
            os.symlink(os.path.join(target, os.path.basename(folder)), link_of(folder))


def back(folders: Sequence[str]) -> None:
    for folder in folders:
        if os.path.islink(folder):
            exchange(folder)
        if os.path.islink(link_of(folder)):
            os.unlink(link_of(folder))


def storm(target: str, *folders: str) -> NoReturn:
    prepare(target, folders)
    while True:
        folder = random.choice(folders)
        exchange(folder)
        time.sleep(0.0003)
        if os.path.islink(folder):
            exchange(folder)
        prepare(target, [one for one in folders if os.path.isdir(one)])
        time.sleep(random.uniform(0.0005, 0.004))


def on_open(file: str, target: str, folder: str) -> NoReturn:
    prepare(target, [folder])
    watch = LIBC.inotify_init()
    while True:
        LIBC.inotify_add_watch(watch, os.fsencode(file), IN_OPEN)
        os.read(watch, 4096)
        exchange(folder)
        time.sleep(0.012)
        if os.path.islink(folder):
            exchange(folder)
        prepare(target, [folder])


def when_new(target: str, folder: str) -> None:
    link = os.path.join(target, os.path.basename(folder))
    held = os.open(folder, os.O_RDONLY)
    while os.path.lexists(folder) and os.fstat(held).st_nlink:
        pass
    while True:
        try:
            os.rename(folder, folder + ".taken")
        except OSError:
            continue
        os.symlink(link, folder)
        return


def main(what: str, *arguments: str) -> None:
    if what == "back":
        back(arguments[1:])
        return
    folders = arguments[2:] if what == "on-open" else arguments[1:]

    def end(*_: object) -> NoReturn:
        back(folders)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    programs: dict[str, Callable[..., None]] = {
        "storm": storm,
        "on-open": on_open,
        "when-new": when_new,
    }
    programs[what](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
