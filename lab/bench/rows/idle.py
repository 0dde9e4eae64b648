"""What the new workers take while they have nothing to do."""

from __future__ import annotations

import time

from lab import misp, verify
from lab.bench import deploy
from lab.bench.measure import Figure, Options, Section
from lab.console import step
from lab.hosts import LabHost
from lab.topology import BOTH_FAMILIES

# Redis commands a second of a whole idle set: one worker that polls each second would exceed it.
# MISP's workers block in BLPOP for 30 s at a time: 21 of them make 0.7 a second.
MOST_COMMANDS = 1.0
TICKS_A_SECOND = 100  # of /proc, on every Linux that the lab runs on
# PID, PSS in kB and clock ticks of each worker's shell and PHP; the brackets hide this look itself.
_PROCESSES = r"""
pgrep -f '[s]tart_worker' | while read -r pid; do
    awk -v pid="$pid" '$1 == "Pss:" { pss = $2 } FILENAME ~ /stat$/ { print pid, pss, $14 + $15 }' \
        "/proc/$pid/smaps_rollup" "/proc/$pid/stat"
done
"""
_COMMANDS = 'echo json_encode($redis->info("stats")["total_commands_processed"]);'
_OWN_COMMANDS = 3  # the look's: AUTH or none, INFO, and what phpredis sends on a new connection


def measured(options: Options) -> Section:
    """Look at every host's set twice."""
    wait = 10.0 if options.quick else 90.0
    with deploy.converged(BOTH_FAMILIES) as lab:
        figures = [figure for host in lab for figure in _look(host, wait)]
        return Section("Idle workers", figures, [host.origin for host in lab])


def _look(host: LabHost, wait: float) -> list[Figure]:
    with step(f"{host.name}: {wait:.0f} s without a job"):
        began, commands = time.monotonic(), misp.ask_redis(host, _COMMANDS)
        before = _processes(host)
        time.sleep(wait)
        sent = max(0, misp.ask_redis(host, _COMMANDS) - commands - _OWN_COMMANDS)
        after, passed = _processes(host), time.monotonic() - began
    ticks = sum(after[pid][1] - before[pid][1] for pid in after.keys() & before.keys())
    megabytes = sum(pss for pss, _ in after.values()) / 1024
    workers = f"{sum(verify.expected(host).values())} idle workers"
    cpu = f"processor time {1000 * ticks / TICKS_A_SECOND / passed:.1f} ms a second"
    return [
        Figure(f"Redis commands a second, {workers}, {host.name}", sent / passed, MOST_COMMANDS),
        Figure(f"memory of {workers}, {host.name}", megabytes, unit="MB", parts=cpu),
    ]


def _processes(host: LabHost) -> dict[str, tuple[int, int]]:
    listed = [line.split() for line in host.exec(_PROCESSES).stdout.splitlines()]
    return {pid: (int(pss), int(ticks)) for pid, pss, ticks in listed}
