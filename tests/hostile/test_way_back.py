"""The way back: what others have changed since stays, and what is not done is not called done.

H8, H9, M8, M9 and the `python3 -` of the L row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from lab import misp
from lab.hosts import LabHost
from lab.lab import Lab
from tests.e2e import observe
from tests.hostile import attacks, operate
from tests.hostile.attacks import APP, CONFIG, WEB

SPECS = (attacks.spec("back"),)

PHAR = f"{APP}/composer.phar"
BOOTSTRAP = f"{APP}/Config/bootstrap.php"
# MISP's own CLI takes every setting but the last.
REFUSES = (
    'if (PHP_SAPI === "cli" && in_array("SimpleBackgroundJobs.enabled", $GLOBALS["argv"], true)) '
    '{ fwrite(STDERR, "refused by a test\\n"); exit(1); }'
)
STATE = observe.MIGRATION_STATE
OURS = "/etc/supervisor/conf.d/misp-workers.conf /etc/supervisor/conf.d/misp-rpc.conf"


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    host = lab["back"]
    attacks.prepare(host)
    return host


def test_a_failed_step_says_that_something_may_have_changed(lab: Lab, host: LabHost) -> None:
    host.exec(f"cp -p {PHAR} {PHAR}.kept; echo '{attacks.DRY_PHAR} exit(1);' >{PHAR}", user=WEB)
    seen = operate.deploy(lab)
    host.exec(f"mv {PHAR}.kept {PHAR}")
    assert not seen.ok
    assert "no operations changed" not in seen.everything, seen.tail()
    assert "may have changed" in seen.everything, seen.tail()


def test_what_the_operator_edits_after_a_failed_step_stays(lab: Lab, host: LabHost) -> None:
    host.exec(f"cp -p {BOOTSTRAP} {BOOTSTRAP}.kept; echo '{REFUSES}' >>{BOOTSTRAP}", user=WEB)
    misp.reload_php(host)
    failed = operate.deploy(lab)
    host.exec(f"mv {BOOTSTRAP}.kept {BOOTSTRAP}")
    misp.set_setting(host, "org", "EDITED-BY-HAND")
    back = operate.rollback(lab)
    assert "refused by a test" in failed.words, failed.tail()
    assert "EDITED-BY-HAND" in host.read(CONFIG), back.tail()


@dataclass(frozen=True)
class Return:
    """A rollback amid records that are no jobs, and one after that if it failed."""

    first: operate.Seen
    last: operate.Seen


@pytest.fixture(scope="module")
def back(lab: Lab, host: LabHost) -> Return:
    """The rollback of a migrated host that others have worked on."""
    deployed = operate.deploy(lab)
    assert deployed.ok, deployed.tail()
    host.exec(f"mkdir {APP}/Vendor/own && echo mine >{APP}/Vendor/own/keep", user=WEB)
    host.exec(f"echo '// mine' >>{APP}/Vendor/guzzlehttp/guzzle/src/Client.php", user=WEB)
    host.exec("supervisorctl stop 'misp-workers:*'")
    junk = "foreach (array('junk', '{', '[1]', '{\"id\":[]}', \"\\xff\\0\") as $one)"
    misp.ask_redis(
        host,
        f'$redis->select(1); {junk} {{ $redis->rPush("background_jobs:default", $one); }}'
        " echo json_encode(1);",
    )
    # What `python3 -` without -I imports where it is called, and from where it is told to.
    for name in ("ctypes", "json", "fcntl", "base64", "subprocess"):
        spoil = "import os, sys; open('/srv/loot/imported', 'a').write('%s %d\\n' % ("
        for folder in ("/home/deploy", "/home/deploy/lib", APP):
            text = f"{spoil}__file__, os.geteuid()))\nraise ImportError\n"
            host.exec(f"mkdir -p {folder}")
            host.put(f"{folder}/{name}.py", text)
    first = operate.rollback(lab)
    if first.ok:
        return Return(first, first)
    misp.ask_redis(host, '$redis->select(1); echo $redis->del("background_jobs:default");')
    return Return(first, operate.rollback(lab))


def test_a_file_that_somebody_added_to_the_libraries_stays(host: LabHost, back: Return) -> None:
    kept = host.exec(f"cat {APP}/Vendor/own/keep", check=False).stdout
    assert kept == "mine\n", back.last.tail()


def test_an_edit_of_a_library_stays_somewhere(host: LabHost, back: Return) -> None:
    found = host.exec(f"grep -rlx '// mine' {APP} {STATE}* /var/lib /var/backups", check=False)
    assert found.stdout, back.last.tail()


def test_records_that_are_no_jobs_keep_nobody_from_going_back(host: LabHost, back: Return) -> None:
    assert back.first.ok, back.first.tail()
    assert observe.old_workers_live(host)


def test_root_imports_no_modules_from_where_others_write(host: LabHost, back: Return) -> None:
    assert attacks.loot(host, "imported") == "", back.last.tail()


LIBRARIES = (
    "supervisorphp/supervisor:^4.0 guzzlehttp/guzzle php-http/message php-http/message-factory "
    "lstrojny/fxmlrpc"
)


def test_a_state_directory_without_inodes_is_no_success(lab: Lab, host: LabHost) -> None:
    # The libraries are there, so that what has no room is the record of supervisord's files.
    require = "php composer.phar require -W --update-no-dev --no-interaction --quiet"
    host.exec(f"rm -f /home/deploy/*.py {APP}/*.py; rm -rf {STATE}; mkdir -p {STATE}")
    host.exec(f"cd {APP} && HOME=/var/www {require} {LIBRARIES}", user=WEB, timeout=180)
    before = host.exec(f"ls {OURS} 2>/dev/null || true").stdout
    host.exec(f"mount -t tmpfs -o nr_inodes=4,mode=0700 none {STATE}")
    try:
        deployed = operate.deploy(lab)
        back = operate.rollback(lab)
    finally:
        host.exec(f"umount {STATE}", check=False)
    left = host.exec(f"ls {OURS} 2>/dev/null || true").stdout
    words = f"{deployed.tail()}\n{back.tail()}\n{json.dumps(left)}"
    assert not (back.ok and left != before), words
    assert not (deployed.ok and not back.ok), words
