"""The PHP libraries that MISP speaks to supervisord with, brought by Composer as the web user.

Composer may fail after it has rewritten composer.json and half of Vendor (observed), so a child
with the web user's identity copies all three into a stream that root stores, and another one puts
them back: then, or in the next run if this one is cut off.
"""

import json
import os
from typing import Dict, List

from tasks.host import bridge, files, gate, originals, proxy, tree
from tasks.host.errors import HostError
from tasks.host.misp import Misp
from tasks.host.parts import Libraries
from tasks.host.site import Desired, Site

LIBRARIES = (
    "supervisorphp/supervisor:^4.0",  # 5.1 dropped constants that MISP uses (MISP #10006)
    "guzzlehttp/guzzle",
    "php-http/message",
    "php-http/message-factory",  # no longer a dependency of php-http/message (MISP #9232)
    "lstrojny/fxmlrpc",
)
NAMES = tree.COMPOSERS
COMPOSER_SECONDS = 900.0


class LibrariesError(HostError):
    """The libraries could not be brought; app/Vendor is as it was."""


def look(one: Misp) -> Libraries:
    """The classes as a part of a look; to be asked last, as a fatal error in one ends PHP."""
    try:
        return Libraries(one.bridge.classes(), True, os.path.exists(_mark(one.site)))
    except HostError:
        return unknown(one.site)


def unknown(site: Site) -> Libraries:
    """The part where MISP's PHP cannot be asked."""
    return Libraries(list(bridge.CLASSES), False, os.path.exists(_mark(site)))


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
            _give_up(
                one,
                "Composer failed: %s" % complaint,
                "If this host has no way to Packagist, let Composer use a mirror or bring the "
                "packages into %s/Vendor, then run again. %s"
                % (site.app, proxy.advice(http_proxy)),
            )
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


def _run(one: Misp, composer: List[str], http_proxy: str) -> str:
    """Run Composer, the only child that is told the proxy. Returns why it failed, if it did."""
    words = [*composer, "require", "--with-all-dependencies", "--update-no-dev"]
    words += ["--no-interaction", "--prefer-dist", "--no-progress", *LIBRARIES]
    environment = dict(proxy.environment(http_proxy), COMPOSER_NO_INTERACTION="1")
    try:
        done = gate.run(
            one.user, words, one.site.app, timeout=COMPOSER_SECONDS, environment=environment
        )
    except HostError as error:
        return str(error)
    if done.status == 0:
        return ""
    complaint = proxy.hide(done, http_proxy).complaint
    return complaint or "it ended with status %d" % done.status


def _remove_old(one: Misp) -> None:
    """Composer believes its own list of what is installed, but for packages that are gone."""
    vendor = one.site.app + "/Vendor/"
    gone = [vendor + name.partition(":")[0] for name in LIBRARIES]
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
    state = "%s: not exactly as before" % names if names else "%s are as before" % ", ".join(NAMES)
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
