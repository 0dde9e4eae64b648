"""Rehearses the migration on hosts like one's own: dry run, run, second run, and a look at it all.

    python -m lab.rehearsal [--keep] [--hosts NAME,NAME]

NAME is a host of lab/topology.py, or a base: debian-12, debian-13 or el-like; where Ubuntu's
package archive answers also ubuntu-20.04, ubuntu-22.04 or ubuntu-24.04; where a container registry
answers also rockylinux-9 or almalinux-9. The default is Ubuntu 24.04, else Debian 12, and el-like.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from docker.errors import DockerException
from rich.table import Table

from lab import bundle, misp, run, verify
from lab.bases import BASES, Bases, lookup
from lab.console import console, heading, say, step
from lab.engine import require
from lab.errors import LabError, UsageError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.topology import KNOWN, MISP_DEBIAN, MISP_EL, MISP_UBUNTU, HostSpec

OLD_JOBS_FROM = 101
OLD_JOBS = 2
OLD_JOB_SECONDS = 1.5
"""Long enough that some of the jobs are still waiting when the deploy comes to the drain."""


def specs_of(names: str | None) -> list[HostSpec]:
    """Turn ``--hosts`` into specifications; without it, a host of each family.

    Raises:
        UsageError: when it names no host, or one that there is not.
    """
    if names is None:
        return [_ubuntu_or_debian(Bases(require())), MISP_EL]
    return [_spec_of(name.strip()) for name in names.split(",")]


def _ubuntu_or_debian(bases: Bases) -> HostSpec:
    if reason := bases.why_not(lookup(MISP_UBUNTU.base)):
        say(f"Debian 12 instead of Ubuntu 24.04: {reason}.")
        return MISP_DEBIAN
    return MISP_UBUNTU


def _spec_of(name: str) -> HostSpec:
    if name in KNOWN:
        return KNOWN[name]
    if name in BASES:
        return HostSpec(f"misp-{name.replace('.', '')}", name, profile=BASES[name].profile)
    raise UsageError(f"There is no lab host {name!r}: choose from {', '.join([*KNOWN, *BASES])}.")


def rehearse(lab: Lab) -> None:
    """Run the whole rehearsal on a lab that is up.

    Raises:
        LabError: at the first thing that is not as promised.
    """
    heading("Dry run: what the deploy would do")
    with step("pyinfra --dry"):
        planned = run.plan(lab).check()
    _show_plan(planned, lab)

    heading("Run")
    old_jobs = {host.name: _give_old_jobs(host) for host in lab}
    with step("pyinfra -y"):
        first = run.apply(lab, echo=True).check()
    _check_prediction(planned, first)

    heading("Second run: nothing may change")
    with step("pyinfra -y"):
        second = run.apply(lab).check()
    if second.changed:
        names = ", ".join(operation.name for operation in second.changed)
        raise LabError(f"The second run changed something: {names}")
    say(f"0 changes in {len(second.operations)} operations, {second.seconds:.1f} s")

    heading("What the hosts show, looked at by other means than the deploy's")
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda host: verify.check_host(host, old_jobs[host.name]), lab)
        checks = {host.name: found for host, found in zip(lab, looks, strict=True)}
    _show_checks(lab, checks)
    failed = [
        f"{name}: {check.name}: {check.seen}"
        for name, found in checks.items()
        for check in found
        if not check.ok
    ]
    if failed:
        raise LabError("Not as promised:\n    " + "\n    ".join(failed))


def _give_old_jobs(host: LabHost) -> list[int]:
    with step(f"{host.name}: {OLD_JOBS} jobs into each old queue"):
        return misp.enqueue(host, OLD_JOBS, first=OLD_JOBS_FROM, seconds=OLD_JOB_SECONDS)


def _check_prediction(planned: run.Run, first: run.Run) -> None:
    predicted = {
        (operation.op_hash, host)
        for operation in planned.plan
        for host in operation.change | operation.conditional
    }
    surprises = sorted(
        f"{operation.name} on {host}"
        for operation in first.changed
        for host in operation.success
        if (operation.op_hash, host) not in predicted
    )
    if surprises:
        raise LabError("The dry run did not announce: " + "; ".join(surprises))
    say(f"Every change was announced by the dry run ({len(first.changed)} operations changed).")


def _show_plan(planned: run.Run, lab: Lab) -> None:
    table = Table("operation", *lab.hosts, title="what would change (? = when its turn comes)")
    for operation in planned.plan:
        marks = [
            "change" if name in operation.change else "?" if name in operation.conditional else "-"
            for name in lab.hosts
        ]
        if set(marks) != {"-"}:
            table.add_row(operation.name, *marks)
    console.print(table)


def _show_checks(lab: Lab, checks: dict[str, list[verify.Check]]) -> None:
    for host in lab:
        title = f"{host.name}: MISP {host.spec.profile} stub, {host.origin}"
        table = Table("", "looked at", "seen", title=title, title_justify="left")
        for check in checks[host.name]:
            mark = "[green]ok[/green]" if check.ok else "[red]FAIL[/red]"
            table.add_row(mark, check.name, check.seen)
        console.print(table)


def _explain(lab: Lab, started: float) -> None:
    heading("Proven")
    say("- The dry run announced every change, and the second run changed nothing.")
    say("- The exact worker set runs, and did a job from every queue; MISP's web tier agrees.")
    say("- No job that waited in an old queue was lost or done twice.")
    say("- The old workers are stopped and stay off.")
    for host in lab:
        say(f"- {host.name} ran on: {host.origin}")
    say("MISP's own code is a stub here; systemd, supervisord, Redis, PHP, sshd are real.")
    say(f"Rehearsed in {time.monotonic() - started:.0f} s.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.rehearsal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    parser.add_argument("--hosts", help="comma-separated hosts or bases")
    arguments = parser.parse_args(argv)
    # A terminated rehearsal must remove its lab like a finished one.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    started = time.monotonic()
    try:
        heading("Lab")
        with Lab.start(specs_of(arguments.hosts), keep=arguments.keep) as lab:
            try:
                rehearse(lab)
            except LabError as error:
                bundle.collect(lab, str(error))
                raise
            _explain(lab, started)
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except UsageError as error:
        say(str(error))
        return 2
    except (LabError, DockerException) as error:
        console.print("\n[red]The rehearsal failed.[/red]")
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
