"""The health check on hosts of both families: left, run by a monitor's account, and taken back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from lab import misp, run
from lab.hosts import LabHost, Result
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

DEBIAN = HostSpec("checked-debian", "debian-12", waiting_jobs=0)
EL = HostSpec("checked-el", "el-like", profile="2.4.199", waiting_jobs=0)
SPECS = (DEBIAN, EL)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])
CHECK = "/usr/local/sbin/misp-workers-check"
FOLDER = "/var/lib/node_exporter"
RULE = f'nagios ALL=(root) NOPASSWD: {CHECK} ""\n'


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, observe.Snapshot]:
    """The hosts as they were; afterwards they are migrated and have the check."""
    refused = run.pyinfra(lab, "healthcheck.py", "-y")
    assert refused.exit_code == 1
    assert "for a migrated host, and the state of this one is old" in refused.stderr
    for host in lab:
        host.exec("useradd --no-create-home nagios; useradd --no-create-home node")
        host.put("/etc/sudoers.d/misp-workers-check", RULE, 0o440)
        host.exec(f"install -d -o node {FOLDER}")
        misp.install_stopped_supervisor(host)  # packages stay after the way back
        wait_for(partial(observe.old_workers_live, host), 20, "the old workers")
    seen = {host.name: observe.snapshot(host) for host in lab}
    run.apply(lab).check()
    done = run.pyinfra(lab, "healthcheck.py", "-y")
    assert done.ok, done.stderr
    assert done.stderr.count(f"{CHECK} says: MISP WORKERS OK: 21 of 21 workers run | ") == 2
    return seen


def check(host: LabHost, *words: str, user: str | None = None) -> Result:
    return host.exec([*words, CHECK] if words else [CHECK], user=user, check=False)


def said(result: Result, code: int, words: str) -> bool:
    """Whether it is one line of Nagios's with that code."""
    form = r"MISP WORKERS (OK|WARNING|CRITICAL|UNKNOWN): [^|\n]+ \| running=\d+[^|\n]*\n"
    assert re.fullmatch(form, result.stdout), result.stdout + result.stderr
    return (result.exit_code, words in result.stdout) == (code, True)


@contextmanager
def broken(host: LabHost, breaking: str, mending: str) -> Iterator[None]:
    host.exec(breaking)
    try:
        yield
    finally:
        host.exec(mending)
        wait_for(lambda: check(host).exit_code == 0, 60, f"{host.name} to be well again")


def unit(host: LabHost) -> str:
    return "supervisor" if host.name == DEBIAN.name else "supervisord"


@HOSTS
@pytest.mark.usefixtures("before")
def test_it_is_roots_there_once_and_status_knows(lab: Lab, name: str) -> None:
    host = lab[name]
    assert host.exec(["stat", "-c", "%U:%G %a", CHECK]).stdout == "root:root 755\n"
    again = run.pyinfra(lab, "healthcheck.py", "-y", "--limit", name)
    assert (again.ok, again.changed) == (True, ())
    status = run.pyinfra(lab, "status.py", "--dry", "--limit", name)
    assert status.exit_code == 0, status.stderr
    assert "health check: current" in status.stderr


@HOSTS
@pytest.mark.usefixtures("before")
def test_a_monitors_account_runs_it_by_sudo_without_an_argument(lab: Lab, name: str) -> None:
    host = lab[name]
    assert said(check(host, "sudo", "-n", user="nagios"), 0, "OK: 21 of 21 workers run")
    assert said(check(host, user="nagios"), 3, "only root may ask supervisord: run it by sudo")
    words = ["sudo", "-n", CHECK, "--textfile", "/root"]
    assert host.exec(words, user="nagios", check=False).exit_code == 1
    assert host.exec("ls -A /root | grep -c misp_workers.prom", check=False).stdout == "0\n"


@HOSTS
@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        ("supervisorctl stop|start {g}:prio_02", 2, "prio_02 STOPPED"),
        ("systemctl stop|start {u}", 2, "CRITICAL: supervisord does not run"),
        ("systemctl disable|enable {u}", 1, "WARNING: supervisord does not start at boot"),
        ("systemctl start|stop misp-workers", 1, "process(es) of the old backend run"),
        ("chmod 666|644 {c}", 3, "is no file that root alone may change"),
    ],
    ids=["worker", "supervisord", "boot", "old-workers", "group"],
)
def test_each_trouble_has_its_code(
    lab: Lab, name: str, trouble: str, code: int, words: str
) -> None:
    host = lab[name]
    group = "/etc/supervisor/conf.d/misp-workers.conf"
    if name == EL.name:
        group = "/etc/supervisord.d/misp-workers.ini"
    trouble = trouble.format(g="misp-workers", u=unit(host), c=group)
    breaking, mending = (re.sub(r"(\w+)\|(\w+)", rf"\{number}", trouble) for number in (1, 2))
    with broken(host, breaking, mending):
        if code == 1:  # old workers take a moment to start
            wait_for(lambda: check(host).exit_code == 1, 20, "the warning")
        assert said(check(host), code, words), check(host).stdout


@HOSTS
@pytest.mark.usefixtures("before")
def test_the_metrics_are_the_folders_owners(lab: Lab, name: str) -> None:
    host = lab[name]
    host.exec(f"ln -s /etc/passwd {FOLDER}/misp_workers.prom", user="node")
    assert host.exec([CHECK, "--textfile", FOLDER]).exit_code == 0
    assert host.exec(["stat", "-c", "%U %a %F", f"{FOLDER}/misp_workers.prom"]).stdout == (
        "node 644 regular file\n"
    )
    text = host.read(f"{FOLDER}/misp_workers.prom")
    assert 'misp_workers_running{queue="default"} 5\n' in text
    assert "misp_workers_check_status 0\n" in text
    host.exec(f"rm {FOLDER}/misp_workers.prom && ln -s /root {FOLDER}/below", user="node")
    refused = host.exec([CHECK, "--textfile", f"{FOLDER}/below"], check=False)
    assert said(refused, 3, "could not be written: no part of the path may be a link")
    host.exec(f"rm {FOLDER}/below")


@HOSTS
def test_the_way_back_takes_it_along(
    lab: Lab, before: dict[str, observe.Snapshot], name: str
) -> None:
    done = run.apply(lab, "--limit", name, deploy="rollback.py")
    assert done.ok, done.stderr
    assert observe.lasting(before[name].differences(observe.snapshot(lab[name]))) == []
    assert host_has_no_check(lab[name])


def host_has_no_check(host: LabHost) -> bool:
    return host.exec(["test", "-e", CHECK], check=False).exit_code == 1
