"""The lab itself: hosts are reached as in production, and are what they say they are."""

from __future__ import annotations

import subprocess

import pytest

from lab import lab as labs
from lab import misp, verify
from lab.engine import Engine
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import REHEARSAL

SPECS = REHEARSAL
NAMES = [spec.name for spec in SPECS]


@pytest.fixture(params=NAMES)
def host(request: pytest.FixtureRequest, lab: Lab) -> LabHost:
    return lab[request.param]


def test_ssh_with_sudo_works_and_knows_the_host(host: LabHost) -> None:
    command = f"{host.ssh_command} -o BatchMode=yes -o StrictHostKeyChecking=yes sudo id -u"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)  # noqa: S602
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr


def test_supervisor_is_not_there_before_the_deploy(host: LabHost) -> None:
    assert host.exec("command -v supervisord", check=False).exit_code != 0


def test_root_sees_into_processes_of_others_as_a_real_root_does(host: LabHost) -> None:
    host.exec(["runuser", "-u", host.spec.web_user, "--", "true"])
    host.exec("readlink /proc/$(pgrep -u " + host.spec.web_user + " php | head -1)/cwd")


def test_the_old_workers_do_the_jobs_that_waited(host: LabHost) -> None:
    numbers = range(1, 1 + host.spec.waiting_jobs * 5)
    check = verify.check_jobs(host, numbers, "jobs queued at the start")
    assert check.ok, check.seen
    assert {entry["backend"] for entry in misp.ledger(host)} == {"resque"}


def test_misp_answers_over_https(host: LabHost) -> None:
    version = verify.get_json(host, "/servers/getVersion")
    assert version["version"] == host.spec.profile


def test_input_arrives_and_streams_are_kept_apart(host: LabHost) -> None:
    result = host.exec("cat; echo err >&2; exit 3", input="größer\n", user="deploy", check=False)
    assert (result.stdout, result.stderr, result.exit_code) == ("größer\n", "err\n", 3)


def test_a_command_that_hangs_is_killed(host: LabHost) -> None:
    assert host.exec(["sleep", "60"], check=False, timeout=1).exit_code == 124


def test_files_are_put_with_owner_and_mode_also_on_a_tmpfs(host: LabHost) -> None:
    host.put("/run/lab-test", "text\n", mode=0o640, owner="root:deploy")
    stat = host.exec(["stat", "-c", "%U:%G %a", "/run/lab-test"]).stdout.strip()
    assert (stat, host.read("/run/lab-test")) == ("root:deploy 640", "text\n")


def test_supervisor_comes_from_epel_only(lab: Lab) -> None:
    host = lab["misp-el"]
    assert host.exec("dnf install -y supervisor", check=False).exit_code != 0
    host.exec("dnf install -y epel-release && dnf install -y supervisor", timeout=120)
    assert "/etc/supervisord.d\n" in host.exec(["rpm", "-ql", "supervisor"]).stdout
    assert host.exec("systemctl is-enabled supervisord", check=False).stdout == "disabled\n"


def test_a_selinux_module_can_be_built(lab: Lab) -> None:
    host = lab["misp-el"]
    policy = "policy_module(labtest, 1.0)\nrequire { type httpd_t; }\n"
    host.exec("mkdir -p /root/policy")
    host.put("/root/policy/labtest.te", policy)
    host.exec("cd /root/policy && make -f /usr/share/selinux/devel/Makefile labtest.pp")
    assert host.exec(["getenforce"]).stdout == "Disabled\n"


def test_a_host_comes_back_after_a_restart(host: LabHost) -> None:
    host.restart()
    test_ssh_with_sudo_works_and_knows_the_host(host)
    misp.check_services(host)
    assert host.exec("systemctl is-active misp-workers").stdout == "active\n"


def test_a_paused_host_does_not_answer_and_then_does(host: LabHost) -> None:
    with host.paused(), pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([*host.ssh_command.split(), "true"], timeout=2, check=False)
    host.wait_until_ready()


def test_running_labs_are_listed_and_not_swept(lab: Lab, engine: Engine) -> None:
    labs.sweep(engine)
    assert set(labs.running(engine)[lab.id]) >= {f"{lab.id}-{name}" for name in NAMES}
