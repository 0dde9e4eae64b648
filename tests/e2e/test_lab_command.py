"""The lab's command as an operator types it, with two labs of one host each."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from lab import labs, misp
from lab.engine import Engine
from lab.paths import REPOSITORY
from lab.rehearsal import specs_of
from lab.topology import QUEUES

BASE = "debian-12"
[SPEC] = specs_of(BASE)
HOST = SPEC.name
"""No other test has a host of this name in this checkout."""


def lab_command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab", *words]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False
    )


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class Printed(NamedTuple):
    """The lines that `up` has printed."""

    id: str
    ssh: str
    plan: str
    apply: str


def brought_up(*options: str) -> Printed:
    done = lab_command("up", "--hosts", BASE, *options)
    assert done.returncode == 0, done.stderr
    [lab] = re.findall(r"^The lab (lab-\w+) stays", done.stderr, re.MULTILINE)
    assert f"  remove: ./noxw -s lab -- destroy {lab}\n" in done.stderr
    lines = [
        re.search(rf"^  {word}: +(.+)$", done.stderr, re.M) for word in (HOST, "plan", "apply")
    ]
    ssh, plan, apply = (line[1] for line in lines if line)
    return Printed(lab, ssh, plan, apply)


@pytest.fixture(scope="module")
def pair(engine: Engine) -> Iterator[tuple[Printed, Printed]]:
    """Two labs with a host of the same name: of old workers, and migrated by hand."""
    brought: list[Printed] = []
    try:
        for options in ([], ["--state", "by-hand"]):
            brought.append(brought_up(*options))
        yield brought[0], brought[1]
    finally:
        for one in brought:  # one by one: the first may be gone
            lab_command("destroy", one.id)


def test_the_list_has_both_with_their_ssh_lines(pair: tuple[Printed, Printed]) -> None:
    listed = lab_command("list").stdout
    for one, state in zip(pair, ("old", "by-hand"), strict=True):
        found = rf"^{one.id}: brought up as {state}\n  {HOST}: Up [^:]+: {re.escape(one.ssh)}$"
        assert re.search(found, listed, re.MULTILINE), listed


def test_a_command_runs_in_the_host_that_is_named(pair: tuple[Printed, Printed]) -> None:
    for one, works in zip(pair, ("active", "inactive"), strict=True):
        done = lab_command("ssh", f"{one.id}/{HOST}", "systemctl", "is-active", "misp-workers")
        assert (done.stdout, done.returncode) == (f"{works}\n", 0 if works == "active" else 3)
        assert shell(f"{one.ssh} systemctl is-active misp-workers").stdout == f"{works}\n"
    ambiguous = lab_command("ssh", HOST, "true")
    assert ambiguous.returncode == 2
    assert all(f"{one.id}/{HOST}" in ambiguous.stderr for one in pair)


def test_the_old_workers_have_had_jobs_to_do(pair: tuple[Printed, Printed]) -> None:
    # Beyond those that every host of a lab gets. They may have ended while the second lab came up.
    done = shell(f"{pair[0].ssh} sudo cat {misp.LEDGER}").stdout.splitlines()
    assert len(done) > SPEC.waiting_jobs * len(QUEUES)


def test_the_lines_of_the_first_lab_mean_the_first(pair: tuple[Printed, Printed]) -> None:
    # The second is the newest one, and has its supervisor already.
    installs = rf"Packages: supervisor +1 \({HOST}\)"
    for one, is_planned in zip(pair, (True, False), strict=True):
        for planned in (shell(one.plan), lab_command("run", one.id, "--dry")):
            assert planned.returncode == 0, planned.stderr
            plan = planned.stdout + planned.stderr
            assert bool(re.search(installs, plan)) is is_planned, plan
    assert pair[0].apply == pair[0].plan.replace("--dry", "-y")


def test_one_is_removed_and_the_other_stays(pair: tuple[Printed, Printed], engine: Engine) -> None:
    first, _second = pair
    with closing(engine.client()) as client:
        image = client.containers.get(f"{first.id}-{HOST}").image
        own = client.containers.create(image, name=f"own-{first.id}")
        try:
            unknown = lab_command("destroy", "lab-nope", first.id)
            assert (unknown.returncode, first.id in labs.known(engine)) == (2, True)
            assert "no lab 'lab-nope': there is " in unknown.stderr
            assert lab_command("destroy", first.id).returncode == 0
            assert first.id not in labs.known(engine)
            assert client.containers.get(own.id).name == own.name
        finally:
            own.remove()
    assert lab_command("ssh", HOST, "true").returncode == 0, "one lab alone has the name now"
    assert lab_command("ssh", f"{first.id}/{HOST}", "true").returncode == 2
