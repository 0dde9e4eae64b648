"""The host's own supervisord: outside of its unit, masked, shared with another MISP, with a file
that a drop-in names; and what starts again although /var/log was cleaned.
"""

from __future__ import annotations

from functools import partial

import pytest

from lab import misp, run
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

SPECS = (HostSpec("which", "debian-12", waiting_jobs=0),)
CONF = "/etc/supervisord.conf"
UNIT_FOLDER = "/etc/systemd/system/supervisor.service.d"
DROP_IN = f"[Service]\nExecStart=\nExecStart=/usr/bin/supervisord -n -c {CONF}\n"
OTHER_MISP = """\
[group:misp-workers]
programs=default
[program:default]
directory=/srv/misp2
command=/bin/sleep 100007
user=nobody
"""


@pytest.fixture(scope="module", name="host")
def _host(lab: Lab) -> LabHost:
    host = lab["which"]
    misp.install_stopped_supervisor(host)
    return host


def check_refused(lab: Lab, host: LabHost, sentence: str) -> None:
    """A run that must say this, and leave supervisord as it is."""
    state = ["systemctl", "show", "-p", "MainPID,ActiveState,UnitFileState", "supervisor"]
    before = host.exec(state).stdout
    refused = run.pyinfra(lab, "deploy.py", "-y")
    assert refused.exit_code == 1
    assert sentence in refused.stderr
    assert host.exec(state).stdout == before


def runs(host: LabHost, program: str) -> bool:
    status = host.exec(["supervisorctl", "-c", CONF, "status", program], check=False).stdout
    return "RUNNING" in status


def test_one_that_was_started_outside_of_its_unit(lab: Lab, host: LabHost) -> None:
    start = "/usr/bin/supervisord -c /etc/supervisor/supervisord.conf"
    host.exec(f"systemd-run --quiet --unit=local-autostart --service-type=forking {start}")
    check_refused(lab, host, "stop it (`systemctl disable --now -- local-autostart.service`)")
    host.exec("systemctl stop local-autostart")


def test_one_that_the_administrator_has_masked(lab: Lab, host: LabHost) -> None:
    host.exec("systemctl mask --quiet supervisor")
    check_refused(lab, host, "run `systemctl unmask supervisor.service`")
    host.exec("systemctl unmask --quiet supervisor")


def test_one_that_has_the_workers_of_another_misp(lab: Lab, host: LabHost) -> None:
    host.exec(f"mkdir -p {UNIT_FOLDER} /etc/supervisord.d /srv/misp2")
    host.put(f"{UNIT_FOLDER}/conf.conf", DROP_IN)
    files = "s#^files = .*#files = supervisord.d/*.ini supervisord.d/*.conf#"
    host.exec(f"sed '{files}' /etc/supervisor/supervisord.conf >{CONF}")
    host.put("/etc/supervisord.d/50-workers.conf", OTHER_MISP)
    host.exec("systemctl daemon-reload && systemctl start supervisor")
    wait_for(partial(runs, host, "misp-workers:default"), 20, "the other MISP's worker")
    check_refused(lab, host, "50-workers.conf has the worker group of the MISP in /srv/misp2")
    status = run.pyinfra(lab, "status.py", "-y")
    assert "take them away" not in status.stderr
    assert "workers: 0 RUNNING, 21 wanted" in status.stderr
    assert runs(host, "misp-workers:default")
    host.exec("rm /etc/supervisord.d/50-workers.conf && systemctl stop supervisor")


def test_one_with_another_file_that_died_without_its_folder(lab: Lab, host: LabHost) -> None:
    host.exec("rm -r /var/log/supervisor")
    host.exec("systemctl start supervisor", check=False)
    wait_for(
        lambda: host.exec(f"supervisorctl -c {CONF} pid", check=False).exit_code, 20, "its end"
    )
    done = run.apply(lab).check()
    assert "cannot start without /var/log/supervisor, so the deploy makes" in done.stderr
    assert observe.faults(host) == []
    assert host.exec(["ls", "/etc/supervisord.d"]).stdout == "misp-rpc.ini\nmisp-workers.ini\n"
    assert host.exec(["ls", "/etc/supervisor/conf.d"]).stdout == ""
    assert run.apply(lab).check().changed == ()


def test_it_starts_again_although_its_logs_folders_are_gone(lab: Lab, host: LabHost) -> None:
    host.exec("systemctl stop supervisor && rm -r /var/log/supervisor /var/log/misp-workers")
    host.exec("systemctl start supervisor")
    wait_for(lambda: observe.faults(host) == [], 30, "the workers")
    assert host.exec("stat -c '%a %U:%G' /var/log/misp-workers").stdout == "750 root:www-data\n"
    assert run.apply(lab).check().changed == ()


def test_the_way_back_leaves_the_unit_as_it_was(lab: Lab, host: LabHost) -> None:
    run.apply(lab, deploy="rollback.py").check()
    assert host.exec(["ls", UNIT_FOLDER]).stdout == "conf.conf\n"
    assert "misp-workers" not in host.exec("systemctl cat supervisor").stdout
    assert observe.old_workers_live(host)
