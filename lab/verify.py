"""Looks at a migrated host by other means than the deploy: what supervisord, systemd, the process
table, the stub's ledger and MISP's web tier say, each by itself.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from lab import misp
from lab.errors import LabError
from lab.hosts import LabHost
from lab.topology import QUEUES
from lab.waiting import wait_for

GROUP = "misp-workers"
GUIDE_WORKERS: Mapping[str, int] = {
    "default": 5,
    "email": 5,
    "cache": 5,
    "prio": 5,
    "update": 1,
}
"""Workers per queue in MISP's migration guide."""

NEW_JOBS_FROM = 9001
"""Numbers of the jobs that are given to the new workers; the old ones' are far below."""

_STATUS = re.compile(rf"^{GROUP}:(?P<name>\S+)\s+(?P<state>[A-Z]+)(?:\s+pid (?P<pid>\d+),)?", re.M)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it was as it should be, and what was seen."""

    name: str
    ok: bool
    seen: str


@dataclass(frozen=True)
class Worker:
    """A process that supervisord runs for MISP."""

    name: str
    state: str
    pid: int

    @property
    def queue(self) -> str:
        """The queue, which is the program's name."""
        return self.name.rpartition("_")[0] or self.name


def workers(host: LabHost) -> list[Worker]:
    """Ask supervisord on the host for MISP's group, by its own client."""
    # The client's exit code says only that some process is not RUNNING, so it is not used.
    return parse_status(host.exec(["supervisorctl", "status"], check=False).stdout)


def parse_status(text: str) -> list[Worker]:
    """Read the lines of ``supervisorctl status`` that belong to MISP's group."""
    return [
        Worker(found["name"], found["state"], int(found["pid"] or 0))
        for found in _STATUS.finditer(text)
    ]


def expected(host: LabHost) -> dict[str, int]:
    """Return the workers per queue that this host's data ask for."""
    return {**GUIDE_WORKERS, **host.spec.data.get("misp_workers", {})}


def check_worker_set(host: LabHost) -> Check:
    """The exact set is RUNNING: none missing, none extra, each with a live process."""
    found = workers(host)
    running = Counter(worker.queue for worker in found if worker.state == "RUNNING")
    others = [f"{worker.name} {worker.state}" for worker in found if worker.state != "RUNNING"]
    seen = ", ".join(f"{queue} {count}" for queue, count in sorted(running.items())) or "none"
    wanted = expected(host)
    extra = {"scheduler": running["scheduler"]} if running["scheduler"] == 1 else {}
    good = not others and dict(running) == {**wanted, **extra}
    return Check(
        "workers RUNNING in supervisord",
        good,
        f"{sum(running.values())}: {seen}"
        + (f"; not running: {', '.join(others)}" if others else ""),
    )


def check_processes(host: LabHost) -> Check:
    """The process table agrees: as many workers, of the web user, as there should be."""
    listed = host.exec(["ps", "-eo", "user:32,args"]).stdout.splitlines()
    owners = Counter(
        line.split()[0] for line in listed if "cake.php" in line and " start_worker " in line
    )
    good = dict(owners) == {host.spec.web_user: sum(expected(host).values())}
    seen = ", ".join(f"{count} of {user}" for user, count in owners.items()) or "none"
    return Check("worker processes in the process table", good, seen)


def check_old_service(host: LabHost) -> Check:
    """The old workers are gone and do not come back at the next boot."""
    name = "old workers stopped and disabled"
    old = _old_processes(host)
    unit = misp.OLD_UNITS.get(host.spec.launcher)
    if unit is None or not host.spec.launcher.startswith("unit"):  # rc-local.service lives on
        return Check(name, not old, f"{host.spec.launcher}, {len(old)} processes")
    active = host.exec(["systemctl", "is-active", unit], check=False).stdout.strip()
    enabled = host.exec(["systemctl", "is-enabled", unit], check=False).stdout.strip()
    good = active in ("inactive", "failed") and enabled in ("disabled", "masked") and not old
    return Check(name, good, f"{unit}: {active}, {enabled}, {len(old)} processes")


def _old_processes(host: LabHost) -> list[str]:
    listed = host.exec(["ps", "-eo", "args"]).stdout.splitlines()
    return [line for line in listed if re.search(r"\bresque\b|CakeResque", line)]


def check_jobs(host: LabHost, numbers: Iterable[int], name: str, seconds: float = 60) -> Check:
    """Every one of the jobs NUMBERS ended well, exactly once."""
    wanted = set(numbers)

    def runs() -> Counter[int]:
        return Counter(
            int(entry["number"])
            for entry in misp.ledger(host)
            if entry.get("number") in wanted and entry.get("exit") == 0
        )

    with contextlib.suppress(LabError):  # the counts below say it better
        wait_for(lambda: len(runs()) == len(wanted), seconds, name)
    done = runs()
    lost, twice = sorted(wanted - set(done)), sorted(n for n, times in done.items() if times > 1)
    seen = f"{len(done)} of {len(wanted)}"
    seen += f", lost: {lost}" if lost else ""
    seen += f", run twice: {twice}" if twice else ""
    return Check(name, not lost and not twice, seen)


def check_new_jobs(host: LabHost) -> Check:
    """A new job in each queue, given as MISP gives it, is done by the new workers."""
    used = [int(entry.get("number") or 0) for entry in misp.ledger(host)]
    numbers = misp.enqueue(host, 1, first=max([*used, NEW_JOBS_FROM - 1]) + 1)
    name = "new jobs done by the new workers"
    check = check_jobs(host, numbers, name)
    backends = {
        str(entry["backend"]) for entry in misp.ledger(host) if entry.get("number") in numbers
    }
    # "simple" is the stub's word for MISP's SimpleBackgroundJobs.
    return Check(name, check.ok and backends == {"simple"}, f"{check.seen} ({', '.join(backends)})")


def get_json(host: LabHost, path: str) -> Any:
    """GET a path of the host's MISP as its administrator, with the certificate checked."""
    response = requests.get(
        host.https_url + path,
        headers={"Authorization": host.api_key_file.read_text(), "Accept": "application/json"},
        verify=str(host.ca_bundle),
        timeout=30,
    )
    if response.status_code != requests.codes.ok:
        raise LabError(
            f"{host.name}: GET {path} gives {response.status_code}: {response.text[:300]}"
        )
    return response.json()


def check_web(host: LabHost) -> Check:
    """MISP's own view over HTTPS: the new backend answers and every queue's workers are alive."""
    name = "MISP's own view over HTTPS"
    try:
        answer = get_json(host, "/servers/getWorkers")
    except (LabError, requests.RequestException) as error:
        return Check(name, False, str(error))
    if not isinstance(answer, dict):
        return Check(name, False, str(answer)[:200])
    alive = {
        queue: sum(bool(w.get("alive")) for w in (answer.get(queue) or {}).get("workers") or ())
        for queue in QUEUES
    }
    status = answer.get("supervisord_status")
    seen = f"{sum(alive.values())} alive, supervisord_status {status}"
    return Check(name, status is True and alive == expected(host), seen)


def check_host(host: LabHost, old_jobs: Sequence[int]) -> list[Check]:
    """Look at everything that a migrated host must show."""
    return [
        check_worker_set(host),
        check_processes(host),
        check_old_service(host),
        check_jobs(host, old_jobs, "jobs queued before the run: done once"),
        check_new_jobs(host),
        check_web(host),
    ]
