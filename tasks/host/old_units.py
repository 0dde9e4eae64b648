"""The units that start the old workers, and what starts these units.

A unit counts by what it runs: MISP's own command, a script that runs it (so a script of SysV's
init, too), or `systemctl start` of a unit that counts.
"""

import contextlib
import glob
import os
import re
import shlex
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from tasks.host import files, programs, systemd
from tasks.host.files import FileError
from tasks.host.parts import Launcher
from tasks.host.site import Site
from tasks.host.starting import CONTROL, How, Starting
from tasks.host.web_user import WebUser

# All folders that systemd reads units from (systemd.unit(5)); the generators' hold what was made
# of other files, where an edit or `disable` does not last.
_FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# systemd makes a unit of each script, and has `enable` and `disable` change its links in rc?.d.
_INIT_SCRIPTS = "/etc/init.d"
_OTHERS = ("/etc/rc.local", "/etc/rc.d/rc.local")  # launchers.py takes lines out of these
_EXEC_START = re.compile(r"^[ \t]*ExecStart[ \t]*=[ \t]*[-@:+!|]*(.*)", re.MULTILINE)
_FOLDER = re.compile(r"^[ \t]*WorkingDirectory[ \t]*=[ \t]*-?(.*)", re.MULTILINE)
_NAMED = re.compile(r"[A-Za-z_]\w*=")  # what follows a blank may be a value's second word
_ENVIRONMENT = re.compile(r"^[ \t]*Environment(File)?[ \t]*=[ \t]*(.+)", re.MULTILINE)
_CONTINUED = re.compile(r"\\\r?\n")
_TRIGGERED = re.compile(r"^[ \t]*(?:Unit|Service)[ \t]*=[ \t]*(\S+)", re.MULTILINE)


class OldUnit(NamedTuple):
    """A unit that starts old workers."""

    name: str
    via: str  # the script or unit by which it does, empty: it does itself
    unread: str  # why root does not read a file of it, empty: it does
    unfit: str  # why it is not known to be one, empty: it is
    variables: str = ""  # names of those that it sets, and files with more


def found(site: Site, user: Optional[WebUser] = None) -> List[OldUnit]:
    """The units that start this MISP's old workers, under whatever name.

    Args:
        user: who reads scripts that root does not; without, units that run such are left out.
    """
    texts = _texts()
    first = Starting(site.roots, user, but=_OTHERS)
    units = {one.name: one for one in _that_start(texts, first)}
    named = _named(site)
    names = [name for name, one in units.items() if not one.unfit] + named
    if names:
        again = Starting(site.roots, None, names, but=_OTHERS)
        for one in _that_start([one for one in texts if CONTROL.search(one.text)], again):
            units.setdefault(one.name, one)
    # The operator's word on a unit is enough.
    return sorted(
        one._replace(
            unfit="" if one.name in named else one.unfit, variables=_variables(one.name, texts)
        )
        for one in units.values()
    )


def _variables(unit: str, texts: List["_Text"]) -> str:
    """What a unit gives the old workers. A value may be a password, so names have to do."""
    names_: List[str] = []
    for one in texts:
        lines = _ENVIRONMENT.findall(_CONTINUED.sub(" ", one.text)) if one.unit == unit else ()
        for is_file, value in lines:
            with contextlib.suppress(ValueError):  # systemd takes no notice of such a line
                words = shlex.split(value)
                names_ += (
                    words
                    if is_file
                    else [word.partition("=")[0] for word in words if _NAMED.match(word)]
                )
    return ", ".join(dict.fromkeys(one.lstrip("-") for one in names_))


def names(site: Site, units: Optional[List[OldUnit]] = None) -> List[str]:
    """Names of the units to hold, stop and start: with the operator's own, and what starts these.

    Args:
        units: as `found` has them, where that is known.
    """
    units = found(site) if units is None else units
    every = _instances({one.name for one in units if not one.unfit} | set(_named(site)))
    return sorted(every | _triggers(every))


def unread(units: List[OldUnit]) -> List[Launcher]:
    """Those with a file that somebody else than root could exchange for any program of his."""
    return [Launcher(one.name, one.unread) for one in units if one.unread]


def unfit(units: List[OldUnit]) -> List[Launcher]:
    """Units known by a script alone that others could exchange: root does not take its word."""
    return [Launcher(one.name, one.unfit, one.via) for one in units if one.unfit]


def indirect(units: List[OldUnit]) -> Dict[str, str]:
    """Units that start old workers by a script or another unit, with its name.

    Without scripts of SysV's init, as each of them is a unit of its own.
    """
    found_ = [one for one in units if one.via and not one.unfit]
    return {one.name: one.via for one in found_ if os.path.dirname(one.via) != _INIT_SCRIPTS}


def variables(units: List[OldUnit]) -> Dict[str, str]:
    """Units that give the old workers an environment, with the names in it."""
    return {one.name: one.variables for one in units if one.variables and not one.unfit}


def _named(site: Site) -> List[str]:
    name = site.legacy_service
    if not name:
        return []
    return [name if name.endswith(".service") else name + ".service"]


class _Text(NamedTuple):
    unit: str
    text: str
    unread: str


def _texts() -> List[_Text]:
    """The text of each file of a service; of one that root does not read, what systemd has read."""
    folders = _folders()
    texts: List[_Text] = []
    unread_: Dict[str, str] = {}
    for folder in folders:
        for name, path, is_plain in _unit_files(folder, (".service",)):
            try:
                texts.append(_Text(name, _text(path, is_plain, folders), ""))
            except FileError as error:
                unread_[name] = str(error)
    for name, line in systemd.exec_start(sorted(unread_)).items():
        # Each as in "{ path=/bin/sh ; argv[]=/bin/sh -c x ; ignore_errors=no ; ..."
        commands = line.replace("argv[]=", " ").split("\n")
        texts += [_Text(name, "ExecStart=" + one, unread_[name]) for one in commands if one]
    native = {one.unit for one in texts}
    texts += [one for one in _init_scripts() if one.unit not in native]
    return texts


def _init_scripts() -> Iterator[_Text]:
    for path in sorted(glob.glob(_INIT_SCRIPTS + "/*")):
        name = os.path.basename(path)
        name = (name[:-3] if name.endswith(".sh") else name) + ".service"
        if systemd.is_name(name) and os.access(path, os.X_OK):
            yield _Text(name, "ExecStart=%s start" % path, "")


def _that_start(texts: List[_Text], starting: Starting) -> Iterator[OldUnit]:
    for one in texts:
        how = _how(one.text, starting)
        if how is None:
            continue
        if how.unfit and not how.via:
            continue  # a command of MISP's for which nothing says of which MISP it is
        yield OldUnit(one.unit, how.via, one.unread, how.unfit or how.doubt)


def _how(text: str, starting: Starting) -> Optional[How]:
    text = _CONTINUED.sub(" ", text)
    folder = (_FOLDER.findall(text) or [""])[-1].strip()
    hows = (starting.by(line, folder) for line in _EXEC_START.findall(text))
    return next(filter(None, hows), None)


def _folders() -> List[str]:
    return list(dict.fromkeys(os.path.realpath(folder) for folder in _FOLDERS))


def _unit_files(folder: str, suffixes: Tuple[str, ...]) -> Iterator[Tuple[str, str, bool]]:
    """A unit's name, a file of it, and whether that is a plain file in a folder of root's."""
    try:
        entries = list(os.scandir(folder))
        is_safe = _is_safe(folder + "/any")
    except OSError:
        return
    for entry in entries:
        name = entry.name[:-2] if entry.name.endswith(".d") else entry.name
        if not name.endswith(suffixes) or not systemd.is_name(name):
            continue
        if name == entry.name:
            yield name, entry.path, is_safe and not entry.is_symlink()
        else:
            for path in glob.glob(glob.escape(entry.path) + "/*.conf"):
                yield name, path, False


def _triggers(services: Set[str]) -> Set[str]:
    """Units that start one of these services: a timer starts a disabled one as well."""
    found: Set[str] = set()
    folders = _folders() if services else []
    for folder in folders:
        for name, path, is_plain in _unit_files(folder, (".timer", ".path", ".socket")):
            try:
                targets = _TRIGGERED.findall(_text(path, is_plain, folders))
            except FileError:
                targets = []
            if services.intersection(targets or [name.rpartition(".")[0] + ".service"]):
                found.add(name)
    return found


def _is_safe(path: str) -> bool:
    try:
        return bool(files.real_path(path))
    except FileError:
        return False


def _text(path: str, is_plain: bool, folders: List[str]) -> str:
    """A unit's file, empty for an alias of another unit."""
    real = path if is_plain else files.real_path(path)
    folder, name = os.path.split(real)
    is_alias = not is_plain and folder in folders and name != os.path.basename(path)
    if real == os.devnull or is_alias:
        return ""
    return (files.read(real) or b"").decode("utf-8", "replace")


def _instances(names: Set[str]) -> Set[str]:
    """With the instances of a template, which by itself never runs, in its place."""
    templates = {name for name in names if name.endswith("@.service")}
    found = names - templates
    for template in templates:
        pattern = template.replace("@.", "@*.")
        lines = programs.run(
            "systemctl", "list-units", "--all", "--plain", "--no-legend", "--", pattern
        ).lines
        found.update(line.split()[0] for line in lines if line.strip())
        links = glob.glob(
            "/etc/systemd/system/*.wants/" + glob.escape(template).replace("@.", "@*.")
        )
        found.update(os.path.basename(link) for link in links)
    return found
