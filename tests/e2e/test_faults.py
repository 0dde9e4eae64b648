"""Hosts with a fault that preflight can see: what the operator reads, and that nothing was touched.

Each host has one fault after the other, each mended before the next. At the end both are migrated,
with faults on them that the migration mends itself, and every job that was given to them since the
first fault is done exactly once.

Where each failure mode of MISP's background jobs is shown (no name: in this module; "at work" is
test_faults_at_work.py; names in brackets are tests or rows):

    Settings
      keys missing, enabled as 1, port as string   here, mended; at work (odd-settings)
      config.php unwritable, broken, another owner  here; test_bad_input
      settings in the database, encrypted          test_variants (in-database); here
      stale in the web tier (opcache)              test_migration (the lab's FPM never looks again)
    supervisord
      wrong password on either side                at work (wrong-, daemon-has-another-password)
      down, stopped under a run, killed            at work (daemon-down, -stopped); test_after
      port taken, % and the like in a password     test_bad_input
      syntax of a file, second misp-workers file   at work (syntax); here
      RPC for everybody, supervisor too old        here
      worker stopped over a job, left STOPPED      at work (stopped-mid-job)
      group file edited: startsecs=0, 2 update     at work (group-edited)
      supervisor's host cannot be resolved         here, mended
    PHP and Composer
      classes missing, partial or damaged Vendor   here, mended; at work (libraries-gone)
      Composer fails: offline, no room             at work
      no way out but a proxy, a wrong password     test_proxy
      supervisorphp 5.1, no message-factory        here, mended
      PHP too old, for MISP or for jobs            test_bad_input (php); at work (old-php)
      php outside the PATH of jobs                 here
      functions disabled, an environment needed    here
      default_socket_timeout <= 30                 here; at work
    Users and /proc
      PHP-FPM or the data name another user        here; test_bad_input (misp_web_user)
      /proc hidden from the web process            here (open-basedir); at work (proc-hidden)
      cake not executable, noexec, app/tmp closed  here
      owners changed under running workers         test_migration (nothing gets another owner)
    Redis
      down, wants a password, frozen, blackholed   test_bad_input; here; at work (frozen)
      restarted in a run, away for a minute        at work (redis-restarted); test_after
      of the old backend alone                     here
      igbinary, shared with another MISP, eviction here; test_bad_input (redis-in-use)
    Jobs
      output that is no UTF-8                      here
      long old job, one that enqueues another      test_variants (busy); here; test_load
      delayed ones (scheduled tasks)               at work (delayed)
      one old worker, or the old scheduler, dead   test_drain
      a queue that never runs empty, long new jobs test_changes
      PIDs of the old backend that are others' now here
      unit with Restart=always and ExecStop        test_migration, test_rollback; here
    The host and the run
      memory, disk                                 here; at work (disk-full, no-room)
      half-finished earlier run                    test_interrupted
      scheduler program, one update worker, counts test_variants; test_bad_input

A container cannot show: SELinux's transitions and labels, a full disk of the real kind under
Composer's download, supervisorphp 3 and PHP 7.4 themselves, a proxy in front of the loopback,
/proc/PID that only SELinux hides, and the 24 hours after which a job's input is gone from Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from lab import misp, run, verify
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import QUEUES, HostSpec
from lab.waiting import wait_for
from tests.e2e import observe

DEBIAN = HostSpec("faulty-debian", "debian-12", launcher="unit-execstop", waiting_jobs=0)
EL = HostSpec("faulty-el", "el-like", profile="2.4.199", waiting_jobs=0)
SPECS = (DEBIAN, EL)
HOSTS = pytest.mark.parametrize("name", [spec.name for spec in SPECS])

CONFIG = "/var/www/MISP/app/Config/config.php"
RESQUE = "/var/www/MISP/app/Plugin/CakeResque/Config/config.php"
TMP = "/var/www/MISP/app/tmp"
SUPERVISOR = "/etc/supervisor"
LIMIT = 60.0  # seconds for a run on a host where something does not answer


@dataclass(frozen=True)
class Fault:
    """A fault as shell commands that make and mend it, and what the operator has to read."""

    name: str
    spoil: str
    mend: str
    says: str
    data: tuple[str, ...] = ()


def stored(statement: str) -> str:
    """Another config.php: PHP that changes its $config, the original kept aside."""
    edit = 'include $argv[1]; %s file_put_contents($argv[1], "<?php\\n\\$config = " . %s . ";\\n");'
    code = edit % (statement, "var_export($config, true)")
    return f"cp -p {CONFIG} {CONFIG}.kept && php -r '{code}' {CONFIG}"


def file_there(path: str, text: str) -> tuple[str, str]:
    """A file in a folder that was not there before."""
    folder = path[: path.rindex("/")]
    return f"mkdir -p {folder} && printf '{text}' >{path}", f"rm -f {path}; rmdir -p {folder} || :"


KEPT = f"mv {CONFIG}.kept {CONFIG}"
STRANGER = "systemd-run --quiet --unit=stranger"
NO_STRANGER = "systemctl stop stranger"
# A queue of connections that is full: nothing that arrives is answered.
BLACK_HOLE = (
    "import socket, time; at = ('127.0.0.1', 6399); s = socket.socket(); s.bind(at); s.listen(0); "
    "c = [socket.socket() for _ in range(9)]; [one.setblocking(False) for one in c]; "
    "[one.connect_ex(at) for one in c]; time.sleep(600)"
)
FPM_POOL = "/etc/php-fpm.d/www.conf"
CAKE = "/var/www/MISP/app/Console/cake"
PHP = "/etc/php/8.2"
FPM_ANEW = "systemctl reset-failed php8.2-fpm; systemctl restart php8.2-fpm"
REMI = "/opt/remi/php82/root/usr/bin"
# A php that needs more than a job has: its environment is empty.
PHP_WRAPPER = r"""printf '#!/bin/bash\n[ "$HOME" ] || { echo "HOME is not set" >&2; exit 9; }\n"""
PHP_WRAPPER += r"""exec /usr/bin/php-itself "$@"\n' >/usr/bin/php && chmod 755 /usr/bin/php"""
MEMINFO = "printf 'MemAvailable: 200000 kB\\n' >/run/meminfo && mount --bind /run/meminfo"

ON_DEBIAN = (
    Fault(
        "config-unwritable",
        f"chmod 440 {CONFIG}",
        f"chmod 660 {CONFIG}",
        "www-data may not write /var/www/MISP/app/Config or exchange config.php in it",
    ),
    Fault(
        "config-syntax",
        f"cp -p {CONFIG} {CONFIG}.kept && echo '<?php $config = array(;' >{CONFIG}",
        KEPT,
        f"{CONFIG} has a syntax error in line 1",
    ),
    Fault(
        "background-jobs-off",
        stored('$config["MISP"]["background_jobs"] = false;'),
        KEPT,
        "MISP.background_jobs is false, so MISP queues no jobs",
    ),
    Fault(
        "igbinary",
        stored('$config["SimpleBackgroundJobs"]["redis_serializer"] = "igbinary";'),
        KEPT,
        "SimpleBackgroundJobs.redis_serializer is igbinary, but the test jobs need JSON",
    ),
    Fault(
        "database-encrypted",
        stored('$config["MISP"]["system_setting_db"] = $config["Security"]["encryption_key"] = 1;'),
        KEPT,
        "MISP keeps its settings encrypted in the database (Security.encryption_key)",
    ),
    Fault(
        "php-elsewhere",
        "mv /usr/bin/php /usr/local/sbin/php",
        "mv /usr/local/sbin/php /usr/bin/php",
        "php is in none of /usr/local/bin, /usr/bin and /bin, the only places where jobs look",
    ),
    Fault(
        "php-of-remi",
        f"mkdir -p {REMI} && mv /usr/bin/php {REMI}/php && cp -p {CAKE} {CAKE}.kept && "
        f"sed -i 's,exec php,exec {REMI}/php,' {CAKE}",
        f"mv {CAKE}.kept {CAKE}; mv {REMI}/php /usr/bin/php; rm -r /opt/remi",
        f"run `ln -s {REMI}/php /usr/local/bin/php`. A job has no PATH but bash's default one",
    ),
    Fault(
        "cake-of-root",
        f"chown root:root {CAKE} && chmod 750 {CAKE}",
        f"chown www-data:www-data {CAKE} && chmod 775 {CAKE}",
        f"www-data may not execute {CAKE} (root:root 750), and workers and jobs run it as www-data"
        f": run `find -H /var/www/MISP -xdev -path {CAKE} \\( -type d -o -links 1 \\) "
        "-execdir chown -h www-data:www-data {} +`, then `setsid -w runuser -u www-data -- chmod",
    ),
    Fault(
        "noexec",
        "mount --bind /var/www /var/www && mount -o remount,bind,noexec /var/www",
        "umount /var/www",
        f"/var/www is mounted noexec, so workers and jobs cannot run {CAKE}: run `mount -o "
        "remount,exec /var/www`, and take noexec out of /etc/fstab",
    ),
    Fault(
        "proc-open-disabled",
        f"echo disable_functions=exec,proc_open >{PHP}/cli/conf.d/99-safe.ini",
        f"rm {PHP}/cli/conf.d/99-safe.ini",
        "PHP's command line may not call proc_open, which MISP starts jobs with: take it out of "
        f"disable_functions in {PHP}/cli/conf.d/99-safe.ini",
    ),
    Fault(
        "curl-exec-disabled-in-fpm",
        f"echo disable_functions=curl_exec >{PHP}/fpm/conf.d/99-safe.ini; {FPM_ANEW}",
        f"rm {PHP}/fpm/conf.d/99-safe.ini; {FPM_ANEW}",
        "PHP-FPM at /run/php/php8.2-fpm.sock may not call curl_exec, by which MISP asks supervis",
    ),
    Fault(
        "socket-timeout",
        "echo default_socket_timeout=30 >/etc/php/8.2/cli/conf.d/99-short.ini",
        "rm /etc/php/8.2/cli/conf.d/99-short.ini",
        "PHP's command line gives up on Redis after 30 s, but an idle worker waits 30 s",
    ),
    Fault(
        "another-misps-group",
        *file_there(
            f"{SUPERVISOR}/conf.d/misp-workers.conf", "[program:default]\\ndirectory=/srv/misp\\n"
        ),
        f"{SUPERVISOR}/conf.d/misp-workers.conf has the worker group of the MISP in /srv/misp",
    ),
    Fault(
        "not-included",
        *file_there(f"{SUPERVISOR}/supervisord.conf", "[include]\\nfiles = /srv/own.conf\\n"),
        f"{SUPERVISOR}/supervisord.conf does not include {SUPERVISOR}/conf.d/misp-workers.conf",
    ),
    Fault(
        "no-supervisord-section",
        *file_there(f"{SUPERVISOR}/supervisord.conf", "[include]\\nfiles = conf.d/*.conf\\n"),
        f"{SUPERVISOR}/supervisord.conf has no [supervisord], so supervisord does not start",
    ),
    Fault(
        "worker-in-a-unit",
        f"{STRANGER} --uid=www-data php -r 'sleep(600);' -- {CAKE}.php start_worker prio",
        NO_STRANGER,
        "in stranger.service), so nothing stops them between two jobs: stop each while it runs no",
    ),
    Fault(
        "jobs-wait-already",
        "redis-cli -n 1 rpush background_jobs:default a-record",
        "redis-cli -n 1 del background_jobs:default",
        "1 job(s) already wait in Redis at localhost:6379, database 1, namespace background_jobs",
    ),
    Fault(
        "old-backends-redis",
        f"cp -p {RESQUE} {RESQUE}.kept && sed -i \"s/'password' => null/'password' => 'x'/\" "
        f"{RESQUE}",
        f"mv {RESQUE}.kept {RESQUE}",
        "the old workers' Redis does not say how many jobs wait: the password is refused",
    ),
    Fault(
        "redis-blackholed",
        f'{STRANGER} python3 -c "{BLACK_HOLE}"; until ss -Hltn | grep -q :6399; do sleep 0.1; done',
        NO_STRANGER,
        "6399, database 1, namespace background_jobs cannot be used with the credentials that MISP "
        "will have: Connection timed out",
        ("--data", "misp_redis_port=6399"),
    ),
)

ON_EL = (
    Fault(
        "config-folder",
        f"chown root $(dirname {CONFIG})",
        f"chown apache $(dirname {CONFIG})",
        "apache may not write /var/www/MISP/app/Config or exchange config.php in it",
    ),
    Fault(
        "web-user",
        f"sed -i.kept 's/^user = apache/user = nobody/' {FPM_POOL} && systemctl restart php-fpm",
        f"mv {FPM_POOL}.kept {FPM_POOL} && systemctl restart php-fpm",
        "PHP serves the web as nobody, but config.php belongs to apache",
    ),
    Fault(
        "open-basedir-of-fpm",
        f"cp -p {FPM_POOL} {FPM_POOL}.kept && echo 'php_admin_value[open_basedir] = /var/www:/etc:"
        f"/var/lib:/usr:/tmp' >>{FPM_POOL} && systemctl restart php-fpm",
        f"mv {FPM_POOL}.kept {FPM_POOL} && systemctl restart php-fpm",
        "PHP-FPM at /run/php-fpm/www.sock may not look at /proc, where MISP looks at its workers: "
        "add /proc to its open_basedir (/var/www:/etc:/var/lib:/usr:/tmp)",
    ),
    Fault(
        "php-needs-home",
        f"mv /usr/bin/php /usr/bin/php-itself && {PHP_WRAPPER}",
        "mv /usr/bin/php-itself /usr/bin/php",
        "One that was tried as apache, without environment as workers start it, ended so: HOME is "
        "not set (exit status 9)",
    ),
    Fault(
        "tmp-of-root",
        f"chown root {TMP} && chmod g-w {TMP}",
        f"chown apache {TMP} && chmod g+w {TMP}",
        f"apache may not write {TMP} or its folder cache, so jobs fail: correct owners and modes",
    ),
    Fault(
        "second-workers-file",
        *file_there("/etc/supervisord.d/other.ini", "[group:misp-workers]\\nprograms=prio\\n"),
        "/etc/supervisord.d/other.ini has a group misp-workers, or a program with the name of",
    ),
    Fault(
        "rpc-on-all-addresses",
        "printf '[inet_http_server]\\nport=*:9001\\nusername=a\\npassword=hunter2hunt\\n' "
        ">/etc/supervisord.conf",
        "rm /etc/supervisord.conf",
        "in /etc/supervisord.conf listens on *:9001, where other hosts can stop",
    ),
    Fault(
        "old-supervisor",
        "printf '#!/bin/sh\\necho 3.3.1\\n' >/usr/local/bin/supervisord; "
        "chmod 755 /usr/local/bin/supervisord",
        "rm /usr/local/bin/supervisord",
        "supervisor is 3.3.1, where an RPC client can run code as root",
    ),
    Fault(
        "disk-full",
        f"mount -t tmpfs -o size=8m,mode=755 tmpfs {TMP} && chown apache {TMP}",
        f"umount {TMP}",
        f"{TMP} has 8 MiB free, but 195 are needed: make room",
    ),
    Fault(
        "memory",
        f"{MEMINFO} /proc/meminfo",
        "umount /proc/meminfo; rm /run/meminfo",
        "the host has 195 MiB of memory free, but 21 more workers take about 246 MiB",
    ),
    Fault(
        "another-misps-workers",
        f"{STRANGER} redis-cli -n 1 blpop background_jobs:default 600; "
        "until redis-cli client list | grep -q cmd=blpop; do sleep 0.1; done",
        NO_STRANGER,
        "1 worker(s) of another MISP wait for jobs in Redis at ",
    ),
    Fault(
        "redis-wants-password",
        "redis-cli config set requirepass secret",
        "REDISCLI_AUTH=secret redis-cli config set requirepass ''",
        "cannot be used with the credentials that MISP will have: NOAUTH",
    ),
    Fault(
        "redis-frozen",
        "systemctl kill --signal=STOP redis",
        "systemctl kill --signal=CONT redis",
        "cannot be used with the credentials that MISP will have: read error on connection",
    ),
)


@dataclass(frozen=True)
class Refusal:
    """What a run said of a fault, and what it left on the host."""

    run: run.Run
    left: list[str]


@dataclass(frozen=True)
class Story:
    """All refusals by their names, and the end: one run over both hosts that have to be mended."""

    lab: Lab
    refusals: dict[str, Refusal]
    jobs: dict[str, list[int]]
    planned: run.Run
    last: run.Run
    again: run.Run


def refuse_all(lab: Lab, host: LabHost, faults: Sequence[Fault]) -> dict[str, Refusal]:
    seen = {}
    before = observe.snapshot(host)
    for fault in faults:
        host.exec(fault.spoil)
        try:
            done = run.pyinfra(lab, "deploy.py", "-y", "--limit", host.name, *fault.data)
        finally:
            host.exec(fault.mend)
        after = observe.snapshot(host)
        seen[fault.name] = Refusal(done, before.differences(after))
        before = after
    return seen


# --- what the migration mends itself ------------------------------------------------------------

ODD_BLOCK = """$config["SimpleBackgroundJobs"] = array("enabled" => 1, "redis_host" => "127.0.0.1",
"redis_port" => "6379", "redis_database" => "1", "supervisor_host" => "nowhere.invalid");"""
# Composer as it was run by somebody before us, in a way that the guide warns of.
COMPOSER = "cd /var/www/MISP/app && runuser -u {0} -- env HOME=$(getent passwd {0} | cut -d: -f6) "
COMPOSER += (
    "php composer.phar require --no-interaction --quiet --update-no-dev --with-all-dependencies"
)
STALE = 'a:2:{s:4:"type";s:7:"regular";s:5:"queue";s:7:"default";}'
SPAWNING, SPAWNED, BINARY, EARLY, LATE = 301, 302, 303, 1, 101


def spoil_what_is_mended(lab: Lab) -> None:
    debian, el = lab[DEBIAN.name], lab[EL.name]
    debian.exec(COMPOSER.format("www-data") + " supervisorphp/supervisor:5.1.0", timeout=120)
    debian.exec(stored(ODD_BLOCK) + f" && rm {CONFIG}.kept")
    # As after a reboot: the old backend's list has a PID that is somebody else's now.
    debian.exec(f"{STRANGER} --uid=www-data sleep 1000")
    pid = debian.exec("systemctl show -p MainPID --value stranger").stdout.strip()
    debian.exec(["redis-cli", "hset", "resque:ResqueWorker", pid, STALE])
    el.exec("redis-cli config set maxmemory-policy allkeys-lru")
    # Without php-http/message-factory, which php-http/message does not ask for any more, and with
    # a package that Composer takes for installed.
    three = "supervisorphp/supervisor:^4.0 guzzlehttp/guzzle lstrojny/fxmlrpc php-http/message"
    el.exec(f"{COMPOSER.format('apache')} {three}", timeout=120)
    el.exec("rm /var/www/MISP/app/Vendor/guzzlehttp/guzzle/src/Client.php")


def enqueue_all(host: LabHost) -> list[int]:
    """Jobs of all kinds for the old workers; one enqueues another on the way."""
    numbers = misp.enqueue(host, 2, queues=QUEUES, first=LATE)
    spawning = ("--spawn", f"{SPAWNED},default")
    numbers += misp.enqueue(host, 1, queues=("prio",), first=SPAWNING, seconds=30, extra=spawning)
    numbers += misp.enqueue(host, 1, queues=("email",), first=BINARY, extra=("--binary",))
    return [*numbers, SPAWNED]


@pytest.fixture(scope="module")
def story(lab: Lab) -> Story:
    hosts = [lab[spec.name] for spec in SPECS]
    jobs = {host.name: misp.enqueue(host, 1, queues=QUEUES, first=EARLY) for host in hosts}
    for host in hosts:
        wait_for(lambda host=host: len(misp.ledger(host)) == len(QUEUES), 30, "the early jobs")  # type: ignore[misc]
    with ThreadPoolExecutor(len(hosts)) as pool:
        both = pool.map(refuse_all, [lab, lab], hosts, (ON_DEBIAN, ON_EL))
        refusals = {name: seen for one in both for name, seen in one.items()}
    for host in hosts:
        jobs[host.name] += enqueue_all(host)
    spoil_what_is_mended(lab)
    planned = run.plan(lab)
    last = run.apply(lab)
    # Output that is no UTF-8 leaves a cut-off record behind, which a run must not mind.
    for host in hosts:
        jobs[host.name] += misp.enqueue(host, 1, queues=("email",), first=401, extra=("--binary",))
    return Story(lab, refusals, jobs, planned, last, run.apply(lab))


@pytest.mark.parametrize("fault", [*ON_DEBIAN, *ON_EL], ids=lambda fault: fault.name)
def test_it_is_refused_with_its_cause_and_nothing_is_touched(story: Story, fault: Fault) -> None:
    seen = story.refusals[fault.name]
    assert seen.run.exit_code == 1, seen.run.stderr
    assert "refused before any change" in seen.run.stderr
    assert fault.says in seen.run.stderr
    assert "Traceback" not in seen.run.stderr
    assert seen.left == []
    assert seen.run.seconds < LIMIT


def test_a_password_of_the_operators_that_others_can_read_or_guess_is_noted(story: Story) -> None:
    said = story.refusals["rpc-on-all-addresses"].run.stderr
    assert "every user can read /etc/supervisord.conf with the RPC's password in clear" in said
    assert "the RPC's password in /etc/supervisord.conf has 11 characters" in said
    assert "hunter2hunt" not in said


@HOSTS
def test_after_all_of_them_the_host_is_migrated(story: Story, name: str) -> None:
    assert story.last.ok, story.last.stderr
    host = story.lab[name]
    checks = [
        verify.check_worker_set(host),
        verify.check_old_service(host),
        verify.check_new_jobs(host),
        verify.check_web(host),
    ]
    assert [f"{check.name}: {check.seen}" for check in checks if not check.ok] == []


@HOSTS
def test_every_job_since_the_first_fault_is_done_exactly_once(story: Story, name: str) -> None:
    check = verify.check_jobs(story.lab[name], story.jobs[name], "jobs")
    assert check.ok, check.seen


@HOSTS
def test_what_the_migration_mends_itself_is_said_beforehand(story: Story, name: str) -> None:
    assert story.planned.ok, story.planned.stderr
    mended = [one.name for one in story.planned.plan if name in one.change]
    assert [word for word in ("PHP libraries", "MISP: settings") if word not in str(mended)] == []
    assert "maxmemory-policy is allkeys-lru" in story.planned.stderr


def test_a_process_that_has_an_old_workers_pid_is_left_alone(story: Story) -> None:
    assert story.lab[DEBIAN.name].exec("systemctl is-active stranger").stdout.strip() == "active"


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.again.ok, story.again.stderr
    assert story.again.changed == ()
