"""Brings the MISP stub of a freshly booted host into the state that its specification asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.directory import LabDirectory
from lab.errors import LabError
from lab.hosts import LabHost
from lab.topology import DEFAULT_ROOT, QUEUES, HostSpec

STUB = "/usr/local/share/misp-stub"
STUB_CONFIG = "/etc/misp-stub.json"
LEDGER = "/var/lib/misp-stub/ledger.jsonl"
IN_FLIGHT = "/var/lib/misp-stub/inflight"
SHARED_REDIS = "redis"

OLD_UNITS = {
    "unit-always": "misp-workers.service",
    "unit-execstop": "misp-workers.service",
    "unit-other-name": "workers.service",
    "rc-local": "rc-local.service",
}
"""The unit that starts the old workers, for the launchers that are units."""

DATA_COMMANDS = ("processfreetext", "processmoduleresult", "publish_sightings")
"""Those of MISP's jobs whose input is too big for an argument."""

_SWITCH = (
    "$switches = json_decode(file_get_contents($argv[1]), true); "
    "$switches[$argv[2]] = (bool) $argv[3]; file_put_contents($argv[1], json_encode($switches));"
)
# Read by PHP and written back as PHP, as MISP itself does it.
_SET = """
include $argv[1];
$config["MISP"][$argv[2]] = json_decode($argv[3]);
file_put_contents($argv[1], "<?php\\n\\$config = " . var_export($config, true) . ";\\n");
"""

_CONNECT = r"""
$in = json_decode(stream_get_contents(STDIN), true);
$redis = new Redis();
$redis->connect($in["host"], 6379, 5);
if ($in["password"] !== "") { $redis->auth($in["password"]); }
$redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
"""


def settings(spec: HostSpec, directory: LabDirectory) -> dict[str, Any]:
    """Return the host data that an operator would give for this MISP."""
    data: dict[str, Any] = {}
    if spec.misp_root != DEFAULT_ROOT:
        data["misp_root"] = spec.misp_root
    if spec.redis == "shared":
        data["misp_redis_host"] = SHARED_REDIS
        data["misp_redis_password"] = {"file": str(directory.redis_password_file)}
    return data


def set_up(host: LabHost, directory: LabDirectory) -> None:
    """Configure the stub, start the old workers, and give them jobs to do."""
    configure_stub(
        host,
        api_key=host.api_key_file.read_text(),
        old_worker_interval=host.spec.old_worker_interval,
    )
    if host.spec.redis == "shared":
        use_redis(host, SHARED_REDIS, directory.redis_password)
    start_old_workers(host)
    check_services(host)
    if host.spec.waiting_jobs:
        enqueue(host, host.spec.waiting_jobs)


def configure_stub(host: LabHost, **changes: Any) -> None:
    """Change keys of the stub's own configuration, keeping the file's owner and mode."""
    config = json.loads(host.read(STUB_CONFIG))
    replace(host, STUB_CONFIG, json.dumps({**config, **changes}, indent=2) + "\n")


def replace(host: LabHost, path: str, text: str) -> None:
    """Replace a file's content in place, so that owner and mode stay."""
    host.exec(["sh", "-c", 'cat >"$1"', "sh", path], input=text)


def use_redis(host: LabHost, address: str, password: str, port: int = 6379) -> None:
    """Point MISP and CakeResque at a Redis that wants a password, as an administrator would."""
    # The password comes by standard input: a value in an argument would be in the process list.
    script = 'STUB_REDIS_PASSWORD=$(cat) exec sh "$@"'
    arguments = [f"{STUB}/set-redis.sh", host.spec.misp_root, address, str(port)]
    host.exec(["sh", "-c", script, "sh", *arguments], input=password)
    # MISP's own Redis on the host would hide a deploy that connects to the wrong one.
    host.exec(["systemctl", "disable", "--quiet", "--now", redis_unit(host.spec)])
    reload_php(host)


def start_old_workers(host: LabHost) -> None:
    """Install the launcher that the specification names, and start the old workers by it."""
    spec = host.spec
    launcher = [f"{STUB}/install-launcher.sh", spec.launcher, spec.misp_root, spec.web_user]
    host.exec(["sh", *launcher])
    if unit := OLD_UNITS.get(spec.launcher):
        host.exec("systemctl daemon-reload")
        host.exec(["systemctl", "start", unit])
    else:
        by_hand = f"bash {spec.misp_root}/app/Console/worker/start.sh"
        host.exec(["su", "-s", "/bin/bash", spec.web_user, "-c", by_hand])


def install_supervisor(host: LabHost) -> None:
    """Install supervisor beforehand, for hosts that used it already before the migration."""
    if host.family == "debian":
        host.exec("apt-get update -qq && apt-get install -y -qq supervisor", timeout=180)
    else:
        host.exec("dnf install -y epel-release && dnf install -y supervisor", timeout=180)
        host.exec("systemctl enable --quiet --now supervisord")


def install_stopped_supervisor(host: LabHost) -> None:
    """Install supervisor beforehand and stop it, so that the package will be no difference."""
    install_supervisor(host)
    host.exec(["systemctl", "disable", "--now", "--quiet", supervisor_unit(host.spec)])


def set_setting(host: LabHost, key: str, value: object) -> None:
    """Change a setting of MISP's own block in config.php."""
    config = f"{host.spec.misp_root}/app/Config/config.php"
    host.exec(["php", "-r", _SET, "--", config, key, json.dumps(value)], user=host.spec.web_user)
    reload_php(host)


def switch(name: str, is_on: bool) -> str:
    """The shell that turns one of the stub's switches on or off (lab/stub/README.md)."""
    return f"php -r '{_SWITCH}' {STUB_CONFIG} {name} {int(is_on)}"


def check_services(host: LabHost) -> None:
    """Make sure that the host is what it claims to be before anything is tried on it.

    Raises:
        LabError: with the journal of each service that failed.
    """
    failed = host.exec("systemctl --failed --no-legend --plain | awk '{print $1}'").stdout.split()
    if failed:
        units = [option for unit in failed for option in ("-u", unit)]
        journal = host.exec(["journalctl", "--no-pager", "-n", "30", *units], check=False).stdout
        raise LabError(f"{host.name}: failed services: {', '.join(failed)}\n{journal}")


def enqueue(  # noqa: PLR0913 # as many as the stub's own command has
    host: LabHost,
    count: int,
    *,
    queues: Sequence[str] = QUEUES,
    first: int = 1,
    seconds: float = 0,
    extra: Sequence[str] = (),
) -> list[int]:
    """Put COUNT jobs into each of QUEUES, as MISP would; returns their numbers.

    Args:
        first: the number of the first job; the ledger shows jobs by number.
        seconds: how long each job takes.
        extra: further options of the stub's enqueue command.
    """
    script = f"{host.spec.misp_root}/app/Console/stub_enqueue.php"
    more = ["--sleep", f"{seconds:g}", *extra] if seconds else list(extra)
    for index, queue in enumerate(queues):
        number = str(first + index * count)
        options = ["--queue", queue, "--number", number, "--count", str(count), *more]
        host.exec(["php", script, *options], user=host.spec.web_user)
    return list(range(first, first + count * len(queues)))


@dataclass(frozen=True)
class DataJob:
    """A job whose input lies in a file (old backend) or in Redis (new), until the job reads it.

    Attributes:
        job_id: the old backend's or the new one's, as it was enqueued.
        digest: of the data, as the ledger has it when they have arrived.
    """

    number: int
    job_id: str
    digest: str


def enqueue_data(
    host: LabHost,
    count: int,
    *,
    commands: Sequence[str] = DATA_COMMANDS,
    first: int = 1,
    extra: Sequence[str] = (),
) -> list[DataJob]:
    """Put COUNT jobs of each of COMMANDS, with data, where MISP puts them: into the queue prio.

    Args:
        first: the number of the first job; the ledger shows jobs by number, once they have data.
        extra: further options of the stub's enqueue command, such as ``--legacy``.
    """
    script = f"{host.spec.misp_root}/app/Console/stub_enqueue.php"
    jobs: list[DataJob] = []
    for index, command in enumerate(commands):
        start = first + index * count
        what = ["--data", command, "--number", str(start), "--count", str(count), *extra]
        done = host.exec(["php", script, "--queue", "prio", *what], user=host.spec.web_user)
        lines = enumerate(done.stdout.splitlines(), start)
        jobs += [DataJob(number, *line.split()) for number, line in lines]
    return jobs


def ledger(host: LabHost) -> list[dict[str, Any]]:
    """Return what the stub wrote down of every job it ran, oldest first."""
    return _records(host.exec(f"cat {LEDGER} 2>/dev/null || true").stdout)


def jobs_taken_before(host: LabHost, at: float) -> set[int]:
    """Return the numbers of the jobs that were taken before a time and have not ended."""
    # The stub keeps a note of each job until it has ended; see lab/stub's Ledger.php.
    notes = f"find {IN_FLIGHT} -type f ! -newermt @{at:.3f} -exec awk 1 {{}} +"
    jobs = [note["args"] for note in _records(host.exec(notes).stdout)]
    return {int(arguments[1]) for arguments in jobs if arguments[0] == "stubJob"}


def _records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def ask_redis(host: LabHost, php: str) -> Any:
    """Run PHP code with `$redis` connected to where the host's queues are; gives its JSON."""
    at = {"host": "127.0.0.1", "password": ""}
    if host.spec.redis == "shared":
        reference = host.data["misp_redis_password"]["file"]
        at = {"host": SHARED_REDIS, "password": Path(reference).read_text(encoding="utf-8")}
    script = ["/usr/bin/php", "-r", _CONNECT + php]
    return json.loads(host.exec(script, input=json.dumps(at)).stdout)


def supervisor_unit(spec: HostSpec) -> str:
    """Return the name of supervisord's service on a host of this family."""
    return "supervisor.service" if spec.family == "debian" else "supervisord.service"


def redis_unit(spec: HostSpec) -> str:
    """Return the name of the Redis service on a host of this family."""
    return "redis-server.service" if spec.family == "debian" else "redis.service"


def php_unit(host: LabHost) -> str:
    """Return the name of the PHP-FPM service of this host."""
    listed = host.exec(
        "systemctl list-units --plain --no-legend --all 'php*fpm.service' | awk '{print $1}'"
    ).stdout.split()
    if not listed:
        raise LabError(f"{host.name} has no PHP-FPM service.")
    return listed[0]


def reload_php(host: LabHost) -> None:
    """Let PHP-FPM read changed files again."""
    host.exec(["systemctl", "reload", php_unit(host)])
