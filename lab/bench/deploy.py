"""The deploy itself, as the bench runs it."""

from __future__ import annotations

from collections.abc import Sequence

from lab import run
from lab.bench import timeline
from lab.errors import LabError
from lab.hosts import LabHost
from lab.lab import Lab


def again(lab: Lab, hosts: Sequence[LabHost]) -> None:
    """Run it on converged hosts.

    Raises:
        LabError: when it failed, changed something or left a host out.
    """
    check_unchanged(run.apply(lab, *limits(hosts)).check(), [host.name for host in hosts])


def dry(lab: Lab, hosts: Sequence[LabHost]) -> None:
    """Ask what it would do on converged hosts.

    Raises:
        LabError: when it failed, would change something or left a host out.
    """
    check_nothing_planned(run.plan(lab, *limits(hosts)).check(), [host.name for host in hosts])


def limits(hosts: Sequence[LabHost]) -> list[str]:
    """Give pyinfra's options that limit a run to HOSTS."""
    return [word for host in hosts for word in ("--limit", host.name)]


def check_unchanged(done: run.Run, hosts: Sequence[str]) -> None:
    """Check that a run looked at every one of HOSTS and changed nothing.

    A limit that fits no host is no error to pyinfra, and very fast.

    Raises:
        LabError: naming the operations that changed something, or the hosts that were left out.
    """
    if done.changed:
        names = ", ".join(operation.name for operation in done.changed)
        raise LabError(f"The deploy changed something on a converged host: {names}")
    looked_at = {host for operation in done.operations for host in operation.no_change}
    if left_out := sorted(set(hosts) - looked_at):
        raise LabError(f"The deploy left out {', '.join(left_out)}.")


def check_nothing_planned(done: run.Run, hosts: Sequence[str]) -> None:
    """Check that a dry run looked at every one of HOSTS and would change nothing.

    Raises:
        LabError: naming the operations that would change something, or the hosts left out.
    """
    changes = [one.name for one in done.plan if one.change | one.conditional]
    if changes:
        raise LabError(f"The deploy would change a converged host: {', '.join(changes)}")
    # The plan names only hosts with changes; each host that was looked at says that it is ready.
    left_out = [host for host in hosts if f"[{host}]" not in done.stderr]
    if left_out or not done.plan:
        raise LabError(f"The dry run left out {', '.join(left_out) or 'every operation'}.")


def count_round_trips(lab: Lab, *options: str) -> dict[str, int]:
    """Run it again, not timed, and count its round trips per host.

    Raises:
        LabError: when the log does not show any of a host's.
    """
    done = run.pyinfra(lab, "deploy.py", *options, "--debug").check()
    trips = timeline.round_trips(done.stderr)
    if silent := sorted({host.name for host in lab} - trips.keys()):
        raise LabError(f"The deploy's log shows no command on {', '.join(silent)}.")
    return trips
