"""Hosts that differ from the guide's, migrated side by side in one run, three of which must fail.

The failing ones are mended afterwards and the next run ends as if nothing had happened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

OWN_PASSWORD = "Operator5" * 4
LONG_JOB = 70001

SOCKET = HostSpec(
    "on-socket",
    "el-like",
    launcher="unit-other-name",
    data={"supervisor_transport": "unix", "misp_workers": {"default": 2, "prio": 3}},
)
DATABASE = HostSpec(
    "in-database",
    "debian-12",
    profile="2.4.199",
    data={"supervisor_password": {"env": "OWN_PASSWORD"}, "supervisor_port": 9101},
)
INET = HostSpec("has-inet", "debian-12", launcher="unit-execstop")
SCHEDULER = HostSpec("scheduler", "el-like", profile="2.5.18", redis="shared")
FOREIGN = HostSpec("foreign", "debian-12")
BUSY = HostSpec("busy", "debian-12", data={"drain_timeout": 3})
BROKEN = HostSpec("broken", "debian-12")

SPECS = (SOCKET, DATABASE, INET, SCHEDULER, FOREIGN, BUSY, BROKEN)
GOOD = (SOCKET, DATABASE, INET, SCHEDULER)
FAILING = {FOREIGN.name, BUSY.name, BROKEN.name}

INET_SECTION = """
[inet_http_server]
port = 127.0.0.1:9002   ; the operator's own
username = boss
password = Of%%their;own"making

[program:bystander]
command = /bin/sleep 100000
"""


@dataclass
class Seen:
    """The one run over all hosts, and what stood before it."""

    lab: Lab
    first: run.Run
    bystander: str
    supervisor_conf: str


def program_pid(host: LabHost, name: str) -> str:
    """PID of a program; something else while supervisord is not up yet."""
    return host.exec(["supervisorctl", "pid", name], check=False).stdout.strip()


def freeze_job(host: LabHost) -> None:
    """Have a job on the old backend that does not end until its process is let go."""
    misp.enqueue(host, 1, queues=("prio",), first=LONG_JOB, seconds=3)
    note = f"grep -hs {LONG_JOB} /var/lib/misp-stub/inflight/*"
    taken = json.loads(wait_for(lambda: host.exec(note, check=False).stdout, 20, "the job to run"))
    host.exec(f"pkill -STOP -P {taken['worker_pid']}")


def runs(host: LabHost, name: str) -> bool:
    return program_pid(host, name) not in ("", "0") and program_pid(host, name).isdigit()


@pytest.fixture(scope="module")
def seen(lab: Lab) -> Seen:
    misp.set_setting(lab[DATABASE.name], "system_setting_db", True)
    for name in (INET.name, FOREIGN.name):
        misp.install_supervisor(lab[name])
    lab[INET.name].exec("cat >>/etc/supervisor/supervisord.conf", input=INET_SECTION)
    program = INET_SECTION[INET_SECTION.index("[program") :]
    lab[FOREIGN.name].put("/etc/supervisor/conf.d/bystander.conf", program)
    for name in (INET.name, FOREIGN.name):
        lab[name].exec("systemctl restart supervisor")
        wait_for(partial(runs, lab[name], "bystander"), 20, f"the bystander of {name}")
    # Workers start and no job does, which only a worker shows.
    lab[BROKEN.name].exec(misp.switch("old_php", True))
    freeze_job(lab[BUSY.name])
    bystander = program_pid(lab[INET.name], "bystander")
    conf = lab[INET.name].read("/etc/supervisor/supervisord.conf")
    first = run.pyinfra(
        lab, "deploy.py", "-y", "--json", environment={"OWN_PASSWORD": OWN_PASSWORD}
    )
    return Seen(lab, first, bystander, conf)


def old_service_is_untouched(host: LabHost) -> bool:
    states = host.exec(["systemctl", "is-active", "misp-workers"], check=False).stdout
    enabled = host.exec(["systemctl", "is-enabled", "misp-workers"], check=False).stdout
    return (states.strip(), enabled.strip()) == ("active", "enabled")


def test_exactly_the_hosts_that_cannot_be_migrated_fail(seen: Seen) -> None:
    assert seen.first.exit_code == 1
    assert set(seen.first.failed_hosts) == FAILING
    assert OWN_PASSWORD not in seen.first.stdout + seen.first.stderr


@pytest.mark.parametrize("name", [spec.name for spec in GOOD])
def test_the_others_are_migrated_all_the_same(seen: Seen, name: str) -> None:
    assert observe.faults(seen.lab[name]) == []


def test_over_the_socket_there_is_no_tcp_port_and_no_password(seen: Seen) -> None:
    host = seen.lab[SOCKET.name]
    assert ":9001" not in host.exec("ss -Hltn").stdout
    socket = "/run/supervisor/supervisor.sock"
    assert host.exec(["stat", "-c", "%a %U:%G", socket]).stdout.split() == ["770", "root:apache"]
    assert observe.supervisor_password(host) == ""
    assert len(verify.workers(host)) == 2 + 3 + 5 + 5 + 1


def test_in_database_mode_the_file_is_left_alone(seen: Seen) -> None:
    host = seen.lab[DATABASE.name]
    assert "SimpleBackgroundJobs" not in host.read("/var/www/MISP/app/Config/config.php")
    stored = json.loads(host.read("/var/lib/misp-stub/system_settings.json"))
    assert stored["SimpleBackgroundJobs.enabled"] is True
    assert stored["SimpleBackgroundJobs.supervisor_port"] == 9101
    assert stored["SimpleBackgroundJobs.supervisor_password"] == OWN_PASSWORD


def test_an_rpc_section_of_the_operators_is_used_and_not_doubled(seen: Seen) -> None:
    host = seen.lab[INET.name]
    assert host.read("/etc/supervisor/supervisord.conf") == seen.supervisor_conf
    assert host.exec("ls /etc/supervisor/conf.d").stdout.split() == ["misp-workers.conf"]
    assert observe.supervisor_password(host) == 'Of%their;own"making'
    # The daemon answered already, so the operator's program was not restarted.
    assert program_pid(host, "bystander") == seen.bystander


def test_a_misp_with_a_scheduler_gets_its_program(seen: Seen) -> None:
    names = [worker.name for worker in verify.workers(seen.lab[SCHEDULER.name])]
    assert names.count("scheduler_00") == 1
    assert len(names) == 22


def test_programs_of_others_are_restarted_only_with_consent(seen: Seen) -> None:
    host = seen.lab[FOREIGN.name]
    assert "supervisord also runs bystander" in seen.first.stderr
    assert old_service_is_untouched(host)
    limited = ("--limit", host.name)
    assert run.apply(seen.lab, *limited, "--data", "allow_foreign_restart=true").ok
    assert observe.faults(host) == []
    assert program_pid(host, "bystander").isdigit()
    assert run.apply(seen.lab, *limited).changed == ()


def test_a_failed_test_job_leaves_the_old_workers_alone(seen: Seen) -> None:
    host = seen.lab[BROKEN.name]
    assert "a test job did not come through" in seen.first.stderr
    assert ": failed: its worker died over it (" in seen.first.stderr
    assert old_service_is_untouched(host)
    host.exec(misp.switch("old_php", False))
    done = run.apply(seen.lab, "--limit", host.name)
    assert done.ok, done.stderr
    assert observe.faults(host) == []


def test_the_drain_limit_cuts_no_job_and_the_next_run_finishes(seen: Seen) -> None:
    host = seen.lab[BUSY.name]
    assert "drain limit of 3 s reached with 1 running" in seen.first.stderr
    assert old_service_is_untouched(host)
    host.exec("pkill -CONT -f bin/resque")
    done = run.apply(seen.lab, "--limit", host.name, "--data", "drain_timeout=60")
    assert done.ok, done.stderr
    assert observe.faults(host) == []
    long_job = [entry for entry in misp.ledger(host) if entry.get("number") == LONG_JOB]
    assert [(entry["backend"], entry["exit"]) for entry in long_job] == [("resque", 0)]
