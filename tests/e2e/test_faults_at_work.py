"""Faults that strike after preflight, and faults of migrated hosts.

Each host lives through faults that strike while it is migrated: the operator reads the cause, the
report says where the host is, and after mending it is migrated. Then through faults of a migrated
host: `status.py` names each, and the next run makes good what is not mended by hand. Every job that
a host was given in all that time is done exactly once.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tasks.report import record
from tests.e2e import observe
from tests.e2e.test_faults import CONFIG, TMP, stored

pytestmark = pytest.mark.resilience

STATE = "/var/lib/misp-workers-migration"
# A file of one of the five, which Composer cannot copy although all packages can be resolved.
SOURCE = "/usr/share/misp-stub/packages/lstrojny-fxmlrpc-0.22.0/src/Client.php"
PACKAGES = "/usr/share/misp-stub/packages"
ADMIN = "/var/www/MISP/app/Console/Command/AdminShell.php"
CLI_INI = "/etc/php/8.2/cli/conf.d/99-short.ini"
# The command line of a step ends with its function.
INSTALL_BEGAN = "pgrep -f 'misp-workers-migration [p]ackages.install'"
# The second one as well: on a busy machine the workers are old when the first one begins.
PROOF_BEGAN = r"pgrep -f 'misp-workers-migration ([w]orkers.wait_until_stable|[p]roof.prove)'"
PROVEN = f"test -s {STATE}/proven"
LONG_JOB = 70001
DELAYED_JOB = 70002
ORPHAN_JOB = 70003
FULL_JOB = 70004


@dataclass(frozen=True)
class Fault:
    """A fault as shell commands, when it strikes, and what the operator has to read.

    Attributes:
        outcome: the report's word for where the host is then.
        strikes: a command that succeeds when it is time to spoil; before the run by default.
        takes_jobs: whether MISP can enqueue while it is there.
    """

    name: str
    spoil: str
    mend: str
    says: str
    outcome: str = record.FAILED
    strikes: str = ""
    takes_jobs: bool = True


# What was due in two hours is due now, as when these have passed.
BRING_FORWARD = """
old=$(redis-cli zrange resque:_schdlr_ 0 0); new=$(date +%s)
redis-cli rename resque:_schdlr_:$old resque:_schdlr_:$new
redis-cli zrem resque:_schdlr_ $old; redis-cli zadd resque:_schdlr_ $new $new
"""


COMPOSER = HostSpec("composer", "debian-12", profile="2.4.199", waiting_jobs=0)
VIEWS = HostSpec("views", "el-like", profile="2.4.199", waiting_jobs=0)
PROOF = HostSpec("proof", "debian-12", waiting_jobs=0)
SYNTAX = HostSpec("syntax", "debian-12", waiting_jobs=0)
DELAYED = HostSpec("delayed", "el-like", profile="2.4.199", waiting_jobs=0)
FROZEN = HostSpec("frozen", "debian-12", waiting_jobs=0, data={"drain_timeout": 10})
SPECS = (COMPOSER, VIEWS, PROOF, SYNTAX, DELAYED, FROZEN)

NO_PROC = "MISP's process sees no /proc: add it to PHP's open_basedir, or see SELinux's log"
DURING = {
    COMPOSER.name: (
        Fault(
            "no-room",
            f"mkdir -p -m 700 {STATE} && mount -t tmpfs -o size=64k,mode=700 tmpfs {STATE}",
            f"mount -o remount,size=300m {STATE}",  # preflight wants 195 MiB
            f"no room in {STATE}",
            strikes=INSTALL_BEGAN,
        ),
        Fault(
            "unreadable",
            f"chmod 0 {SOURCE}",
            f"chmod 644 {SOURCE}",
            "composer.json, composer.lock and Vendor are as before. If this host has no way to "
            "Packagist",
        ),
    ),
    VIEWS.name: (
        Fault(
            "old-php",
            misp.switch("old_php", True),
            misp.switch("old_php", False),
            "failed: its worker died over it (",
            record.NOT_PROVEN_RETURNED,
        ),
    ),
    PROOF.name: (
        Fault(
            "proc-hidden",
            misp.switch("proc_hidden", True),
            misp.switch("proc_hidden", False),
            NO_PROC,
            record.NOT_PROVEN_RETURNED,
        ),
        Fault(
            "daemon-stopped",
            "systemctl stop supervisor",
            "true",
            "the workers do not stay",
            record.NOT_PROVEN_RETURNED,
            PROOF_BEGAN,
        ),
        Fault(
            "broken-class",
            f"sed -i.kept '/function redisReady/,/{{/s/{{/{{ new NoSuchClass();/' {ADMIN}",
            f"mv {ADMIN}.kept {ADMIN}",
            'come through: failed: Error: Class "NoSuchClass" not found (',
            record.NOT_PROVEN_RETURNED,
            PROOF_BEGAN,
        ),
    ),
    SYNTAX.name: (
        Fault(
            "syntax",
            "printf '[program:x\\ncommand' >/etc/supervisor/conf.d/x.conf",
            "rm /etc/supervisor/conf.d/x.conf",
            "supervisord cannot read /etc/supervisor/conf.d/x.conf: File contains no section",
            record.REFUSED,
        ),
        Fault(
            "redis-restarted",
            "systemctl restart redis-server",
            "true",
            "done, ",
            record.DONE,
            PROOF_BEGAN,
        ),
    ),
    DELAYED.name: (
        Fault(
            "delayed",
            "true",
            BRING_FORWARD,
            "min, and the drain limit is 30 min. Raise drain_timeout, or set",
            record.DRAIN_LIMIT,
        ),
    ),
    FROZEN.name: (
        Fault(
            "frozen",
            "systemctl kill --signal=STOP redis-server",
            "systemctl kill --signal=CONT redis-server",
            "read error on connection",  # of the drain, or a moment later of what retires
            record.DRAIN_LIMIT,
            PROVEN,
        ),
    ),
}

# Of migrated hosts: what status.py says, and what is done by hand before the next run.
AFTER = {
    COMPOSER.name: (
        Fault(
            "wrong-password",
            stored('$config["SimpleBackgroundJobs"]["supervisor_password"] = "wrong";'),
            f"rm {CONFIG}.kept",
            "leaves them (SimpleBackgroundJobs.supervisor_password)",
        ),
        Fault(
            "libraries-gone",
            "cd /var/www/MISP && runuser -u www-data -- git checkout --quiet app/composer.json && "
            "rm -r app/Vendor/supervisorphp",
            "true",
            "MISP's own view (cake Admin getWorkers) is wrong: ",
        ),
    ),
    VIEWS.name: (
        Fault(
            "daemon-down",
            "systemctl stop supervisord",
            "true",
            "supervisord is inactive: run `systemctl start supervisord`",
        ),
        Fault(
            "group-edited",
            "sed -i '/program:update/,$ s/^numprocs=1/numprocs=2/; s/^startsecs=.*/startsecs=0/' "
            "/etc/supervisord.d/misp-workers.ini && supervisorctl update",
            "true",
            "misp-workers:update_01 is not wanted: run the deploy again",
        ),
    ),
    PROOF.name: (
        Fault(
            "stopped-mid-job",
            "for n in 0 1 2 3 4; do supervisorctl stop misp-workers:prio_0$n; done",
            "true",
            "misp-workers:prio_03, misp-workers:prio_04 are STOPPED",
        ),
        Fault(
            "socket-timeout",
            f"echo default_socket_timeout=20 >{CLI_INI}",
            f"rm {CLI_INI}",
            "PHP's command line gives up on Redis after 20 s, but an idle worker waits 30 s",
        ),
    ),
    SYNTAX.name: (
        Fault(
            "disk-full",
            f"mount -t tmpfs -o size=4m,mode=755 tmpfs {TMP} && install -d -o www-data {TMP}/logs "
            f"&& chown www-data {TMP} && ! dd if=/dev/zero of={TMP}/full bs=64k status=none",
            f"umount {TMP}",
            f"{TMP} has 0 MiB free, but 97 are needed: make room",
        ),
        Fault(
            "redis-wants-password",
            "redis-cli config set requirepass secret",
            "REDISCLI_AUTH=secret redis-cli config set requirepass ''",
            "namespace background_jobs, cannot be used: NOAUTH",
            takes_jobs=False,
        ),
    ),
    DELAYED.name: (
        Fault(
            "daemon-has-another-password",
            "sed -i 's/^password=.*/password={SHA}0000000000000000000000000000000000000000/' "
            "/etc/supervisord.d/misp-rpc.ini && systemctl restart supervisord",
            "true",
            "MISP cannot reach supervisord",
        ),
    ),
    FROZEN.name: (
        Fault(
            "odd-settings",
            stored(
                '$config["SimpleBackgroundJobs"]["enabled"] = 1; '
                'unset($config["SimpleBackgroundJobs"]["max_job_history_ttl"]);'
            ),
            f"rm {CONFIG}.kept",
            "workers of the new backend run, but MISP does not use it, and no old worker runs, so",
            takes_jobs=False,
        ),
    ),
}
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])


@dataclass(frozen=True)
class Seen:
    """What a run said of a fault, and the report that it left."""

    run: run.Run
    report: record.Report | None = None


@dataclass(frozen=True)
class Life:
    """What a host lived through: its jobs, its faults, and a last run when all were made good."""

    jobs: list[int]
    seen: dict[str, Seen]
    last: run.Run


def strike(host: LabHost, fault: Fault) -> None:
    """Spoil the host when it is time."""
    if fault.strikes:
        is_time = ["sh", "-c", fault.strikes]
        wait_for(lambda: not host.exec(is_time, check=False).exit_code, 240, f"{fault.name}'s time")
    host.exec(fault.spoil)


def deploy(lab: Lab, host: LabHost, fault: Fault, directory: Path) -> Seen:
    """Deploy while the fault strikes, and mend it."""
    with ThreadPoolExecutor(1) as pool:
        striking = pool.submit(strike, host, fault)
        if not fault.strikes:
            striking.result()
        done = run.pyinfra(
            *(lab, "deploy.py", "-y", "--limit", host.name),
            environment={record.VARIABLE: str(directory / fault.name)},
        )
        striking.result()
    host.exec(fault.mend)
    (report,) = [one for path in (directory / fault.name).iterdir() for one in record.read(path)]
    return Seen(done, report)


def live_through(lab: Lab, host: LabHost, directory: Path) -> Life:
    """All faults of a host, and a run after each that has to be good."""
    limited = ("--limit", host.name, "--data", "drain_timeout=90")
    jobs = misp.enqueue(host, 1, queues=QUEUES, first=101) + prepare(host)
    seen = {fault.name: deploy(lab, host, fault, directory) for fault in DURING[host.name]}
    jobs += misp.enqueue(host, 1, queues=QUEUES, first=201)
    run.apply(lab, *limited).check()
    for number, fault in enumerate(AFTER[host.name]):
        # Some faults end supervisord, and on EL its jobs with it: none is to be under way then.
        verify.check_jobs(host, jobs, "jobs")
        jobs += spoil(host, fault)
        if fault.takes_jobs:
            jobs += misp.enqueue(host, 1, queues=QUEUES, first=301 + 100 * number)
        seen[fault.name] = Seen(run.pyinfra(lab, "status.py", "--dry", "--limit", host.name))
        host.exec(fault.mend)
        run.apply(lab, *limited).check()
    jobs += misp.enqueue(host, 1, queues=QUEUES, first=501)
    return Life(jobs, seen, run.apply(lab, *limited))


def prepare(host: LabHost) -> list[int]:
    """What has to be there beforehand for some of the faults; gives the numbers of its jobs."""
    if host.name == SYNTAX.name:
        misp.install_supervisor(host)
        up = ["supervisorctl", "pid"]
        wait_for(lambda: not host.exec(up, check=False).exit_code, 30, "supervisord to answer")
    if host.name == FROZEN.name:
        return misp.enqueue(host, 1, queues=("prio",), first=LONG_JOB, seconds=30)
    if host.name == DELAYED.name:
        delay = ("--delay", "7200")
        return misp.enqueue(host, 1, queues=("default",), first=DELAYED_JOB, extra=delay)
    return []


def spoil(host: LabHost, fault: Fault) -> list[int]:
    """Make a migrated host's fault, with a job under way where that matters; gives its number."""
    if fault.name == "stopped-mid-job":
        jobs = misp.enqueue(host, 1, queues=("prio",), first=ORPHAN_JOB, seconds=15)
        note = f"grep -hs {ORPHAN_JOB} /var/lib/misp-stub/inflight/*"
        wait_for(lambda: host.exec(note, check=False).stdout, 20, "the job to run")
        host.exec(fault.spoil)
        return jobs
    host.exec(fault.spoil)
    if fault.name == "disk-full":
        jobs = misp.enqueue(host, 1, queues=("cache",), first=FULL_JOB)
        check = verify.check_jobs(host, jobs, "a job on a full disk")
        assert check.ok, check.seen
        return jobs
    return []


Lives = dict[str, Future[Life]]


@pytest.fixture(scope="module")
def lives(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lives:
    """Every host lives by itself: one that waits or fails keeps no other from going on."""
    directory = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor(len(SPECS)) as pool:
        return {
            host.name: pool.submit(live_through, lab, host, directory / host.name) for host in lab
        }


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, id=fault.name)
        for name, faults in DURING.items()
        for fault in faults
    ],
)
def test_the_operator_reads_the_cause_and_where_the_host_is(
    lives: Lives, name: str, fault: Fault
) -> None:
    seen = lives[name].result().seen[fault.name]
    assert fault.says in seen.run.stderr, seen.run.stderr
    assert "Traceback" not in seen.run.stderr
    if fault.outcome == record.NOT_PROVEN_RETURNED:
        # Once when it fails and once at the run's end, and not with the whole of the logs.
        assert sum(fault.says in line for line in seen.run.stderr.splitlines()) <= 2
        assert "#0 " not in seen.run.stderr
    assert seen.report is not None
    assert seen.report.outcome == fault.outcome


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, id=fault.name)
        for name, faults in AFTER.items()
        for fault in faults
    ],
)
def test_status_names_the_fault_of_a_migrated_host(lives: Lives, name: str, fault: Fault) -> None:
    seen = lives[name].result().seen[fault.name].run
    assert seen.exit_code == 1
    assert fault.says in seen.stderr, seen.stderr
    assert "1 fault:" in seen.stderr, seen.stderr


@HOSTS
def test_it_ends_migrated(lab: Lab, lives: Lives, name: str) -> None:
    lives[name].result()
    assert observe.faults(lab[name]) == []


@HOSTS
def test_every_job_is_done_exactly_once(lab: Lab, lives: Lives, name: str) -> None:
    check = verify.check_jobs(lab[name], lives[name].result().jobs, "jobs")
    assert check.ok, check.seen


@HOSTS
def test_then_there_is_nothing_to_do(lives: Lives, name: str) -> None:
    assert lives[name].result().last.ok, lives[name].result().last.stderr
    assert lives[name].result().last.changed == ()
