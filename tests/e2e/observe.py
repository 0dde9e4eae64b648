"""What a host looks like from outside the deploy: files, Redis, units, arguments of processes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from lab import misp, verify
from lab.hosts import LabHost
from lab.topology import QUEUES

# Walks what a deploy could touch. Left out: what runs by itself (journal, Redis's own dump, logs of
# the old workers) and the shared memory of rpm's database, which every `rpm -q` writes.
_FILES = r"""
import hashlib, json, os, pwd, grp, sys
seen = {}
skip = ("/var/lib/redis", "/var/lib/systemd", "/var/lib/misp-stub", "/etc/.pwd.lock")
def name(look, number):
    try: return look(number)[0]
    except KeyError: return str(number)
for top in sys.argv[1:]:
    for folder, folders, files in os.walk(top):
        folders[:] = [one for one in folders if os.path.join(folder, one) not in skip]
        files = [one for one in files if not one.startswith("resque-") and one[-4:] != "-shm"]
        for path in [folder] + [os.path.join(folder, one) for one in files]:
            try: status = os.lstat(path)
            except FileNotFoundError: continue
            content = ""
            if os.path.islink(path): content = os.readlink(path)
            elif os.path.isfile(path): content = hashlib.sha1(open(path, "rb").read()).hexdigest()
            owner = name(pwd.getpwuid, status.st_uid) + ":" + name(grp.getgrgid, status.st_gid)
            seen[path] = "%o %s %s" % (status.st_mode, owner, content)
print(json.dumps(seen))
"""

_REDIS = r"""
$seen = array();
foreach (array(0, 1, 13) as $database) {
    $redis->select($database);
    $cursor = null;
    while (($keys = $redis->scan($cursor, "*", 500)) !== false) {
        foreach ($keys as $key) { $seen["$database $key"] = sha1((string)$redis->dump($key)); }
    }
}
ksort($seen);
echo json_encode((object)$seen);
"""

MIGRATION_STATE = "/var/lib/misp-workers-migration"

# Alive by themselves: the old workers' keys and files, which carry their PIDs, MISP's logs, the
# package database (packages are kept) and Composer's cache.
ALIVE = ("resque:", "/cakeresque/tmp", "/app/tmp/", "rpmdb", "/var/lib/dnf", "/.composer/cache")


def lasting(differences: Iterable[str], alive: Iterable[str] = ALIVE) -> list[str]:
    """Those of a snapshot's differences that are not of something alive by itself."""
    return [line for line in differences if not any(word in line.lower() for word in alive)]


@dataclass(frozen=True)
class Snapshot:
    """A host's files, units and Redis keys, each as text that differs when the thing does."""

    files: dict[str, str]
    units: str
    redis: dict[str, str]

    def differences(self, other: Snapshot) -> list[str]:
        """What is not the same in `other`, named."""
        found = [
            f"{path}: {self.files.get(path, 'absent')} -> {other.files.get(path, 'absent')}"
            for path in sorted(self.files.keys() | other.files.keys())
            if self.files.get(path) != other.files.get(path)
        ]
        if self.units != other.units:
            found.append(f"units: {set(self.units.splitlines()) ^ set(other.units.splitlines())}")
        if self.redis != other.redis:
            found.append(f"redis: {set(self.redis.items()) ^ set(other.redis.items())}")
        return found


def snapshot(host: LabHost) -> Snapshot:
    """Take a snapshot of everything that a dry run must leave alone."""
    tops = ["/etc", "/usr/local", "/usr/lib/systemd", "/opt", "/var/lib", "/var/www", "/var/spool"]
    tops += ["/root", "/home", "/run/systemd/system"]
    files = host.exec(["python3", "-c", _FILES, *tops, host.spec.misp_root], timeout=120).stdout
    units = host.exec("systemctl list-unit-files --no-legend --no-pager --type=service").stdout
    active = host.exec(
        "systemctl list-units --plain --no-legend --no-pager --type=service --state=active,failed"
        # Without those of logins, and one that EL's family has run once a boot.
        " | awk '{print $1, $3, $4}' | grep -v -e '^user' -e '^session' -e '^systemd'"
        " -e '^selinux-autorelabel-mark'"
    ).stdout
    # systemctl's columns are as wide as the longest word of any unit.
    rows = [" ".join(line.split()) for line in (units + active).splitlines()]
    return Snapshot(json.loads(files), "\n".join(rows), redis_keys(host))


def redis_keys(host: LabHost) -> dict[str, str]:
    """Digest of each key in the databases that MISP's backends use."""
    keys: dict[str, str] = misp.ask_redis(host, _REDIS)
    return keys


def old_processes(host: LabHost) -> list[str]:
    """PIDs of the old workers, and of the forks that run a job of theirs."""
    # Brackets, or the shell around it finds itself.
    return host.exec("pgrep -f 'php.*bin/[r]esque'", check=False).stdout.split()


def old_workers_live(host: LabHost) -> bool:
    """Whether the old backend has a worker for each queue."""
    return len(old_processes(host)) >= len(QUEUES)


def in_flight(host: LabHost) -> int:
    """How many jobs run now, on either backend."""
    return len(host.exec(["ls", misp.IN_FLIGHT]).stdout.split())


def daemon(host: LabHost) -> int:
    """The PID of supervisord."""
    unit = misp.supervisor_unit(host.spec)
    return int(host.exec(["systemctl", "show", "-p", "MainPID", "--value", unit]).stdout)


def faults(host: LabHost) -> list[str]:
    """What a migrated host does not show as it should."""
    checks = [
        verify.check_worker_set(host),
        verify.check_processes(host),
        verify.check_old_service(host),
        verify.check_new_jobs(host),
        verify.check_web(host),
    ]
    return [f"{check.name}: {check.seen}" for check in checks if not check.ok]


def tree(host: LabHost) -> dict[str, tuple[str, str]]:
    """Kind with mode (`d 2775`), and owner, of everything in MISP's tree."""
    listed = host.exec(["find", host.spec.misp_root, "-printf", "%p\t%y %m\t%u:%g\n"]).stdout
    rows = (line.split("\t") for line in listed.splitlines())
    return {path: (mode, owner) for path, mode, owner in rows}


def supervisor_password(host: LabHost) -> str:
    """The password that the deploy gave to MISP, which must be nowhere but there."""
    script = 'include $argv[1]; echo $config["SimpleBackgroundJobs"]["supervisor_password"];'
    config = f"{host.spec.misp_root}/app/Config/config.php"
    return host.exec(["php", "-r", script, "--", config]).stdout


def files_with(host: LabHost, *secrets: str, since: float = 0) -> list[str]:
    """Paths (with mode and owner) of the files that hold one of the secrets.

    Args:
        since: leave out files that have not been touched since this time.
    """
    tops = "/etc /var /run /tmp /root /home /opt /usr/local"
    found = host.exec(
        # The secrets come by standard input: as arguments grep would find itself in /proc.
        f"exec 3<&0; find {tops} -type f -newerct @{since:.3f} -print0 2>/dev/null |"
        " xargs -0 -r grep -slF -f /dev/fd/3 2>/dev/null | xargs -r stat -c '%n %a %U'",
        input="".join(f"{secret}\n" for secret in secrets),
        check=False,
        timeout=120,
    ).stdout
    return [line for line in found.splitlines() if "/.lab-" not in line]
