"""systemd: what it says of units, and the changes that the migration makes to them.

A unit is always named in full, as in "misp-workers.service".
"""

import contextlib
import os
import re
from typing import Dict, List, NamedTuple, Tuple

from tasks.host import files, programs
from tasks.host.errors import HostError
from tasks.host.parts import Unit
from tasks.host.programs import Finished

OWN = "/etc/systemd/system"
RUN = "/run/systemd/system"
TRANSIENT = "transient"  # the state of a unit that systemd-run made: no file can bring it back
# `systemctl disable` does nothing for these, or fails.
_NEVER_ENABLED = ("static", "masked", "masked-runtime", "disabled", "indirect", TRANSIENT, "")
_PROPERTIES = ("ActiveState", "MainPID")
_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+\.[a-z]+\Z")
_SECONDS = 300.0  # a unit may take 90 s to start or to stop by default, and a forking one does
_HOLD = b"[Service]\nRestart=no\nExecStop=\nKillMode=process\nSendSIGKILL=no\n"


class Service(NamedTuple):
    """How a service is started, and whether it runs."""

    name: str
    is_active: bool
    main_pid: int
    words: List[str]  # of its ExecStart, as systemd has read it; nothing is expanded
    is_lasting: bool  # it has a file, so that it is there after a boot


class UnitError(HostError):
    """systemd could not do what it was told."""


def show(names: List[str]) -> List[Unit]:
    """These units as systemd has them, in this order, whether they exist or not."""
    blocks = _shown(names, _PROPERTIES)
    enabled = _enabled([name for name, block in zip(names, blocks) if _is_there(block)])
    return [
        Unit(
            name,
            block.get("ActiveState", ""),
            enabled.get(name, ""),
            int(block.get("MainPID") or 0),
            _is_there(block),
            os.path.exists(_drop_in(name)),
        )
        for name, block in zip(names, blocks)
    ]


def main_pid(name: str) -> int:
    """The PID of a service's main process, 0 while the service is not active."""
    block = _shown([name], _PROPERTIES)[0]
    return int(block.get("MainPID") or 0) if block.get("ActiveState") == "active" else 0


def services(names: List[str]) -> List[Service]:
    """These services in this order, whether they exist or not."""
    blocks = _shown(names, (*_PROPERTIES, "ExecStart", "Transient"))
    return [
        Service(
            name,
            block.get("ActiveState") == "active",
            int(block.get("MainPID") or 0),
            _words(block.get("ExecStart", "")),
            _is_there(block) and block.get("Transient") != "yes",
        )
        for name, block in zip(names, blocks)
    ]


def _words(exec_start: str) -> List[str]:
    found = re.search(r" argv\[\]=(.*?) ;", exec_start)
    return found.group(1).split() if found else []


def exec_start(names: List[str]) -> Dict[str, str]:
    """What these units run as systemd has read it, for files that root does not read itself."""
    blocks = _shown(names, ("ExecStart",))
    return {name: block.get("ExecStart", "") for name, block in zip(names, blocks)}


def _is_there(block: Dict[str, str]) -> bool:
    return block.get("LoadState", "not-found") != "not-found"


def _shown(names: List[str], properties: Tuple[str, ...]) -> List[Dict[str, str]]:
    """A block for each unit, empty where systemd does not answer, as in a plain container."""
    if not names or not programs.find("systemctl"):
        return [{} for _ in names]
    for name in names:
        if not is_name(name):
            raise UnitError("%r is no name of a unit" % name)
    words = [word for one in properties for word in ("-p", one)]
    # LoadState keeps a block from being empty; MainPID, say, is missing for a timer.
    text = programs.run("systemctl", "show", "-p", "LoadState", *words, "--", *names).text
    blocks = [_block(one) for one in re.split(r"\n{2,}", text.strip("\n")) if one]
    if len(blocks) == len(names):
        return blocks
    # It ends at a unit that it cannot make sense of.
    return [{}] if len(names) == 1 else [_shown([name], properties)[0] for name in names]


def _block(text: str) -> Dict[str, str]:
    """Properties; one that is there several times, as ExecStart, has several lines."""
    found: Dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key] = found[key] + "\n" + value if key in found else value
    return found


def _enabled(names: List[str]) -> Dict[str, str]:
    # From the files, since systemd's own idea (UnitFileState) is as old as its last reload.
    if not names:
        return {}
    lines = programs.run("systemctl", "is-enabled", "--", *names).lines
    if len(lines) == len(names):
        return dict(zip(names, lines))
    if len(names) == 1:
        return {}
    # It ends at a unit whose file is gone, and does not say which one that is.
    found: Dict[str, str] = {}
    for name in names:
        found.update(_enabled([name]))
    return found


def is_name(name: str) -> bool:
    """Whether systemd takes this for a unit's full name."""
    return bool(_NAME.match(name))


def is_active(name: str) -> bool:
    """Whether the unit runs."""
    return show([name])[0].active == "active"


def start(name: str) -> None:
    """Start a unit, and wait until it has started."""
    _change("start", name, timeout=_SECONDS)


def stop(name: str) -> None:
    """Stop a unit, and wait until it has stopped."""
    _change("stop", name, timeout=_SECONDS)


def restart(name: str) -> None:
    """Stop the unit if it runs, and start it; one that remains after exit runs its program anew."""
    _change("restart", name, timeout=_SECONDS)


def enable(*words: str) -> None:
    """Have a unit start at boot; `--runtime` before its name: until the next boot only."""
    _change("enable", *words)


def link(path: str) -> None:
    """Have a unit whose file is in none of systemd's folders."""
    _change("link", path)


def linked_file(name: str) -> str:
    """The file elsewhere that `systemctl link` has made this unit; empty: it is no such unit."""
    path = "%s/%s" % (OWN, name)
    target = os.path.realpath(path)
    if not os.path.islink(path) or os.path.basename(target) != name:
        return ""  # a file of its own, or an alias, or masked
    return target


def disable(unit: Unit) -> None:
    """Have a unit not start at boot. systemd is not told to read its files again."""
    if unit.enabled not in _NEVER_ENABLED and not unit.enabled.startswith("not-found"):
        _change("disable", "--no-reload", unit.name)


def mask(name: str) -> None:
    """Keep a unit from being started by anybody until `unmask` or the next boot."""
    _change("mask", "--runtime", "--no-reload", name)


def unmask(name: str) -> None:
    """Undo `mask`."""
    _change("unmask", "--runtime", name)


def is_masked(name: str) -> bool:
    """Whether `mask` is in force."""
    return os.path.islink(RUN + "/" + name)


def reset_failed(name: str) -> None:
    """Have the unit not count as failed; it may be gone."""
    _systemctl("reset-failed", name)


def reload_daemon() -> None:
    """Have systemd read its files again."""
    done = _systemctl("daemon-reload")
    if done.status != 0:
        raise UnitError("systemd could not read its units again: %s" % done.complaint)


def run_once(name: str, user: str, words: List[str], description: str) -> None:
    """Have systemd run a program that leaves daemons behind, as a unit that has no file.

    `systemctl stop` ends that unit and leaves the daemons alone.
    """
    stop_if_there(name)
    properties = ("KillMode=process", "SendSIGKILL=no", "TimeoutStartSec=%d" % _SECONDS)
    done = programs.run(
        "systemd-run",
        "--unit=" + name,
        "--description=" + description,
        "--uid=" + user,
        "--service-type=oneshot",
        "--remain-after-exit",
        "--collect",
        *["--property=" + one for one in properties],
        "--",
        *words,
        timeout=_SECONDS + 10,
    )
    if done.status != 0:
        raise UnitError(
            "%s could not be run as %s: %s. See journalctl -u %s"
            % (words[-1], user, done.complaint, name)
        )


def stop_if_there(name: str) -> None:
    """End a unit of `run_once`, which makes it vanish."""
    if show([name])[0].is_there:
        stop(name)
        reset_failed(name)


def hold_unit(name: str) -> None:
    """Take a unit's reflexes away until `let_unit_go` or a reboot; takes effect with a reload.

    It is not started again when its processes end, and stopping it kills none.
    """
    files.make_folder(os.path.dirname(_drop_in(name)), 0o755)
    files.write(_drop_in(name), _HOLD, 0o644)


def let_unit_go(name: str) -> None:
    """Undo `hold_unit`; takes effect with a reload."""
    files.remove(_drop_in(name))
    with contextlib.suppress(OSError):  # never held, or somebody else's drop-ins are there
        os.rmdir(os.path.dirname(_drop_in(name)))


def _drop_in(name: str) -> str:
    return "%s/%s.d/50-misp-workers.conf" % (RUN, name)


def _change(verb: str, *words: str, timeout: float = 60.0) -> None:
    name = words[-1]
    done = _systemctl(verb, *words, timeout=timeout)
    if done.status != 0:
        raise UnitError(
            "systemctl %s %s failed: %s. See journalctl -u %s, then run again"
            % (verb, name, done.complaint, name)
        )


def _systemctl(verb: str, *words: str, timeout: float = 60.0) -> Finished:
    return programs.run("systemctl", verb, *words, timeout=timeout)
