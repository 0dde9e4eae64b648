"""The host's state before the first change, kept once for the way back.

In `STATE/originals`: `record`, one JSON file that is exchanged whole, and `saved/PATH`, copies.
Copies of what is the web user's are streams that a child with his identity wrote and will read
again; root only stores them. All of it is on disk before the change that it speaks of begins.
"""

import json
import os
import shutil
import stat
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from tasks.host import files, systemd
from tasks.host.errors import HostError
from tasks.host.parts import Originals, Unit
from tasks.host.site import Site

CHANGING = "changing"  # instead of a digest: a change of ours was begun and not noted as done
FOREIGN = "foreign"  # somebody else changed it as well, so it is not ours to put back


class Kept(NamedTuple):
    """What is known of one path: how it was, and how we left it."""

    existed: bool
    mode: int = 0
    uid: int = 0
    gid: int = 0
    digest: str = ""  # as it was
    ours: str = ""  # digest of what we left there, CHANGING, or FOREIGN; empty: not ours


class RecordError(HostError):
    """The record cannot be read or written."""


def folder(site: Site) -> str:
    """Where the record is."""
    return site.state_dir + "/originals"


def saved(site: Site, path: str) -> str:
    """Where the copy of a path is."""
    return folder(site) + "/saved" + path


def is_begun(site: Site) -> bool:
    """Whether there is a record."""
    return files.read(folder(site) + "/record", 1 << 24) is not None


def is_kept(site: Site, path: str) -> bool:
    """Whether the path's state before the migration is known."""
    return path in _load(site)["files"]


def kept(site: Site, path: str) -> Optional[Kept]:
    """What is known of a path; `None`: nothing."""
    found = _load(site)["files"].get(path)
    return Kept(**found) if found else None


def begin(site: Site) -> None:
    """Have a record, with what nobody can tell later: whether MISP was on the new backend."""
    files.make_folder(site.state_dir)
    if not os.path.isdir(folder(site)):
        files.make_folder(folder(site))
    if not is_begun(site):
        _store(
            site, {"was_on": site.is_on, "files": {}, "units": {}, "launchers": [], "selinux": None}
        )


def keep(site: Site, path: str) -> None:
    """Keep one of root's files, or that it is absent; only the first call keeps anything."""
    begin(site)
    real = files.real_path(path)
    data = files.read(real)
    if is_kept(site, path):
        return
    if data is None:
        _note(site, path, Kept(False))
        return
    status = os.lstat(real)
    copy = saved(site, path)
    _make_folders(os.path.dirname(copy))
    files.write(copy, data)
    mode = stat.S_IMODE(status.st_mode)
    _note(site, path, Kept(True, mode, status.st_uid, status.st_gid, files.digest(copy)))


def keep_stream(
    site: Site, path: str, status: Any, digest: str, write: Callable[[str], None]
) -> None:
    """Keep what is the web user's: `write` has a child write it to the path that it is given.

    Args:
        status: of the path, as `(mode, uid, gid)`; `None`: it was absent.
    """
    begin(site)
    if is_kept(site, path):
        return
    copy = saved(site, path)
    if status is not None:
        _make_folders(os.path.dirname(copy))
        files.remove(copy)
        write(copy)
    mode, uid, gid = status or (0, 0, 0)
    _note(site, path, Kept(status is not None, mode, uid, gid, digest))


def _make_folders(path: str) -> None:
    if not os.path.isdir(path):
        _make_folders(os.path.dirname(path))
        files.make_folder(path)


def restore(site: Site, path: str) -> None:
    """Put one of root's files back as it was, or remove it if it was absent."""
    known = kept(site, path)
    if known is None:
        return
    if not known.existed:
        files.remove(files.real_path(path))
        return
    data = files.read(saved(site, path))
    if data is None:
        raise RecordError(
            "%s cannot be put back: its copy is missing from %s" % (path, folder(site))
        )
    files.write(path, data, known.mode, known.uid, known.gid)


def note_change(site: Site, path: str, digest: str) -> None:
    """Before a change of a file that others change too: it is ours only while all changes are."""
    known = kept(site, path)
    if known is None:
        raise RecordError("%s is about to change and was not kept" % path)
    # Or as it was before the migration, as after a way back that was cut off.
    is_ours = known.digest == digest or known.ours in (CHANGING, digest or CHANGING)
    _note(site, path, known._replace(ours=CHANGING if is_ours else FOREIGN))


def note_left(site: Site, path: str, digest: str) -> None:
    """After a change: what we leave behind."""
    known = kept(site, path)
    if known is not None and known.ours == CHANGING:
        _note(site, path, known._replace(ours=digest))


def note_own(site: Site, path: str, ours: str = CHANGING) -> None:
    """Of a file that nobody else has a part in: it is being changed, or how it was left."""
    known = kept(site, path)
    if known is not None:
        _note(site, path, known._replace(ours=ours))


def is_as_we_left_it(site: Site, path: str, digest: str) -> bool:
    """Whether nobody else changed it since. A change of ours that was cut off counts."""
    known = kept(site, path)
    return known is not None and known.ours in (CHANGING, digest) and bool(known.ours)


def is_as_it_was(site: Site, path: str, digest: str) -> bool:
    """Whether the path is as it was before the migration; an empty digest: it is absent."""
    known = kept(site, path)
    return known is not None and known.digest == digest


def set_apart(site: Site, paths: List[str]) -> str:
    """Take copies out of the record that are not to be put back, and say where they are now."""
    folder_apart = site.state_dir + ".kept"
    files.make_folder(folder_apart)
    for path in paths:
        copy = saved(site, path)
        if os.path.exists(copy):
            target = folder_apart + "/" + path.strip("/").replace("/", "-")
            os.replace(copy, target + (".tar" if "Vendor" in path or "composer" in path else ""))
    return folder_apart


def keep_units(site: Site, names: List[str]) -> None:
    """Keep whether these units run and whether they start at boot."""
    begin(site)
    record = _load(site)
    new = [name for name in names if name not in record["units"]]
    for unit in systemd.show(new) if new else []:
        record["units"][unit.name] = {"active": unit.active, "enabled": unit.enabled}
    if new:
        _store(site, record)


def units(site: Site) -> List[Unit]:
    """The units as they were."""
    found = _load(site)["units"]
    return [
        Unit(name, one["active"], one["enabled"], 0, True) for name, one in sorted(found.items())
    ]


def launchers(site: Site) -> List[str]:
    """Files that launchers were taken out of, and what else `retire` notes of the old workers."""
    return list(_load(site)["launchers"])


def add_launcher(site: Site, text: str) -> None:
    """Note a launcher before it is taken out of use."""
    begin(site)
    record = _load(site)
    if text not in record["launchers"]:
        record["launchers"].append(text)
        _store(site, record)


def selinux(site: Site) -> Optional[Dict[str, Any]]:
    """SELinux's state before, as the step noted it."""
    found = _load(site)["selinux"]
    return dict(found) if found else None


def note_selinux(site: Site, state: Dict[str, Any]) -> None:
    """Note SELinux's state, the first time only."""
    begin(site)
    record = _load(site)
    if not record["selinux"]:
        _store(site, dict(record, selinux=state))


def look(site: Site, are_launchers_out: bool, unserved: List[str]) -> Originals:
    """The record as a part of a look.

    Args:
        unserved: queues that had an old worker, and have none.
    """
    if not is_begun(site):
        return Originals(False, False, "", [], [], [], False, False, [])
    record = _load(site)
    before = units(site)
    now = {
        unit.name: unit for unit in (systemd.show([unit.name for unit in before]) if before else [])
    }
    others = [unit for unit in before if unit.name != site.unit]
    daemon = [unit.active for unit in before if unit.name == site.unit]
    return Originals(
        True,
        bool(record["was_on"]),
        daemon[0] if daemon else "",
        others,
        [now[unit.name] for unit in others if unit.name in now],
        launchers(site),
        are_launchers_out,
        is_kept(site, site.rpc_file),
        unserved,
    )


def forget(site: Site) -> None:
    """Make the host as if nothing had been done; first the name, so that it is all or nothing."""
    gone = site.state_dir + ".gone"
    os.sync()  # what was put back, before its copies go
    shutil.rmtree(gone, ignore_errors=True)
    if os.path.isdir(site.state_dir):
        os.rename(site.state_dir, gone)
        files.sync_folder(os.path.dirname(gone))
    shutil.rmtree(gone, ignore_errors=True)


def _note(site: Site, path: str, known: Kept) -> None:
    record = _load(site)
    record["files"][path] = dict(known._asdict())
    _store(site, record)


def _load(site: Site) -> Dict[str, Any]:
    data = files.read(folder(site) + "/record", 1 << 24)
    if data is None:
        return {"was_on": False, "files": {}, "units": {}, "launchers": [], "selinux": None}
    try:
        record = json.loads(data.decode())
        if set(record) == {"was_on", "files", "units", "launchers", "selinux"}:
            return dict(record)
    except (ValueError, TypeError):
        pass
    raise RecordError(
        "the record of this host's old state cannot be read: %s/record" % folder(site)
    )


def _store(site: Site, record: Dict[str, Any]) -> None:
    files.write(
        folder(site) + "/record", (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
    )
