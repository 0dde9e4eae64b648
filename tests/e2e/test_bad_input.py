"""A host or data that will not do: a clear error, and nothing on the host is touched."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

SPECS = (HostSpec("misp-bad", "debian-12", waiting_jobs=0),)

# A PHP that is as old by its own word, and answers everything else as the real one.
PHP_72 = """#!/bin/sh
/usr/bin/php "$@" | sed -u 's/"version":"[^"]*"/"version":"7.2.34"/'
"""


@pytest.fixture
def host(lab: Lab) -> LabHost:
    return lab["misp-bad"]


def refused(
    lab: Lab, *options: str, environment: dict[str, str] | None = None, mark: str = "refused"
) -> str:
    """Run the deploy, which must not get past preflight; gives what it printed."""
    host = lab["misp-bad"]
    before = observe.snapshot(host)
    done = run.pyinfra(lab, "deploy.py", "-y", *options, environment=environment)
    assert done.exit_code == 1, done.stderr
    assert before.differences(observe.snapshot(host)) == []
    assert mark in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@contextlib.contextmanager
def spoiled(host: LabHost, spoil: str, mend: str) -> Iterator[None]:
    """The host with something broken, mended afterwards."""
    host.exec(spoil)
    try:
        yield
    finally:
        host.exec(mend)


MOVE = "mv {0} {0}.kept"
BACK = "mv {0}.kept {0}"
VERSION = "/var/www/MISP/VERSION.json"
CONFIG = "/var/www/MISP/app/Config/config.php"
SUDOERS = "/etc/sudoers.d/deploy"


@pytest.mark.parametrize(
    ("spoil", "mend", "message"),
    [
        (
            "cp --remove-destination /usr/lib/os-release /etc/os-release && sed -i "
            "'s/^ID=.*/ID=slackware/; s/^PRETTY_NAME=.*/PRETTY_NAME=Slackware/' /etc/os-release",
            "ln -sf ../usr/lib/os-release /etc/os-release",
            "Slackware (ID=slackware) is not supported",
        ),
        (
            f"cp -p {VERSION} {VERSION}.kept && sed -i 's/:5/:4/; s/:1}}/:150}}/' {VERSION} && "
            f'echo \'{{"major":2,"minor":4,"hotfix":150}}\' >{VERSION}',
            BACK.format(VERSION),
            "MISP is 2.4.150, but SimpleBackgroundJobs came with 2.4.151",
        ),
        (MOVE.format(CONFIG), BACK.format(CONFIG), f"{CONFIG}: No such file or directory"),
        (f"chown root {CONFIG}", f"chown www-data {CONFIG}", f"{CONFIG} belongs to root"),
        (
            f"cat >/usr/local/bin/php <<'END'\n{PHP_72}END\nchmod 755 /usr/local/bin/php",
            "rm /usr/local/bin/php",
            "/usr/local/bin/php is PHP 7.2.34, but MISP 2.5.1 needs 8.1",
        ),
        (
            "systemd-run --quiet --unit=stranger python3 -m http.server 9001 --bind 127.0.0.1; "
            "until grep -q ':2329' /proc/net/tcp; do sleep 0.1; done",
            "systemctl stop stranger",
            "port 9001 is taken by python3 stranger.service",
        ),
        (
            "redis-cli -n 1 set background_jobs:somebody else",
            "redis-cli -n 1 del background_jobs:somebody",
            "database 1, namespace background_jobs (keys such as background_jobs:somebody)",
        ),
    ],
    ids=["os", "misp", "no-config", "config-owner", "php", "port", "redis-in-use"],
)
def test_a_host_that_will_not_do(
    lab: Lab, host: LabHost, spoil: str, mend: str, message: str
) -> None:
    with spoiled(host, spoil, mend):
        assert message in refused(lab)


def test_of_a_misp_whose_settings_are_roots_nothing_runs_as_root(lab: Lab, host: LabHost) -> None:
    tripwire = 'if (posix_geteuid() === 0) { touch("/run/ran-as-root"); }'
    spoil = f"cp -p {CONFIG} {CONFIG}.kept && echo '{tripwire}' >>{CONFIG} && chown root {CONFIG}"
    with spoiled(host, spoil, BACK.format(CONFIG)):
        assert "config.php belongs to root" in refused(lab)
        assert "config.php belongs to root" in refused(lab, "--data", "misp_web_user=root")
        assert host.exec("ls /run/ran-as-root", check=False).exit_code != 0
        host.exec(["php", "-r", f"include '{CONFIG}';"])
        assert host.exec("rm /run/ran-as-root").exit_code == 0  # which a run as root would leave


def test_several_faults_are_named_at_once(lab: Lab, host: LabHost) -> None:
    with spoiled(host, f"chown root {CONFIG}", f"chown www-data {CONFIG}"):
        printed = refused(lab, "--data", "supervisor_port=443")
    assert f"1. {CONFIG} belongs to root" in printed
    assert "port 443 is taken by" in printed


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('misp_workers={"default": 0}', "default: must be 1 to 99, not 0"),
        ('misp_workers={"prio": -1}', "prio: must be 1 to 99, not -1"),
        ('misp_workers={"email": "five"}', "email: must be a whole number, not 'five'"),
        ('misp_workers={"update": 2}', "update: must be 1, not 2"),
        ('misp_workers={"cahce": 2}', "unknown queue 'cahce' (did you mean cache?)"),
        ("misp_wrokers=5", "unknown key 'misp_wrokers': did you mean 'misp_workers'?"),
        ("misp_root=/srv/nothing", "/srv/nothing is no directory: set misp_root"),
        ("misp_redis_port=1", "Redis at localhost:1"),
        ("misp_web_user=nobody", "belongs to neither root nor nobody"),
        ('supervisor_password={"file": "/nonexistent"}', "cannot read the file /nonexistent"),
        ('supervisor_password={"env": "UNSET"}', "the environment variable UNSET is not set"),
        ('misp_redis_password={"env": "WRONG"}', "the password is refused"),
        ('misp_api_key={"env": "WRONG"}', "a MISP API key has 40 letters and digits"),
        ('misp_api_key={"env": "KEY"}', "answers 403: Authentication failed"),
        ("misp_ca_bundle=/etc/ssl/certs/ca-certificates.crt", "a certificate that is not trusted"),
    ],
)
def test_data_that_will_not_do(lab: Lab, data: str, message: str) -> None:
    wrong = {"WRONG": "not;the%password", "KEY": "x" * 40}
    printed = refused(lab, "--data", data, environment=wrong)
    assert message in printed
    assert not [value for value in wrong.values() if value in printed]


@pytest.mark.parametrize(
    "password", ["short", "%" * 40, "a;b" * 20, "a #b" * 20, 'a"b' * 20, "ü" * 40]
)
def test_a_password_of_ones_own_that_would_break_something(lab: Lab, password: str) -> None:
    reference = json.dumps({"env": "OWN"})
    printed = refused(
        lab, "--data", f"supervisor_password={reference}", environment={"OWN": password}
    )
    assert "supervisor_password: it " in printed
    assert password not in printed


def test_a_host_that_cannot_be_reached(lab: Lab) -> None:
    printed = refused(
        lab, "--data", "ssh_port=1", "--data", "ssh_connect_retries=0", mark="misp-bad"
    )
    assert "Could not connect" in printed


def test_a_login_without_sudo(lab: Lab, host: LabHost) -> None:
    with spoiled(host, MOVE.format(SUDOERS), BACK.format(SUDOERS)):
        printed = refused(lab)
    assert "no command runs as root here" in printed
    assert "sudo" in printed


def test_a_login_that_does_not_use_sudo(lab: Lab) -> None:
    assert "the login is not root: set _sudo = True" in refused(lab, "--data", "_sudo=false")


def test_a_password_of_sudos_is_tried_once(lab: Lab, host: LabHost) -> None:
    asks = f"echo 'deploy ALL=(ALL) ALL' >{SUDOERS} && echo deploy:right | chpasswd"
    with spoiled(host, f"cp -p {SUDOERS} /root/kept && {asks}", f"mv /root/kept {SUDOERS}"):
        printed = refused(lab, "--data", "_sudo_password=wrong")
        assert run.plan(lab, "--data", "_sudo_password=right").ok
    assert "sudo: 1 incorrect password attempt" in printed
    assert "sudo does not take the password" in printed
    logged = host.exec("journalctl -q --no-pager | grep -o 'deploy : .* incorrect .* ;'").stdout
    assert [line.split(" ; ")[0] for line in logged.splitlines()] == [
        "deploy : 1 incorrect password attempt"
    ]


@pytest.mark.parametrize(
    ("checking", "said"),
    [
        ("StrictHostKeyChecking yes", "No host key for [127.0.0.1]"),
        ("", "No host key for [127.0.0.1]"),
        ("StrictHostKeyChecking accept-new", ""),
    ],
    ids=["yes", "ask", "accept-new"],
)
def test_a_host_key_that_is_not_known(lab: Lab, tmp_path: Path, checking: str, said: str) -> None:
    config, known = tmp_path / "config", tmp_path / "known_hosts"
    known.touch()
    config.write_text(f"Host *\n  UserKnownHostsFile {known}\n  {checking}\n")
    own = ("--data", f"ssh_config_file={config}", "--data", "ssh_known_hosts_file=")
    if said:
        assert said in refused(lab, *own, "--data", "ssh_connect_retries=0", mark="misp-bad")
    else:
        assert run.plan(lab, *own).ok
    assert bool(known.read_text()) is not bool(said)


def test_redis_that_does_not_answer(lab: Lab, host: LabHost) -> None:
    # Last, and without a snapshot: old workers end because of it, and as long as a single one has
    # not noticed, their unit is active and systemd starts none of the others again.
    mend = "systemctl start redis-server && systemctl restart misp-workers"
    with spoiled(host, "systemctl stop redis-server", mend):
        done = run.pyinfra(lab, "deploy.py", "-y")
    assert done.exit_code == 1
    assert (
        "Redis at localhost:6379, database 1, namespace background_jobs cannot be used"
        in done.stderr
    )
    assert host.exec("command -v supervisord", check=False).exit_code != 0


def test_after_all_that_the_host_can_still_be_migrated(lab: Lab, host: LabHost) -> None:
    wait_for(partial(observe.old_workers_live, host), 30, "the old workers")
    wait_for(lambda: misp.ledger(host) == [], 5, "an empty ledger")
    old_jobs = misp.enqueue(host, 1, queues=QUEUES)
    done = run.apply(lab)
    assert done.ok, done.stderr
    numbers = sorted(int(entry["number"]) for entry in misp.ledger(host) if entry.get("number"))
    assert numbers == old_jobs


def test_another_redis_for_a_migrated_host(lab: Lab) -> None:
    for data in ("misp_redis_database=5", "misp_redis_namespace=x", "misp_redis_port=1"):
        printed = refused(lab, "--data", data)
        assert f"the inventory says {data.replace('=', ' ')}, and the deploy moves no" in printed
    # Another name of the same host is no other Redis.
    assert run.plan(lab, "--data", "misp_redis_host=127.0.0.1").ok
