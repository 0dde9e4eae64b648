"""Composer as the web user: it succeeds, fails half-way, is killed; and the way back."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import (
    bridge,
    composer_files,
    files,
    gate,
    libraries,
    library_versions,
    originals,
    tree,
)
from tasks.host.errors import HostError
from tasks.host.libraries import LibrariesError
from tasks.host.misp import Misp
from tasks.host.programs import LateError
from tasks.host.site import Desired, Site
from tests.unit.host.fake_misp import FOREIGN_GROUP, FakeMisp

CODE = (Path(bridge.__file__).with_suffix(".php")).read_text()
BEFORE = {"composer.json": "{}", "Vendor/own/file": "theirs", "Vendor/guzzlehttp/guzzle/old": "x"}

# A class of each kind; Composer's own are as good as these.
CLASSES = r"""<?php
namespace Supervisor; class Supervisor {} class Process { const RUNNING = 20; }
namespace fXmlRpc; class Client {}
namespace fXmlRpc\Transport; class HttpAdapterTransport {}
namespace GuzzleHttp; class Client {}
namespace Http\Message\MessageFactory; class GuzzleMessageFactory {}
"""
START = """#!/bin/sh
printf '%s\\n' "$(id -un) $PWD $*" >>tmp/composer
test ! -e Vendor/guzzlehttp/guzzle || exit 9
echo '{"require": {}}' >composer.json
echo lock >composer.lock
mkdir -p Vendor/new
"""
GOOD = START + "cp tmp/classes Vendor/autoload.php\n"
FAILS = START + "rm -r Vendor/own; echo 'no way to Packagist' >&2; exit 2\n"
LOADS_NOTHING = START + "echo '<?php' >Vendor/autoload.php\n"
ENDS_PHP = START + "echo '<?php function a() {} function a() {}' >Vendor/autoload.php\n"


@pytest.fixture
def site(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(bridge, "CODE", CODE)
    for name, text in BEFORE.items():
        (misp.app / name).parent.mkdir(parents=True, exist_ok=True)
        (misp.app / name).write_text(text)
    (misp.app / "Vendor/own").chmod(0o750)
    (misp.app / "Vendor/own/link").symlink_to("file")
    (misp.app / "tmp/classes").write_text(CLASSES)
    yield misp.site()


def composer(misp: FakeMisp, text: str) -> list[str]:
    path = misp.app / "composer"
    path.write_text(text)
    path.chmod(0o755)
    misp.own()
    return [str(path)]


def require(misp: FakeMisp, site: Site, text: str) -> list[str]:
    return libraries.require(site, Desired(), composer(misp, text))


def restore(site: Site) -> list[str]:
    with Misp(site, Desired()) as one:
        return libraries.restore(one)


def listing(misp: FakeMisp) -> dict[str, tuple[str, int, int, bytes]]:
    """Composer's three, with all that is below."""
    found = {}
    for top in (misp.app / name for name in libraries.NAMES):
        for path in [top, *top.rglob("*")]:
            if not os.path.lexists(path):
                continue
            status = path.lstat()
            content = b"" if stat.S_ISDIR(status.st_mode) else path.read_bytes()
            name = str(path.relative_to(misp.app))
            found[name] = (f"{status.st_mode:o}", status.st_uid, status.st_gid, content)
    return found


def state(misp: FakeMisp) -> set[str]:
    return {one.name for one in (misp.folder / "state").iterdir()}


# --- Composer ------------------------------------------------------------------------------------


def test_composer_brings_what_is_missing(misp: FakeMisp, site: Site) -> None:
    assert require(misp, site, GOOD) == []
    [line] = (misp.app / "tmp/composer").read_text().splitlines()
    assert line == (
        f"www-data {misp.app} require --with-all-dependencies --update-no-dev --no-interaction "
        f"--prefer-dist --no-progress {' '.join(libraries.LIBRARIES)}"
    )
    assert (misp.app / "Vendor/own/file").read_text() == "theirs"
    assert state(misp) == {"originals"}
    with Misp(site, Desired()) as one:
        found = libraries.look(one)
        assert (found.missing, found.is_complete, found.is_unfinished) == ([], True, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FAILS, "Composer failed: no way to Packagist. composer.json, .* are as before"),
        (LOADS_NOTHING, r"these classes do not load: Supervisor.Supervisor, fXmlRpc.Client"),
        (ENDS_PHP, "as before"),
        (START + "kill -9 $$\n", "Composer failed"),
        (START + "exec yes\n", "printed more than"),
        ("#!/no/such/interpreter\n", "cannot be run"),
    ],
)
def test_whatever_composer_leaves_everything_is_as_before(
    misp: FakeMisp, site: Site, text: str, words: str
) -> None:
    command = composer(misp, text)
    before = listing(misp)
    with pytest.raises(LibrariesError, match=words):
        libraries.require(site, Desired(), command)
    assert listing(misp) == before
    assert state(misp) == {"originals"}
    assert require(misp, site, GOOD) == []


def test_a_package_that_is_not_the_web_users_is_named(misp: FakeMisp, site: Site) -> None:
    command = composer(misp, GOOD)
    package = misp.app / "Vendor" / libraries.LIBRARIES[0].partition(":")[0]
    package.mkdir(parents=True)
    (package / "of-root").touch()
    with pytest.raises(LibrariesError, match=r"www-data cannot remove one of .*run again"):
        libraries.require(site, Desired(), command)
    assert (misp.app / "Vendor/own/file").read_text() == "theirs"


def test_composer_has_a_time(misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "COMPOSER_SECONDS", 3.0)
    command = composer(misp, START + "sleep 60\n")
    before = listing(misp)
    with pytest.raises(LibrariesError, match="did not end"):
        libraries.require(site, Desired(), command)
    assert listing(misp) == before


# --- a proxy -------------------------------------------------------------------------------------

PROXY = "http://user:p%40ss@proxy:3128"
SHOWS = START + 'env >tmp/environment; echo "407 of $http_proxy, p@ss" >&2; exit 1\n'


def test_composer_alone_is_given_the_proxy(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    popen = subprocess.Popen

    def noted(words: list[str], **options: Any) -> Any:
        given.append((Path(words[0]).name, options["env"]))
        return popen(words, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    libraries.require(site, Desired(), composer(misp, GOOD), PROXY)
    told = {name for name, environment in given if PROXY in environment.values()}
    assert told == {"composer"}
    assert len(given) > 1  # PHP, too
    assert PROXY not in os.environ.values()  # which forked children have
    [composers] = [environment for name, environment in given if name == "composer"]
    assert composers["http_proxy"] == composers["https_proxy"] == PROXY


def test_without_a_proxy_composer_is_given_none(misp: FakeMisp, site: Site) -> None:
    with pytest.raises(LibrariesError, match=r"by a proxy only, give it as http_proxy$"):
        require(misp, site, SHOWS)
    assert "proxy" not in (misp.app / "tmp/environment").read_text()


def test_composers_complaint_is_told_without_the_password(misp: FakeMisp, site: Site) -> None:
    with pytest.raises(LibrariesError) as raised:
        libraries.require(site, Desired(), composer(misp, SHOWS), PROXY)
    assert "Composer failed: 407 of http://***@proxy:3128, ***." in str(raised.value)
    assert str(raised.value).endswith("check that proxy, its user and its password")


class KilledError(BaseException):
    """SIGKILL, or the loss of power."""


def killed(misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A run that is killed when Composer has done its work."""
    run = gate.run

    def then_die(*words: Any, **options: Any) -> None:
        run(*words, **options)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(gate, "run", then_die)
        with pytest.raises(KilledError):
            require(misp, site, text)


def test_a_run_that_was_killed_is_undone_by_the_next(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = composer(misp, FAILS)
    before = listing(misp)
    killed(misp, site, monkeypatch, FAILS)
    assert listing(misp) != before
    with Misp(site, Desired()) as one:
        assert libraries.look(one).is_unfinished
    assert libraries.unknown(site).is_unfinished
    with pytest.raises(LibrariesError):
        libraries.require(site, Desired(), command)
    assert listing(misp) == before
    assert not libraries.unknown(site).is_unfinished


def test_a_run_that_was_killed_and_then_one_that_works(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = listing(misp)
    misp.own()
    killed(misp, site, monkeypatch, FAILS)
    require(misp, site, GOOD)
    assert (misp.app / "Vendor/own/file").read_text() == "theirs"
    assert restore(site) == []
    assert {name: found[-1] for name, found in listing(misp).items()} == {
        name: found[-1] for name, found in before.items()
    }


def test_half_a_copy_is_no_copy(misp: FakeMisp, site: Site) -> None:
    (misp.folder / "state").mkdir(0o700)
    (misp.folder / "state/composer-backup.tar").write_text("half a tar")
    require(misp, site, GOOD)
    assert state(misp) == {"originals"}


def test_a_copy_that_cannot_be_put_back_stays_and_is_named(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(misp, site, monkeypatch, FAILS)
    copy = misp.folder / "state/composer-backup.tar"
    copy.write_bytes(copy.read_bytes()[:700])
    with pytest.raises(LibrariesError, match=f"could not be put back .*the copy is in {copy}"):
        require(misp, site, GOOD)
    assert copy.exists()
    assert libraries.unknown(site).is_unfinished


def test_hard_links_in_vendor_come_back(misp: FakeMisp, site: Site) -> None:
    for name in ("Vendor/own/second", "Vendor/third"):
        os.link(misp.app / "Vendor/own/file", misp.app / name)
    command = composer(misp, FAILS)
    before = listing(misp)
    with pytest.raises(LibrariesError, match="Composer failed"):
        libraries.require(site, Desired(), command)
    assert listing(misp) == before


def test_classes_that_cannot_be_asked_for_are_no_complete_look(misp: FakeMisp, site: Site) -> None:
    (misp.app / "Vendor/autoload.php").write_text("<?php function a() {} function a() {}")
    with Misp(site, Desired()) as one:
        found = libraries.look(one)
    assert (found.missing, found.is_complete) == (list(bridge.CLASSES), False)
    assert libraries.unknown(site) == found


# --- the way back --------------------------------------------------------------------------------


def test_the_way_back_brings_all_three_as_they_were(misp: FakeMisp, site: Site) -> None:
    misp.own()
    before = listing(misp)
    require(misp, site, GOOD)
    assert listing(misp) != before
    assert restore(site) == []
    assert listing(misp) == before
    assert restore(site) == []


@pytest.mark.parametrize("is_own_group", [True, False])
def test_in_a_tree_of_2775_and_664_modes_and_group_stay_there_and_back(
    misp: FakeMisp, site: Site, is_own_group: bool
) -> None:
    command = composer(misp, GOOD)
    misp.share(misp.user.gid if is_own_group else FOREIGN_GROUP)
    before = listing(misp)
    libraries.require(site, Desired(), command)
    after = listing(misp)
    assert {name: after[name][:3] for name in before.keys() & after.keys()} == {
        name: before[name][:3] for name in before.keys() & after.keys()
    }
    new = {name: after[name][:3] for name in after.keys() - before.keys()}
    # As Composer leaves them when it is run by hand, whose umask is 022.
    assert new == {
        "Vendor/new": ("42755", misp.user.uid, misp.gid),
        "Vendor/autoload.php": ("100644", misp.user.uid, misp.gid),
        "composer.lock": ("100644", misp.user.uid, misp.gid),
    }
    assert restore(site) == []
    assert listing(misp) == before


def test_without_a_copy_there_is_no_way_back(misp: FakeMisp, site: Site) -> None:
    misp.own()
    before = listing(misp)
    assert restore(site) == []
    assert listing(misp) == before


def test_what_was_absent_goes_again(misp: FakeMisp, site: Site) -> None:
    misp.own()
    for name in libraries.NAMES:
        gate.ask(misp.user, tree.remove, [str(misp.app / name)])
    (misp.app / "Vendor").mkdir()
    (misp.app / "Vendor").rmdir()
    require(misp, site, GOOD)
    assert restore(site) == []
    assert listing(misp) == {}


@pytest.mark.parametrize("name", ["Vendor/own/keep", "composer.json", "composer.lock"])
def test_what_others_changed_since_stays_with_all_three(
    misp: FakeMisp, site: Site, name: str
) -> None:
    require(misp, site, GOOD)
    (misp.app / name).write_text("mine")
    misp.own()
    before = listing(misp)
    [message] = restore(site)
    apart = Path(site.state_dir + ".kept")
    assert message.endswith(f"How they were before it is in {apart}")
    assert listing(misp) == before
    assert len(list(apart.iterdir())) == 2  # there was no composer.lock
    assert all(files.mode_of(str(one)) == "0:0 600" for one in apart.iterdir())


def test_what_others_changed_before_the_second_run_stays(misp: FakeMisp, site: Site) -> None:
    require(misp, site, GOOD)
    (misp.app / "Vendor/own/keep").write_text("mine")
    require(misp, site, GOOD)
    assert len(restore(site)) == 1
    assert (misp.app / "Vendor/own/keep").read_text() == "mine"


def test_what_others_changed_after_a_failure_stays(misp: FakeMisp, site: Site) -> None:
    with pytest.raises(HostError):
        require(misp, site, FAILS)
    (misp.app / "Vendor/own/keep").write_text("mine")
    assert len(restore(site)) == 1
    assert (misp.app / "Vendor/own/keep").read_text() == "mine"


def test_the_way_back_of_a_run_that_was_killed(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    misp.own()
    before = listing(misp)
    killed(misp, site, monkeypatch, FAILS)
    assert restore(site) == []
    assert listing(misp) == before


def test_a_link_in_the_place_of_the_folder_takes_root_nowhere(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = misp.folder / "etc"
    (root / "supervisor").mkdir(parents=True)
    (root / "supervisor/file").write_text("roots")
    killed(misp, site, monkeypatch, FAILS)
    (misp.app / "Vendor").rename(misp.app / "Real")
    (misp.app / "Vendor").symlink_to(root)
    os.chown(misp.app / "Vendor", misp.user.uid, misp.user.gid, follow_symlinks=False)
    with pytest.raises(HostError):
        require(misp, site, FAILS)
    assert [one.name for one in root.rglob("*")] == ["supervisor", "file"]
    assert originals.is_kept(site, str(misp.app / "Vendor"))


# --- what Composer has noted ----------------------------------------------------------------------

NOTED = [
    {"name": "guzzlehttp/guzzle", "version": "7.9.2"},
    {"name": "lstrojny/fxmlrpc", "version": "0" * 99},
    {"name": "other/package", "version": "1"},
]


@pytest.mark.parametrize(
    ("content", "versions"),
    [
        (json.dumps(NOTED), {"guzzlehttp/guzzle": "7.9.2", "lstrojny/fxmlrpc": "0" * 40}),
        (json.dumps({"packages": NOTED[:1]}), {"guzzlehttp/guzzle": "7.9.2"}),
        *((odd, {}) for odd in ("", "{", "5", '{"packages": 5}', '[{"name": 5}]', "[5]", "\xff")),
    ],
)
def test_the_versions_are_composers_own_words(
    misp: FakeMisp, site: Site, content: str, versions: dict[str, str]
) -> None:
    folder = misp.app / "Vendor/composer"
    folder.mkdir()
    (folder / "installed.json").write_bytes(content.encode("latin-1"))
    with Misp(site, Desired()) as one:
        assert library_versions.look(one, libraries.PACKAGES) == versions


def test_long_versions_are_cut_before_they_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "installed.json"
    path.write_text(json.dumps(NOTED))
    assert library_versions.noted(str(path), ["lstrojny/fxmlrpc"]) == {"lstrojny/fxmlrpc": "0" * 40}


def test_without_composer_there_are_none(misp: FakeMisp, site: Site) -> None:
    with Misp(site, Desired()) as one:
        assert library_versions.look(one, libraries.PACKAGES) == {}


# --- a dry run -----------------------------------------------------------------------------------

TRIES = """#!/bin/sh
printf '%s\\n' "$(id -un) $PWD $*" "$COMPOSER_CACHE_READ_ONLY $COMPOSER_HTACCESS_PROTECT" >tmp/seen
cat "$COMPOSER" >>tmp/seen
echo spoiled >"$COMPOSER"; touch "${COMPOSER%.json}.lock"
cat tmp/said >&2
exit "$(cat tmp/status)"
"""
# What Composer 2.5.5 printed; the last line of the operations and the update are made up.
RESOLVES = """./composer.json has been updated
Running composer update supervisorphp/supervisor guzzlehttp/guzzle --with-all-dependencies
Loading composer repositories with package information
Updating dependencies
Lock file operations: 2 installs, 1 update, 0 removals
  - Locking guzzlehttp/guzzle (7.8.1)
  - Locking supervisorphp/supervisor (4.0.0)
  - Upgrading psr/log (1.1.4 => 3.0.0)
Installing dependencies from lock file
Package operations: 3 installs, 1 update, 0 removals
  - Upgrading psr/log (1.1.4 => 3.0.0)
  - Installing guzzlehttp/guzzle (7.8.1)
  - Installing supervisorphp/supervisor (4.0.0)
  - Installing odd/`id` (dev-master 1234abc)
No security vulnerability advisories found
Using version ^7.8 for guzzlehttp/guzzle
"""
OFFLINE = """./composer.json has been updated
Running composer update supervisorphp/supervisor guzzlehttp/guzzle --with-all-dependencies
Loading composer repositories with package information
The following exception probably indicates you are offline or have misconfigured DNS resolver(s)

In CurlDownloader.php line 365:
|
  curl error 6 while downloading https://repo.packagist.org/packages.json: Could not resolve it  |
|

require [--dev] [--dry-run] [--prefer-source] [--prefer-dist] [--prefer-install PREFER-INSTALL]

""".replace("|", " " * 40)
UNRESOLVED = """Updating dependencies
Your requirements could not be resolved to an installable set of packages.

  Problem 1
    - Root composer.json requires nobody/nothing, it could not be found in any version.

Potential causes:
 - A typo in the package name

Installation failed, reverting ./composer.json and ./composer.lock to their original content.
"""


def resolved(misp: FakeMisp, site: Site, said: str, status: int = 0, text: str = TRIES) -> Any:
    (misp.app / "tmp/said").write_text(said)
    (misp.app / "tmp/status").write_text(f"{status}\n")
    command = composer(misp, text)
    before = listing(misp)
    try:
        return libraries.resolved(site, Desired(), command, PROXY)
    finally:
        assert listing(misp) == before
        assert not (misp.folder / "state").exists()
        assert not list((misp.app / "tmp").glob(".misp*"))


def test_a_dry_run_says_what_would_come_and_leaves_all_as_it_was(
    misp: FakeMisp, site: Site
) -> None:
    assert resolved(misp, site, RESOLVES) == {
        "psr/log": "3.0.0",
        "guzzlehttp/guzzle": "7.8.1",
        "supervisorphp/supervisor": "4.0.0",
        "odd/'id'": "dev-master 1234abc",
    }
    assert (misp.app / "tmp/seen").read_text().splitlines() == [
        f"www-data {misp.app} require --with-all-dependencies --update-no-dev --no-interaction "
        f"--prefer-dist --no-progress --dry-run {' '.join(libraries.LIBRARIES)}",
        "1 0",
        "{}",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "  - Installing x (" + " => " * 250_000,
        "  - Installing " + "x" * 1_000_000,
        "  - Installing x (" + "1" * 290 + ")",
    ],
)
def test_a_line_made_to_be_slow_or_long_brings_nothing(line: str) -> None:
    began = time.monotonic()
    assert dict(libraries._brought(f"{line}\n{RESOLVES}"))["psr/log"] == "3.0.0"
    assert "x" not in dict(libraries._brought(line))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (OFFLINE, "curl error 6 while downloading https://repo.packagist.org/packages.json: Coul"),
        (UNRESOLVED, "- Root composer.json requires nobody/nothing, it could not be found in any "),
        ("Something else\n", "Something else. "),
        ("", "it ended with status 1. If"),
    ],
)
def test_what_cannot_be_resolved_is_told_by_composers_sentence_alone(
    misp: FakeMisp, site: Site, said: str, reason: str
) -> None:
    with pytest.raises(LibrariesError) as raised:
        resolved(misp, site, said, status=1)
    assert str(raised.value).startswith(f"Composer cannot resolve the PHP libraries: {reason}")
    assert "--prefer-source" not in str(raised.value)
    assert "has no way to Packagist, let Composer use a mirror" in str(raised.value)


def test_a_dry_run_has_a_time_of_its_own(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "_TRIAL_SECONDS", 1.0)
    with pytest.raises(LateError):
        resolved(misp, site, "", text="#!/bin/sh\nsleep 60\n")


def test_a_folder_without_room_for_the_copies_is_told(
    misp: FakeMisp, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(composer_files, "copy", full)
    with pytest.raises(LibrariesError, match=r"Composer cannot be tried in .*: .*No space left"):
        resolved(misp, site, "")


def test_a_composer_that_cannot_be_started_is_told(misp: FakeMisp, site: Site) -> None:
    with pytest.raises(
        LibrariesError, match=r"Composer cannot be tried in .*/app: .* cannot be run as w"
    ):
        resolved(misp, site, "", text="#!/no/such/interpreter\n")
