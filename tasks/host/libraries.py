"""The PHP libraries that MISP speaks to supervisord with, brought by Composer as the web user.

Composer may fail after it has rewritten composer.json and half of Vendor (observed), so a child
with the web user's identity copies all three into a stream that root stores, and another one puts
them back: then, or in the next run if this one is cut off.
"""

import contextlib
import itertools
import json
import os
import re
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from tasks.host import (
    bridge,
    composer_files,
    files,
    gate,
    library_versions,
    originals,
    proxy,
    tree,
)
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.parts import Libraries
from tasks.host.programs import Finished, LateError
from tasks.host.remedies import MOST_OF_A_NAME, quoted
from tasks.host.site import Desired, Site

LIBRARIES = (
    "supervisorphp/supervisor:^4.0",  # 5.1 dropped constants that MISP uses (MISP #10006)
    "guzzlehttp/guzzle",
    "php-http/message",
    "php-http/message-factory",  # no longer a dependency of php-http/message (MISP #9232)
    "lstrojny/fxmlrpc",
)
PACKAGES = [name.partition(":")[0] for name in LIBRARIES]
NAMES = tree.COMPOSERS
COMPOSER_SECONDS = 900.0
_TRIAL_SECONDS = 60.0
# An error's sentence, which the command's synopsis follows, or the solver's.
_CAUSE = re.compile(r"(?:In \S+ line \d+:|Problem 1)\s+(.+?)\n\s*\n", re.DOTALL)
_BRINGS = ("Installing", "Upgrading", "Downgrading", "Updating")
_MOST = 500  # packages
_LONGEST = 300  # characters of a line; Composer's are shorter, and the output is the web user's


class LibrariesError(HostError):
    """The libraries could not be brought; app/Vendor is as it was."""


def look(one: Misp) -> Libraries:
    """The classes as a part of a look; to be asked last, as a fatal error in one ends PHP."""
    try:
        missing = one.bridge.classes()
    except HostError:
        return unknown(one.site)
    versions = library_versions.look(one, PACKAGES)
    return Libraries(missing, True, os.path.exists(_mark(one.site)), versions)


def unknown(site: Site) -> Libraries:
    """The part where MISP's PHP cannot be asked."""
    return Libraries(list(bridge.CLASSES), False, os.path.exists(_mark(site)), {})


def require(site: Site, desired: Desired, composer: List[str], http_proxy: str = "") -> List[str]:
    """Have the libraries load.

    Args:
        composer: how Composer is called, in app/.
        http_proxy: URL of the proxy, with its password; empty: as Composer is configured.
    """
    tree.prepare()
    with Misp(site, desired) as one:
        put_back(one)
        _save(one)
        _remove_old(one)
        complaint = _run(one, composer, http_proxy)
        if complaint:
            _give_up(one, "Composer failed: %s" % complaint, _remedy(site, http_proxy))
        try:
            missing = ", ".join(one.bridge.classes())
        except HostError as error:  # a fatal error in a class file ends PHP
            missing = "%s (%s)" % (", ".join(bridge.CLASSES), error)
        if missing:
            _give_up(
                one,
                "Composer ended well, but these classes do not load: %s" % missing,
            )
        _note_left(one)
        os.sync()  # before the copy goes that could replace it
        _drop_copy(site)
    return []


def resolved(
    site: Site, desired: Desired, composer: List[str], http_proxy: str = ""
) -> Dict[str, str]:
    """What `require` would bring, by a dry run of Composer's. Name to version, as Composer says it.

    Composer works on copies of composer.json and composer.lock, and only reads its cache: its own
    `--dry-run` writes all three again where it fails.

    Raises:
        LibrariesError: with Composer's reason and the remedy.
        LateError: it takes longer than preflight waits.
    """
    tree.prepare()
    with Misp(site, desired) as one:
        try:
            done = _dry_run(one, composer, http_proxy)
        except LateError:
            raise
        except HostError as error:
            raise LibrariesError("Composer cannot be tried in %s: %s" % (site.app, error)) from None
    if done.status != 0:
        raise LibrariesError(
            "Composer cannot resolve the PHP libraries: %s. %s"
            % (_cause(done), _remedy(site, http_proxy))
        )
    said = (done.out + done.err).decode("utf-8", "replace")
    return dict(itertools.islice(_brought(said), _MOST))


def _brought(said: str) -> Iterator[Tuple[str, str]]:
    """The packages and versions in lines like `  - Upgrading NAME (OLD => NEW)`."""
    for line in said.split("\n"):
        start, _, versions = line.partition(" (")
        words = start.split(" ")
        if len(line) > _LONGEST or len(words) != 5 or words[:3] != ["", "", "-"]:
            continue
        if words[3] in _BRINGS and versions.endswith(")"):
            version = versions[:-1].rpartition(" => ")[2]
            yield quoted(words[4], MOST_OF_A_NAME), quoted(version, MOST_OF_A_NAME)


def _dry_run(one: Misp, composer: List[str], http_proxy: str) -> Finished:
    folder = str(gate.ask(one.user, composer_files.copy, one.site.app))
    apart = {
        "COMPOSER": folder + "/composer.json",
        "COMPOSER_CACHE_READ_ONLY": "1",
        "COMPOSER_HTACCESS_PROTECT": "0",  # nothing into its home
    }
    try:
        return _composer(one, composer, http_proxy, _TRIAL_SECONDS, ["--dry-run"], apart)
    finally:
        with contextlib.suppress(HostError):
            gate.ask(one.user, tree.remove, [folder])


def _run(one: Misp, composer: List[str], http_proxy: str) -> str:
    """Run Composer. Returns why it failed, if it did."""
    try:
        done = _composer(one, composer, http_proxy, COMPOSER_SECONDS)
    except HostError as error:
        return str(error)
    return "" if done.status == 0 else _cause(done)


def _composer(
    one: Misp,
    composer: List[str],
    http_proxy: str,
    seconds: float,
    options: Sequence[str] = (),
    more: Optional[Dict[str, str]] = None,
) -> Finished:
    """Run Composer, the only child that is told the proxy."""
    words = [*composer, "require", "--with-all-dependencies", "--update-no-dev"]
    words += ["--no-interaction", "--prefer-dist", "--no-progress", *options, *LIBRARIES]
    environment = dict(proxy.environment(http_proxy), COMPOSER_NO_INTERACTION="1", **(more or {}))
    environment["COLUMNS"] = "1000"  # else it cuts a long sentence amid a word
    done = gate.run(one.user, words, one.site.app, timeout=seconds, environment=environment)
    return proxy.hide(done, http_proxy)


def _cause(done: Finished) -> str:
    """Why Composer failed, in its own words; without the synopsis that it prints then."""
    said = done.err + b"\n" + done.out + b"\n\n"
    found = _CAUSE.search(said.decode("utf-8", "replace"))
    cause = quoted(" ".join(found.group(1).split())) if found else done.complaint
    return cause or "it ended with status %d" % done.status


def _remedy(site: Site, http_proxy: str) -> str:
    return (
        "If this host has no way to Packagist, let Composer use a mirror or bring the packages "
        "into %s/Vendor, then run again. %s" % (site.app, proxy.advice(http_proxy))
    )


def _remove_old(one: Misp) -> None:
    """Composer believes its own list of what is installed, but for packages that are gone."""
    vendor = one.site.app + "/Vendor/"
    gone = [vendor + name for name in PACKAGES]
    try:
        gate.ask(one.user, tree.remove, gone)
    except HostError as error:
        _give_up(
            one,
            "%s cannot remove one of %s (%s)" % (one.user.name, ", ".join(gone), error),
            "Give them to that user, then run again",
        )


def _give_up(one: Misp, reason: str, remedy: str = "") -> None:
    before = _contents(one.site)
    put_back(one)
    differing = [
        name for name in NAMES if one.status_of(one.site.app + "/" + name)[1] != before.get(name)
    ]
    _note_left(one)
    names = ", ".join(differing)
    whole = "%s and %s are as before" % (", ".join(NAMES[:-1]), NAMES[-1])
    state = "%s: not exactly as before" % names if names else whole
    raise LibrariesError(". ".join(filter(None, [reason, state, remedy])))


def _contents(site: Site) -> Dict[str, str]:
    """The digests of the three when they were saved."""
    data = files.read(_mark(site)) or b"{}"
    return dict(json.loads(data.decode()))


def _save(one: Misp) -> None:
    """Keep the three as they were, for the way back, and as they are, for a failure of Composer."""
    site = one.site
    originals.begin(site)
    paths = [site.app + "/" + name for name in NAMES]
    gate.save(one.user, tree.pack, _copy(site), paths)
    digests = {name: one.status_of(path)[1] for name, path in zip(NAMES, paths)}
    files.write(_mark(site), json.dumps(digests).encode())
    if not originals.is_kept(site, paths[0]):
        for path in paths:
            _keep(one, path)
    for name, path in zip(NAMES, paths):
        originals.note_change(site, path, digests[name])


def _keep(one: Misp, path: str) -> None:
    status, digest = one.status_of(path)
    originals.keep_stream(
        one.site, path, status, digest, lambda copy: gate.save(one.user, tree.pack, copy, [path])
    )


def _note_left(one: Misp) -> None:
    for name in NAMES:
        path = one.site.app + "/" + name
        originals.note_left(one.site, path, one.status_of(path)[1])


def put_back(one: Misp) -> None:
    """Undo a run of Composer's that was cut off or failed, if there is one."""
    site = one.site
    if not os.path.exists(_mark(site)):
        _drop_copy(site)
        return
    try:
        gate.feed(one.user, tree.unpack, _copy(site), site.app, NAMES)
    except HostError as error:
        raise LibrariesError(
            "%s could not be put back (%s): the copy is in %s. Make room and run again"
            % (", ".join(NAMES), error, _copy(site))
        ) from None
    _drop_copy(site)


def restore(one: Misp) -> List[str]:
    """Put the three back as they were before the migration, unless others changed them since."""
    tree.prepare()
    site = one.site
    put_back(one)
    paths = [site.app + "/" + name for name in NAMES]
    if not all(originals.is_kept(site, path) for path in paths):
        return []
    now = [(path, one.status_of(path)[1]) for path in paths]
    if all(originals.is_as_it_was(site, path, digest) for path, digest in now):
        return []
    if not all(originals.is_as_we_left_it(site, path, digest) for path, digest in now):
        kept = originals.set_apart(site, paths)
        return [
            "composer.json, composer.lock or Vendor was changed by others since the migration, so "
            "all three stay as they are. How they were before it is in %s" % kept
        ]
    for name, path in zip(NAMES, paths):
        known = originals.kept(site, path)
        copy = originals.saved(site, path)
        if known is not None and known.existed:
            gate.feed(one.user, tree.unpack, copy, site.app, [name])
        else:
            gate.ask(one.user, tree.remove, [path])
    return []


def _copy(site: Site) -> str:
    return site.state_dir + "/composer-backup.tar"


def _mark(site: Site) -> str:
    return site.state_dir + "/composer-backup.complete"


def _drop_copy(site: Site) -> None:
    """First its mark: a removal that is cut off must not pass for a whole copy."""
    files.remove(_mark(site))
    files.remove(_copy(site))
