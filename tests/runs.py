"""A made-up run with a host of each outcome, as its records have it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from tasks.report import record
from tasks.report.record import (
    CHANGED,
    FAILED,
    UNCHANGED,
    CutOver,
    Job,
    Jobs,
    Proof,
    Report,
    Sample,
    Step,
    Worker,
)
from tasks.setting_types import DEFAULT_WORKERS

NAME = "2026-11-28T211343Z-deploy"
BEGAN = datetime(2026, 11, 28, 21, 13, 43, tzinfo=timezone.utc)
STEPS = [
    ("Preflight", 2.1),
    ("Packages: supervisor", 14.2),
    ("PHP libraries: Composer's five", 31.7),
    ("supervisord: running, RPC on the loopback only", 3.9),
    ("SELinux: module, label, boolean", 0.1),
    ("MISP: settings, and the web tier has read them", 4.8),
    ("Workers: the group, exactly its processes", 2.6),
    ("Proof: a job on every queue, MISP's own view", 16.3),
    ("Drain: the old workers finish their jobs", 212.4),
    ("Retire: the old workers stop for good", 3.2),
    ("Scheduled tasks: to cron or MISP's own scheduler", 0.2),
]
OLD = {"misp": "2.5.1", "php": "8.2.20", "redis": "7.0.15"}
NEW = {**OLD, "supervisor": "4.2.5", "supervisorphp/supervisor": "4.0.0"}
CRON = "17 * * * * www-data exec flock -n misp-task-pull_all.lock cake Server pullAll 1 full"
PLAN: dict[str, Any] = {
    "host": "misp1.example.org",
    "steps": [
        {
            "step": "Packages: supervisor",
            "limit": 1800,
            "changes": [{"kind": "package", "name": "supervisor", "after": "4.2.5-1"}],
        },
        {
            "step": "Workers: the group, exactly its processes",
            "limit": 1800,
            "changes": [
                {
                    "kind": "file",
                    "name": "/etc/supervisor/conf.d/misp-workers.conf",
                    "diff": ["+[group:misp-workers]", "+programs=default,prio,email,cache,update"],
                }
            ],
        },
    ],
}


def at(seconds: float) -> str:
    """A time of the run, as a record has it."""
    return record.now((BEGAN + timedelta(seconds=seconds)).timestamp())


def steps(count: int, last: str = CHANGED, **changes: Any) -> list[Step]:
    """The first steps; the last one with another outcome, empty: it was cut off."""
    found, start = [], 0.0
    for name, seconds in STEPS[:count]:
        outcome = UNCHANGED if name.startswith(("Preflight", "SELinux", "Drain")) else CHANGED
        made = Step(name, at(start), at(start + seconds), seconds, outcome, [], [])
        made.calls = [f"{name.partition(':')[0].lower()}.apply: Do it."] * (outcome == CHANGED)
        found.append(made)
        start += seconds
    found[-1].outcome = last if last != CHANGED else found[-1].outcome
    if not last:
        found[-1].ended = ""
    for name, value in changes.items():
        setattr(found[-1], name, value)
    found[-1].seconds = record.seconds_between(found[-1].started, found[-1].ended)
    return found


def report(host: str, outcome: str, made: list[Step], **values: Any) -> Report:
    """A record with what every host's has."""
    is_begun = len(made) > 1
    return Report(
        host,
        "deploy",
        outcome,
        step=made[-1].step if is_begun else "",
        started=at(0),
        ended=made[-1].ended,
        operator="maria@admin-pc",
        project={"version": "0.1.0", "commit": "9adf6ece6883b956d4c4bb4a324e8056cd9c2f7c"},
        data={"misp_root": "/var/www/MISP", "misp_redis_password": {"env": "REDIS_PASSWORD"}},
        steps=made,
        changed=[one.step for one in made if one.outcome == CHANGED],
        output=f"/home/maria/reports/runs/{NAME}/output.log",
        **{"versions": {"before": OLD}, **values},
    )


def workers() -> list[Worker]:
    """The guide's worker set."""
    names = [(queue, number) for queue, count in DEFAULT_WORKERS.items() for number in range(count)]
    return [
        Worker(f"misp-workers:{queue}_{number:02d}", queue, 20_731 + at_, at(57 + at_ / 10))
        for at_, (queue, number) in enumerate(names)
    ]


def proof() -> Proof:
    """A job through each queue."""
    return Proof(
        at=at(75),
        jobs=[
            Job(queue, f"3f1c9a52-7d1e-4c58-9b0a-2e6f4d8a7c{number:02d}", at(66), 0.3 + number / 9)
            for number, queue in enumerate(DEFAULT_WORKERS)
        ],
        view={queue: {"workers": n, "good": n} for queue, n in DEFAULT_WORKERS.items()},
        supervisord_status=True,
        over_rest=True,
    )


def drain(start: float, seconds: float, waiting: int) -> list[Sample]:
    """A backlog that is worked off, with some delayed jobs that become due."""
    found = []
    for look in range(60):
        done = look / 59
        left = round(waiting * max(0.0, 1 - done * 1.15) ** 1.4)
        running = 4 if left else (1 if done < 0.95 else 0)
        found.append(Sample(at(start + seconds * done), left, running, 3 if done < 0.6 else 0))
    return found


def sample() -> list[Report]:
    """The run's hosts, by name."""
    proven = {"workers": workers(), "proof": proof(), "cut_over": CutOver(at(56.5), at(56.8))}
    limit = "drain limit of 60 s reached with 41 waiting in prio, 1 running. Run again later, raise"
    problems = [
        "Composer is neither in app/ nor on the PATH: get it from getcomposer.org",
        "PID 1 is bash: supervisord has to be started by systemd",
    ]
    return [
        report(
            "misp1.example.org",
            record.DONE,
            steps(11),
            **proven,
            versions={"before": OLD, "after": NEW},
            jobs=Jobs(drained=187),
            drain=[Sample(at(1.9), 185, 4, 3), Sample(at(67.2), 142, 4, 3), *drain(75.7, 212, 140)],
            scheduled_tasks=["# pull_all of user 1: every 24 h", CRON],
            plan=PLAN,
        ),
        report(
            "misp2.example.org",
            record.DRAIN_LIMIT,
            steps(
                9,
                FAILED,
                says=["old backend: 120 waiting in prio, 4 running", limit],
                ended=at(136),
            ),
            **proven,
            cause=limit,
            jobs=Jobs(drained=79, converted=3),
            drain=drain(75.7, 90, 120)[:40],
        ),
        report(
            "misp3.example.org",
            record.REFUSED,
            steps(1, FAILED, says=problems),
            cause="; ".join(problems),
        ),
        report(
            "misp4.example.org",
            record.NOT_PROVEN_RETURNED,
            steps(8, FAILED, says=["a test job did not come through: failed: Error: no class"]),
            cause="a test job did not come through: failed: Error: no class (cache, email); the "
            "host is as it was before: MISP queues to its old workers (installed packages stay)",
            cut_over=CutOver(at(56.5), at(56.8)),
            jobs=Jobs(moved=2),
        ),
        report("misp5.example.org", record.INTERRUPTED, steps(3, ""), may_have_changed=["x: Do."]),
    ]
