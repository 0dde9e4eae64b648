"""What is not there any more, or not what it seems: CakeResque, a former host, Redis's commands.

And a MISP whose files cannot be exchanged, which a run has to know before it changes anything.
"""

from __future__ import annotations

from collections import Counter

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

HOST = HostSpec("left-behind", "debian-12", profile="2.5.18", waiting_jobs=0)
SPECS = (HOST,)
APP = "/var/www/MISP/app"
CONFIG = f"{APP}/Config/config.php"
CONVERT = ("--data", "on_leftover_jobs=convert")
GONE = "and this MISP has no CakeResque any more"
REFUSED = 'rename-command INFO ""\nrename-command SCAN ""\n'
WITHOUT_PLUGIN = (
    f"import json; path = '{APP}/composer.json'; found = json.load(open(path)); "
    "del found['require']['iglocska/cake-resque']; json.dump(found, open(path, 'w'))"
)


@pytest.fixture
def host(lab: Lab) -> LabHost:
    return lab[HOST.name]


@pytest.mark.parametrize(
    ("spoil", "mend", "says"),
    [
        (
            f"mv {CONFIG} {APP}/real.php && ln -s ../real.php {CONFIG}",
            f"rm {CONFIG} && mv {APP}/real.php {CONFIG}",
            f"{CONFIG} is a link or no plain file: its owner cannot be trusted to be MISP's. Put "
            "the real one in its place as the web user, not as root (cp --remove-destination -p, "
            "by `setsid -w runuser -u WEB_USER -- COMMAND </dev/null",
        ),
        (
            f"mount --bind {CONFIG} {CONFIG}",
            f"umount {CONFIG}",
            f"may not write {APP}/Config or exchange config.php in it",
        ),
        (
            f"mount --bind {APP}/Config {APP}/Config && mount -o remount,bind,ro {APP}/Config",
            f"umount {APP}/Config",
            f"may not write {APP}/Config or exchange config.php in it",
        ),
        (
            f"mv {APP}/Vendor {APP}/Real && ln -s Real {APP}/Vendor",
            f"rm {APP}/Vendor && mv {APP}/Real {APP}/Vendor",
            f"{APP}/Vendor is a link",
        ),
    ],
    ids=["link", "mount", "read-only", "vendor"],
)
def test_a_tree_that_could_not_be_put_back_is_refused(
    lab: Lab, host: LabHost, spoil: str, mend: str, says: str
) -> None:
    host.exec(spoil)
    try:
        done = run.plan(lab)
    finally:
        host.exec(mend)
    assert done.exit_code == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def numbers(lab: Lab) -> list[int]:
    """Jobs in a Redis that says little, workers entered for a former name, a unit that loops."""
    host = lab[HOST.name]
    host.exec("systemctl stop misp-workers")
    wait_for(lambda: not observe.old_processes(host), 30, "the old workers have left")
    found = misp.enqueue(host, 2)
    host.exec("redis-cli -n 0 sadd resque:workers former:77:default,prio")
    host.exec(f"rm -r {APP}/Plugin/CakeResque; sed -i /CakeResque/d {APP}/Config/bootstrap.php")
    host.exec(["python3", "-c", WITHOUT_PLUGIN])
    host.exec("cat >>/etc/redis/redis.conf && systemctl restart redis-server", input=REFUSED)
    misp.reload_php(host)
    host.exec("systemctl start --no-block misp-workers")  # and systemd tries again and again
    return found


def test_jobs_that_a_gone_cakeresque_left_are_not_called_none(
    lab: Lab, host: LabHost, numbers: list[int]
) -> None:
    done = run.pyinfra(lab, "deploy.py", "-y")
    assert done.exit_code == 1
    assert "refused before any change" in done.stderr
    assert GONE in done.stderr
    assert "2 waiting in default" in done.stderr  # though `former` is entered for it
    assert "Redis refuses SCAN, INFO to MISP's user, so something else may have" in done.stderr
    assert misp.ledger(host) == []


def test_they_are_converted_and_each_is_done_once(
    lab: Lab, host: LabHost, numbers: list[int]
) -> None:
    done = run.apply(lab, *CONVERT).check()
    assert f"{len(numbers)} job(s) of the old backend became jobs of the new one" in done.stderr
    wait_for(lambda: len(_done(host)) >= len(numbers), 60, "all jobs are done")
    assert _done(host) == Counter(numbers)
    status = run.pyinfra(lab, "status.py", "--dry")
    assert status.exit_code == 0, status.stderr
    assert "old backend: not in this MISP any more" in status.stderr
    assert "healthy" in status.stderr
    assert host.exec("systemctl is-enabled misp-workers", check=False).stdout.strip() == "disabled"
    assert host.exec("redis-cli -n 0 keys 'resque:queue:*'").stdout.strip() == ""


def _done(host: LabHost) -> Counter[int]:
    return Counter(entry["number"] for entry in misp.ledger(host) if "number" in entry)
