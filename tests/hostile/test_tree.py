"""Root and the MISP tree, which the web user may rearrange at any moment (C2a, C2b, C3).

One host lives through all of it: every attack is undone before the next, and what root must not
touch is watched in a place of its own for each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from lab.hosts import LabHost
from lab.lab import Lab
from tests.e2e import observe
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, CONFIG, TREASURE, WEB

SPECS = (attacks.spec("tree"),)

FOLDERS = tuple(f"{APP}/{name}" for name in ("Vendor", "Config", "Console", "tmp", "Plugin"))
BUT_CONFIG = tuple(folder for folder in FOLDERS if not folder.endswith("Config"))
PHAR = f"{APP}/composer.phar"


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab["tree"]
    attacks.prepare(host)
    attacks.make_movable(host, *FOLDERS)
    # The web user's own, and many: whatever root does to all of them takes its time.
    host.exec(f"mkdir {APP}/Vendor/many && cd {APP}/Vendor/many && touch $(seq 3000)", user=WEB)
    attacks.bury(host, "Vendor", "Config", "Console", "tmp", "Plugin", "libraries")
    return host


@contextlib.contextmanager
def broken_composer(host: LabHost) -> Iterator[None]:
    """The web user has made Composer fail at work."""
    code = f"{attacks.DRY_PHAR} usleep(300000); exit(1);"
    host.exec(f"cp -p {PHAR} {PHAR}.kept && echo '{code}' >{PHAR}", user=WEB)
    try:
        yield
    finally:
        host.exec(f"mv {PHAR}.kept {PHAR}", user=WEB)


def test_links_in_the_place_of_libraries_lead_root_nowhere(lab: Lab, host: LabHost) -> None:
    spoil = "; ".join(
        f"ln -s {TREASURE}/libraries/{name} {APP}/Vendor/{name}"
        for name in ("supervisorphp", "guzzlehttp", "lstrojny", "php-http")
    )
    host.exec(spoil, user=WEB)
    try:
        with attacks.untouched(host):
            operate.deploy(lab)
    finally:
        host.exec(f"find {APP}/Vendor -maxdepth 1 -type l -delete")


def test_a_mount_below_the_libraries_is_not_emptied(lab: Lab, host: LabHost) -> None:
    place = f"{APP}/Vendor/supervisorphp/supervisor/mounted"
    host.exec(f"install -d -o {WEB} {place} && mkdir -p {TREASURE}/mounted")
    host.exec(f"echo 'of root' >{TREASURE}/mounted/keep; mount --bind {TREASURE}/mounted {place}")
    try:
        with attacks.untouched(host), broken_composer(host):
            operate.deploy(lab)
    finally:
        # A mount moves with the folder that it is in, when that is exchanged.
        host.exec("umount $(awk '$2 ~ /supervisor.mounted$/ {print $2}' /proc/mounts)")
        host.exec(f"rm -rf {APP}/Vendor/supervisorphp {APP}/.misp-workers-new-*")


@pytest.fixture
def mended(host: LabHost) -> Iterator[None]:
    """Where an attack has left a link in a folder's place, all is as before it again."""
    host.exec(f"rm -rf /srv/whole; mkdir /srv/whole; cp -a {' '.join(FOLDERS)} /srv/whole")
    yield
    host.exec(f"rm -rf {APP}/*.taken {APP}/*.link")
    lost = " -o ".join(f"-L {folder}" for folder in FOLDERS)
    if not host.exec(f"[ {lost} -o ! -f {APP}/Vendor/autoload.php ]", check=False).exit_code:
        host.exec(
            f"rm -rf {' '.join(FOLDERS)}; cp -a /srv/whole/* {APP}; systemctl restart misp-workers"
        )
        attacks.give_back(host)


@pytest.mark.usefixtures("mended")
def test_a_folder_that_is_put_back_is_not_followed_when_it_is_swapped(
    lab: Lab, host: LabHost
) -> None:
    with (
        attacks.untouched(host),
        broken_composer(host),
        attacks.swapping(host, "when-new", TREASURE, f"{APP}/Vendor"),
    ):
        operate.deploy(lab)


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize("what", ["failed deploy", "deploy"])
def test_a_storm_of_links_leads_root_nowhere(lab: Lab, host: LabHost, what: str) -> None:
    composer = broken_composer(host) if what == "failed deploy" else contextlib.nullcontext()
    with attacks.untouched(host), composer, attacks.swapping(host, "storm", TREASURE, *FOLDERS):
        seen = operate.deploy(lab)
    assert seen.ended, seen.tail()
    assert not seen.crashed, seen.tail()


def test_after_the_storm_the_host_can_be_migrated(lab: Lab, host: LabHost) -> None:
    seen = operate.deploy(lab)
    assert seen.ok, seen.tail()
    assert observe.daemon(host) > 0


@pytest.mark.usefixtures("mended")
def test_nor_does_it_while_a_rollback_puts_everything_back(lab: Lab, host: LabHost) -> None:
    with (
        attacks.untouched(host),
        attacks.swapping(host, "storm", TREASURE, *BUT_CONFIG),
        attacks.swapping(host, "on-open", CONFIG, TREASURE, f"{APP}/Config"),
    ):
        seen = operate.rollback(lab)
    assert seen.ended, seen.tail()
    assert not seen.crashed, seen.tail()


def test_and_then_it_can_be_rolled_back(lab: Lab, host: LabHost) -> None:
    seen = operate.rollback(lab)
    assert seen.ok, seen.tail()
    assert observe.old_workers_live(host)
