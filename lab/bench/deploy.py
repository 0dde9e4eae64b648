"""The deploy as the bench runs it, and what pyinfra's log (``--debug``) says of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import run
from lab.bench.measure import Sample, timed
from lab.console import step
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab
from lab.paths import REPOSITORY
from lab.topology import HostSpec

# What pyinfra 3.10 writes before each command it sends over SSH, and after its end.
_SENT, _ENDED = "[pyinfra.connectors.ssh] Running command on ", "Command exit status:"


@contextmanager
def converged(specs: Iterable[HostSpec]) -> Iterator[Lab]:
    """Give a lab of hosts that this checkout's deploy has migrated."""
    with Lab.start(specs) as lab:
        with step(f"migration of {len(lab.hosts)} hosts"):
            run.apply(lab).check()
        yield lab


def on(lab: Lab, hosts: Iterable[LabHost], *options: str, checkout: Path = REPOSITORY) -> run.Run:
    """Run a checkout's deploy on HOSTS."""
    limits = [word for host in hosts for word in ("--limit", host.name)]
    return run.pyinfra(lab, "deploy.py", *options, *limits, checkout=checkout).check()


def again(lab: Lab, hosts: Sequence[LabHost], checkout: Path = REPOSITORY) -> None:
    """Run the deploy on converged hosts; a run that changes something is no measurement."""
    check_unchanged(on(lab, hosts, "-y", "--json", checkout=checkout).operations, len(hosts))


def dry(lab: Lab, hosts: Sequence[LabHost], checkout: Path = REPOSITORY) -> None:
    """Ask what the deploy would do on converged hosts, which is nothing."""
    done = on(lab, hosts, "--dry", "--json", checkout=checkout)
    check_nothing_planned(done, [host.name for host in hosts])


def check_unchanged(operations: Collection[run.Operation], count: int) -> None:
    """Check that a run looked at COUNT hosts and changed nothing."""
    if bad := [one.name for one in operations if one.success | one.error]:
        raise LabError(f"The deploy changed a converged host or failed: {', '.join(bad)}")
    # A limit that fits no host is no error to pyinfra, and very fast.
    seen = {host for operation in operations for host in operation.no_change}
    if len(seen) != count:
        raise LabError(f"The deploy looked at {len(seen)} hosts of {count}.")


def check_nothing_planned(done: run.Run, hosts: Sequence[str]) -> None:
    """Check that a dry run looked at every one of HOSTS and would change nothing."""
    if changes := [one.name for one in done.plan if one.change | one.conditional]:
        raise LabError(f"The deploy would change a converged host: {', '.join(changes)}")
    # The plan names only hosts with changes; the log names each host that was looked at.
    left_out = [host for host in hosts if f"[{host}]" not in done.stderr]
    if left_out or not done.plan:
        raise LabError(f"The dry run left out {', '.join(left_out) or 'every operation'}.")


def watched(
    hosts: Sequence[LabHost], action: Callable[[Sequence[LabHost]], object]
) -> tuple[Sample, float]:
    """Time an action on HOSTS; gives the hosts' processor time as well."""
    before = sum(host.cpu_seconds() for host in hosts)
    sample = timed(action, hosts)
    return sample, sum(host.cpu_seconds() for host in hosts) - before


def pauses(done: run.Run) -> dict[str, float]:
    """Return how long each operation of a run on one host paused between its commands."""
    found: dict[str, float] = {}
    operation, ended = "", 0.0
    for at, line in done.stamped:
        if run.BEGINS in line:
            operation, ended = line.partition(run.BEGINS)[2].partition(":")[0].strip(), 0.0
        elif _SENT in line:
            found[operation] = found.get(operation, 0.0) + (at - ended if ended else 0.0)
        elif _ENDED in line:
            ended = at
    return found


def round_trips(done: run.Run) -> int:
    """Count the commands that a run sent over SSH."""
    if trips := done.stderr.count(_SENT):
        return trips
    raise LabError("The deploy's log shows no command on a host.")
