"""Numbered jobs through MISP's web tier, all along a migration, and what became of each of them.

As in MISP the web process decides, by the configuration that it has at that moment, which backend
gets a job. A number is sent once and never again, so the stub's ledger shows what was lost and what
was run twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import requests

from lab import misp
from lab.hosts import LabHost
from lab.paths import REPOSITORY
from lab.topology import QUEUES
from lab.waiting import wait_for

FILE = REPOSITORY / "reports" / "load.json"
SETTLED, STUCK = 300.0, 30.0  # seconds for all jobs to end, and for nothing to move
FIRST = 100_000
SPAWNED = 1_000_000
"""Added to a job's number: that of the job which it enqueues itself."""

# Coprime with each other and with the number of queues: every queue gets every kind.
_LONG_EACH, _SPAWN_EACH = 11, 7


@dataclass(frozen=True)
class Job:
    """A numbered job; the number alone says what it is like."""

    number: int

    @property
    def queue(self) -> str:
        """The queue that it is sent to."""
        return QUEUES[self.number % len(QUEUES)]

    @property
    def seconds(self) -> int:
        """Return the job's duration: most take no time, some 1 to 3 s."""
        return 1 + self.number % 3 if self.number % _LONG_EACH == 0 else 0

    @property
    def spawned(self) -> int | None:
        """The number of the job that it enqueues at its end, if it does."""
        return self.number + SPAWNED if self.number % _SPAWN_EACH == 0 else None

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of the request to the stub's web tier."""
        asked: dict[str, Any] = {"queue": self.queue}
        if self.seconds:
            asked["sleep"] = self.seconds
        if self.spawned:
            asked["spawn"] = f"{self.spawned},{QUEUES[self.number // len(QUEUES) % len(QUEUES)]}"
        return asked


@dataclass(frozen=True)
class Sent:
    """A job, when the request for it began, and what the web tier said.

    Attributes:
        backend: `simple` or `resque`; empty when the web tier did not accept the job.
        problem: what came instead; a request without any answer may have left a job or not.
    """

    job: Job
    at: float
    backend: str = ""
    problem: str = ""


class Producer:
    """Sends one job after the other to a host, from a thread, until it is told to stop."""

    def __init__(self, host: LabHost, pace: float, first: int = FIRST) -> None:
        self.host = host
        self.sent: list[Sent] = []
        self._pace = pace
        self._next = first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"jobs for {host.name}")

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self.sent.append(self._send(Job(self._next)))
            self._next += 1
            # After a stall it goes on at its pace: a burst would be another test.
            due = max(due + 1 / self._pace, time.monotonic())

    def _send(self, job: Job) -> Sent:
        at = time.time()
        try:
            # A connection for each request, since a kept one may be closed by a reload meanwhile.
            answer = requests.post(
                f"{self.host.https_url}/stub_jobs/enqueue/{job.number}",
                json=job.fields,
                headers={
                    "Authorization": self.host.api_key_file.read_text(),
                    "Accept": "application/json",
                    "Connection": "close",
                },
                verify=str(self.host.ca_bundle),
                timeout=60,
            )
        except requests.RequestException as error:
            return Sent(job, at, problem=f"{type(error).__name__}: {error}"[:200])
        if answer.status_code != requests.codes.ok:
            return Sent(job, at, problem=f"{answer.status_code}: {answer.text}"[:200])
        return Sent(job, at, backend=str(answer.json()["backend"]))


@dataclass(frozen=True)
class Outcome:
    """The fate of the jobs of one host; times are in seconds.

    Attributes:
        enqueued: jobs that the web tier accepted, and those that these enqueued.
        unsure: requests that were refused or not answered, which leave no job or one.
        longest_wait: from the request to the job's start, of those sent during the cut-over.
        to_first_new_job: from `enabled` in config.php to the first job that a new worker began.
    """

    enqueued: int
    run: int
    by: Mapping[str, int]
    lost: list[int]
    twice: list[int]
    failed: list[int]
    unsure: list[str] = field(default_factory=list)
    longest_wait: float = 0.0
    longest_wait_number: int = 0
    longest_wait_otherwise: float = 0.0
    to_first_new_job: float | None = None


def outcome(
    sent: Iterable[Sent],
    ledger: Iterable[Mapping[str, Any]],
    cut_over: tuple[float, float],
    enabled: float | None = None,
) -> Outcome:
    """Compare what was sent with the ledger.

    Args:
        cut_over: when the deploy began and when it ended.
        enabled: when MISP was told to use the new backend.
    """
    all_sent = list(sent)
    entries = [entry for entry in ledger if int(entry.get("number") or 0) >= FIRST]
    runs = Counter(int(entry["number"]) for entry in entries)
    wanted = numbers(all_sent)
    started = {int(entry["number"]): float(entry["started"]) for entry in entries}
    waits = [
        (started[one.job.number] - one.at, one.job.number, cut_over[0] <= one.at <= cut_over[1])
        for one in all_sent
        if one.job.number in started
    ]
    at_cut_over = max((wait[:2] for wait in waits if wait[2]), default=(0.0, 0))
    otherwise = max((wait[0] for wait in waits if not wait[2]), default=0.0)
    to_new = [
        float(e["started"]) - enabled for e in entries if enabled and e["backend"] == "simple"
    ]
    # A later run of a deploy may have written the configuration once more: then it is not known.
    to_first = min(to_new, default=-1.0)
    return Outcome(
        enqueued=len(wanted),
        run=sum(number in runs for number in wanted),
        by=dict(Counter(str(entry["backend"]) for entry in entries)),
        lost=sorted(wanted - runs.keys()),
        # Whatever was or was not answered: nothing at all may run twice.
        twice=sorted(number for number, times in runs.items() if times > 1),
        failed=sorted(int(entry["number"]) for entry in entries if entry.get("exit") != 0),
        unsure=[f"{one.job.number}: {one.problem}" for one in all_sent if one.problem],
        longest_wait=round(at_cut_over[0], 2),
        longest_wait_number=at_cut_over[1],
        longest_wait_otherwise=round(otherwise, 2),
        to_first_new_job=round(to_first, 2) if to_first >= 0 else None,
    )


def numbers(sent: Iterable[Sent]) -> set[int]:
    """Every number that has to be in the ledger, those of the jobs enqueued by jobs included."""
    accepted = [one.job for one in sent if one.backend]
    return {job.number for job in accepted} | {job.spawned for job in accepted if job.spawned}


# Every list of waiting jobs, set of delayed ones and mark of a running one, with its length.
_LEFT = r"""
$seen = array();
foreach (range(0, 15) as $database) {
    $redis->select($database);
    $cursor = null;
    while (($keys = $redis->scan($cursor, "*", 500)) !== false) {
        foreach ($keys as $key) {
            $type = $redis->type($key);
            if ($type === Redis::REDIS_LIST) { $seen["$database $key"] = $redis->lLen($key); }
            if ($type === Redis::REDIS_ZSET) { $seen["$database $key"] = $redis->zCard($key); }
            if (strpos($key, ":running:") !== false) { $seen["$database $key"] = 1; }
        }
    }
}
echo json_encode((object)$seen);
"""


def left(host: LabHost) -> dict[str, int]:
    """Count unfinished jobs: by Redis key of either backend, and those in flight."""
    flying = host.exec("ls /var/lib/misp-stub/inflight").stdout.split()
    return {**misp.ask_redis(host, _LEFT), **dict.fromkeys(flying, 1)}


def settle(host: LabHost, sent: Iterable[Sent]) -> None:
    """Wait until every job has ended and nothing is left, or nothing has moved for a while."""
    wanted, moved = numbers(sent), time.monotonic()
    seen: tuple[int, int] = (0, 0)

    def is_settled() -> bool:
        nonlocal moved, seen
        entries, waiting = misp.ledger(host), left(host)
        done = {int(entry.get("number") or 0) for entry in entries}
        if wanted <= done and not waiting:
            return True
        now = (len(entries), sum(waiting.values()))
        moved, seen = (moved, seen) if now == seen else (time.monotonic(), now)
        return time.monotonic() - moved > STUCK

    limit = SETTLED + len(wanted)
    wait_for(is_settled, limit, f"{host.name}: the jobs to end", interval=1)


def enabled_at(host: LabHost) -> float:
    """Return the time of the last write of MISP's configuration, in a deploy that of `enabled`."""
    config = f"{host.spec.misp_root}/app/Config/config.php"
    return float(host.exec(["stat", "-c", "%.9Y", config]).stdout)


@contextmanager
def producing(
    hosts: Iterable[LabHost], pace: float, first: int = FIRST
) -> Iterator[list[Producer]]:
    """Send jobs to each of HOSTS during a block, PACE of them a second, numbered from FIRST."""
    with ExitStack() as stack:
        yield [stack.enter_context(Producer(host, pace, first)) for host in hosts]


def write_report(name: str, figures: Mapping[str, Any]) -> None:
    """Put one run's figures into reports/load.json, beside those of the others."""
    FILE.parent.mkdir(exist_ok=True)
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps({**known, name: figures}, indent=2) + "\n")
