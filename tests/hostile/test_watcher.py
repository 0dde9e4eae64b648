"""Root does nothing below MISP's tree, in a whole deploy, a failed one and a rollback.

Where test_tree.py shows that attacks lead nowhere, this shows that there is nothing to attack.
"""

from __future__ import annotations

import shlex
import subprocess

import pytest

from lab.hosts import LabHost
from lab.lab import Lab
from tests.hostile import attacks, operate, watcher
from tests.hostile.attacks import APP, ROOT, WEB

SPECS = (attacks.spec("watched"),)

LIMIT = 400.0  # seconds: who is watched is slow
PHAR = f"{APP}/composer.phar"


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    attacks.prepare(lab["watched"])
    return lab["watched"]


def log_in(host: LabHost, command: str) -> None:
    subprocess.run(
        [*shlex.split(host.ssh_command), command], check=True, capture_output=True, timeout=60
    )


def test_the_watcher_sees_what_root_does_and_only_that(host: LabHost) -> None:
    with watcher.watching(host, ROOT) as watch:
        log_in(
            host, f"cd {APP} && sudo sh -c 'cd Config && echo x >seen && chmod 600 ../Config/seen'"
        )
        log_in(host, f"sudo mv {APP}/Config/seen /srv/seen; sudo python3 -c 'print(1)'")
        log_in(host, f"sudo -u {WEB} sh -c 'cd {APP}/Config && touch not-seen && rm not-seen'")
        log_in(host, f"sudo cat {APP}/Config/config.php; sudo touch /srv/elsewhere")
    seen = [deed.partition("(")[0] for deed in watch.deeds]
    assert "sh: chdir" in seen, watch.deeds
    assert "sh: openat" in seen, watch.deeds
    assert "chmod: fchmodat" in seen, watch.deeds
    assert any(deed.startswith("mv: rename") for deed in seen), watch.deeds
    assert not [deed for deed in watch.deeds if "not-seen" in deed or "elsewhere" in deed]
    assert not [deed for deed in watch.deeds if deed.startswith("cat:")]


def report(deeds: list[str]) -> str:
    return f"{len(deeds)} deeds of root's below {ROOT}:\n" + "\n".join(deeds[:60])


def test_a_deploy_that_fails(lab: Lab, host: LabHost) -> None:
    host.exec(f"cp -p {PHAR} {PHAR}.kept; echo '{attacks.DRY_PHAR} exit(1);' >{PHAR}", user=WEB)
    try:
        with watcher.watching(host, ROOT) as watch:
            seen = operate.deploy(lab, limit=LIMIT)
    finally:
        host.exec(f"mv {PHAR}.kept {PHAR}", user=WEB)
    assert not seen.ok
    assert watch.calls > 500, seen.tail()
    assert watch.deeds == [], report(watch.deeds)


def test_a_deploy(lab: Lab, host: LabHost) -> None:
    with watcher.watching(host, ROOT) as watch:
        seen = operate.deploy(lab, limit=LIMIT)
    assert watch.deeds == [], report(watch.deeds)
    assert watch.calls > 500, seen.tail()
    assert seen.ok, seen.tail()


def test_a_rollback(lab: Lab, host: LabHost) -> None:
    with watcher.watching(host, ROOT) as watch:
        seen = operate.rollback(lab, limit=LIMIT)
    assert watch.deeds == [], report(watch.deeds)
    assert watch.calls > 500, seen.tail()
    assert seen.ok, seen.tail()
