"""What the new workers take while they have nothing to do."""

from __future__ import annotations

import time
from typing import Any

from lab import misp, verify
from lab.bench.options import Options
from lab.bench.verdict import Figure, Section
from lab.console import heading, step
from lab.hosts import LabHost
from lab.lab import Lab

SECONDS, QUICK_SECONDS = 90.0, 10.0
MOST_COMMANDS = 1.0
"""Redis commands a second of a whole idle set: one worker that polls each second would exceed it.

MISP's workers block in BLPOP for 30 s at a time: 21 of them make 0.7 a second."""

TICKS_A_SECOND = 100  # of /proc, on every Linux that the lab runs on

NOTES = (
    "Memory is what the processes of the group have for themselves plus their part of what they "
    "share (PSS); the workers' code is the stub's, MISP's own takes more (about 60 MB a worker).",
    "The stub's workers wait in BLPOP for 30 s at a time, as MISP's do. MISP's scheduler (from "
    "2.5.18), one more process, is not among the idle ones.",
)

# Each worker's shell and PHP: PID, PSS in kB, and the clock ticks that it has run. In brackets, or
# the look would find itself.
_PROCESSES = r"""
for status in /proc/[0-9]*/cmdline; do
    tr '\0' ' ' <"$status" 2>/dev/null | grep -q '[s]tart_worker' || continue
    process=${status%/cmdline}
    pss=$(awk '$1 == "Pss:" { print $2 }' "$process/smaps_rollup" 2>/dev/null)
    ticks=$(awk '{ print $14 + $15 }' "$process/stat" 2>/dev/null)
    [ -z "$pss" ] || echo "${process#/proc/} $pss $ticks"
done
"""
_COMMANDS = 'echo json_encode($redis->info("stats")["total_commands_processed"]);'
_OWN_COMMANDS = 3
"""The look's own: AUTH or none, INFO, and what phpredis sends on a new connection."""


def measured(lab: Lab, options: Options) -> Section:
    """Look at every host's set twice."""
    heading("Idle workers")
    seconds = QUICK_SECONDS if options.quick else SECONDS
    figures, details = [], {}
    for host in lab:
        with step(f"{host.name}: {seconds:.0f} s without a job"):
            found = _look(host, seconds)
        figures += judged(host, found)
        details[host.name] = found
    return Section("idle", "Idle workers", figures=figures, details=details, notes=NOTES)


def judged(host: LabHost, found: dict[str, Any]) -> list[Figure]:
    """Judge Redis commands; memory is only reported."""
    count = sum(verify.expected(host).values())
    return [
        Figure(
            f"Redis commands a second, {count} idle workers, {host.name}",
            found["redis_commands_a_second"],
            MOST_COMMANDS,
        ),
        Figure(
            f"memory of {count} idle workers, {host.name}",
            found["megabytes"],
            unit="MB",
            parts=f"processor time {1000 * found['cpu_seconds_a_second']:.1f} ms a second",
        ),
    ]


def _look(host: LabHost, seconds: float) -> dict[str, Any]:
    began, commands, before = time.monotonic(), _commands(host), _processes(host)
    time.sleep(seconds)
    sent = _commands(host) - commands - _OWN_COMMANDS
    after, passed = _processes(host), time.monotonic() - began
    ticks = sum(after[pid][1] - before[pid][1] for pid in after.keys() & before.keys())
    return {
        "megabytes": round(sum(pss for pss, _ in after.values()) / 1024, 1),
        "processes": len(after),
        "cpu_seconds_a_second": ticks / TICKS_A_SECOND / passed,
        "redis_commands_a_second": max(0, sent) / passed,
    }


def _commands(host: LabHost) -> int:
    return int(misp.ask_redis(host, _COMMANDS))


def _processes(host: LabHost) -> dict[str, tuple[int, int]]:
    listed = host.exec(_PROCESSES).stdout.splitlines()
    return {pid: (int(pss), int(ticks)) for pid, pss, ticks in (line.split() for line in listed)}
