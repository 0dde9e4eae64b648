"""Twenty hosts, three of them broken in different ways: in one run, and rolled out in slices."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import rollout
from tasks.report import record
from tests.fake.answers import converged, failing, migrating
from tests.fake.conftest import ROOT, Run
from tests.fake.test_records import RETURNED

Hosts = dict[str, dict[str, Any]]
FAMILIES = ("debian", "rhel")
REFUSED, NOT_PROVEN, UNREACHABLE = "m07", "m12", "127.0.0.1"
WELL: Hosts = {
    f"m{number:02}": {"fake_responses": migrating(FAMILIES[number % 2])} for number in range(1, 21)
}
BROKEN: Hosts = {
    REFUSED: {"fake_responses": migrating("rhel", tree={"composer": ""})},
    NOT_PROVEN: {"fake_responses": {**RETURNED, **failing(migrating("debian"), "proof.prove")}},
    "m15": {"ssh_port": 1},
}
# The one that cannot be reached is tried by SSH, so it has an address for a name.
TWENTY: Hosts = {
    UNREACHABLE if "ssh_port" in data else name: data for name, data in (WELL | BROKEN).items()
}
NAMES = [name if name == UNREACHABLE else f"@fake/{name}" for name in TWENTY]
OUTCOMES = {
    f"@fake/{REFUSED}": "refused",
    f"@fake/{NOT_PROVEN}": "not_proven_returned",
    UNREACHABLE: "failed",
}


class Command:
    """`python -m tasks.rollout` on hosts that may be mended between two calls."""

    def __init__(self, place: Path) -> None:
        self.runs = place / "runs"
        self._hosts = place / "hosts.json"
        self.command = [sys.executable, "-m", "tasks.rollout", "tests/fake/inventory.py"]
        self.environment = {
            **os.environ,
            "MISP_FAKE_HOSTS": str(self._hosts),
            "MISP_WORKERS_REPORTS": str(self.runs),
        }

    def are(self, hosts: Hosts) -> None:
        self._hosts.write_text(json.dumps(hosts))

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def directories(self) -> list[Path]:
        return sorted(self.runs.iterdir())

    def outcomes(self) -> dict[str, str]:
        return {one.host: one.outcome for one in record.read(self.directories()[-1])}

    def ran(self) -> list[set[str]]:
        """The hosts of each of pyinfra's runs."""
        runs = sorted((self.directories()[-1] / rollout.SLICES).iterdir())
        return [{one.host for one in record.read(run)} for run in runs]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def table(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Host and outcome of the table's lines."""
    lines = [line for line in done.stdout.splitlines() if not line.startswith("==>")]
    return [line.split()[:2] for line in lines[1:]]


def begins(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"==> (slice .*?) begins", done.stdout)


def test_three_broken_hosts_of_twenty_do_not_disturb_the_others(
    pyinfra: Callable[..., Run], tmp_path: Path
) -> None:
    run = pyinfra(TWENTY, "-y")
    assert run.exit_code == 1
    (directory,) = (tmp_path / "runs").iterdir()
    reports = {one.host: one for one in record.read(directory)}
    assert {host: one.outcome for host, one in reports.items()} == {
        host: OUTCOMES.get(host, "done") for host in NAMES
    }
    assert [len(reports[host].changed) for host in NAMES if host not in OUTCOMES] == [7] * 17
    assert "Composer is neither" in reports[f"@fake/{REFUSED}"].cause
    assert reports[f"@fake/{NOT_PROVEN}"].step.startswith("Proof")
    assert reports[UNREACHABLE].cause == "no connection to the host"


def test_it_stops_at_the_first_slice_with_a_broken_host(command: Command) -> None:
    command.are(TWENTY)
    first = command()
    assert first.returncode == record.CODES["refused"], first.stderr
    assert begins(first) == ["slice 1 of 5", "slice 2 of 5", "slice 3 of 5"]
    assert "slice 1 of 5 begins: @fake/m01\n" in first.stdout
    assert f"@fake/{REFUSED} refused" in first.stdout
    assert "Stopped. The same command runs every slice again" in first.stdout
    # The canary, then fives. The slice of the broken host ends; none after it begins.
    assert table(first) == [
        [host, OUTCOMES.get(host, "done") if host in NAMES[:11] else "not_begun"] for host in NAMES
    ]
    # Left out: the next broken one is met.
    without = command("--exclude", f"@fake/{REFUSED}")
    assert without.returncode == record.CODES["not_proven_returned"]
    assert f"@fake/{NOT_PROVEN} not_proven_returned, {UNREACHABLE} failed" in without.stdout


def test_the_next_rollout_runs_every_slice_again_in_the_same_order(command: Command) -> None:
    done = {name: {"fake_responses": converged("debian")} for name in ("m01", "m02")}
    command.are({**done, REFUSED: BROKEN[REFUSED], "m08": WELL["m08"]})
    assert command("--slice", "2").returncode == record.CODES["refused"]
    command.are({**done, REFUSED: WELL[REFUSED], "m08": WELL["m08"]})
    last = command("--slice", "2", "--", "--serial")
    assert last.returncode == 0, last.stderr
    assert begins(last) == ["slice 1 of 3", "slice 2 of 3", "slice 3 of 3"]
    assert len(command.directories()) == 2
    assert command.ran() == [{"@fake/m01"}, {"@fake/m02", f"@fake/{REFUSED}"}, {"@fake/m08"}]
    reports = {one.host: one for one in record.read(command.directories()[-1])}
    assert {host: one.outcome for host, one in reports.items()} == dict.fromkeys(reports, "done")
    assert [host for host, one in reports.items() if one.changed] == [
        f"@fake/{REFUSED}",
        "@fake/m08",
    ]


def test_a_slice_that_cannot_be_reached_at_all_is_a_failure(command: Command) -> None:
    # pyinfra has no report to offer: none of its deploy code ran.
    command.are({UNREACHABLE: {"ssh_port": 1}, "m02": WELL["m02"]})
    done = command()
    assert done.returncode == 1
    assert table(done) == [[UNREACHABLE, "failed"], ["@fake/m02", "not_begun"]]
    assert "not reached, or pyinfra gave up (status 1)" in done.stdout


@pytest.mark.parametrize(
    ("hosts", "arguments", "sentence"),
    [
        (WELL, ("--canary", "@fake/m1"), "named '@fake/m1', did you mean '@fake/m"),
        (WELL, ("--exclude", "@fake/m21"), "named '@fake/m21'"),
        ({}, (), "the inventory names no host"),
    ],
)
def test_nothing_begins_with_a_name_that_is_wrong(
    command: Command, hosts: Hosts, arguments: tuple[str, ...], sentence: str
) -> None:
    command.are(hosts)
    done = command(*arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not command.runs.exists()


def test_nothing_begins_with_an_inventory_that_is_not_there(command: Command) -> None:
    command.command[-1] = "inventories/nowhere.py"
    done = command()
    assert done.returncode == 1
    assert "is it there?" in done.stderr
    assert not command.runs.exists()


def test_a_group_of_a_hosts_name_takes_no_part_in_that_hosts_slice(
    command: Command, tmp_path: Path
) -> None:
    inventory = tmp_path / "i.py"
    data = {"fake_responses": converged("rhel"), "fake_delay": 0, "fake_delay_jitter": 0}
    # pyinfra puts a connector's hosts into a group of the connector's name.
    inventory.write_text(f"data = {data!r}\nmisp = [('@fake', data), ('@fake/a', data)]\n")
    command.command[-1] = str(inventory)
    done = command()
    assert done.returncode == 0, done.stderr
    assert command.ran() == [{"@fake"}, {"@fake/a"}]


def test_ctrl_c_ends_it_and_the_next_one_begins_with_the_first_slice(command: Command) -> None:
    slow = {**WELL["m02"], "fake_delay": 0.5}
    command.are({"m01": WELL["m01"], "m02": slow, "m03": WELL["m03"]})
    with started(command) as process:
        until(lambda: _in_step(command, "m02", "supervisord: running"))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, _ = process.communicate(timeout=60)
    assert process.returncode == record.CODES["interrupted"]
    assert "Interrupted. The same command runs every slice again" in said
    assert command.outcomes() == {
        "@fake/m01": "done",
        "@fake/m02": "interrupted",
        "@fake/m03": "not_begun",
    }
    done = command("--slice", "1")
    assert done.returncode == 0, done.stderr
    assert begins(done) == ["slice 1 of 3", "slice 2 of 3", "slice 3 of 3"]
    assert set(command.outcomes().values()) == {"done"}


def test_a_host_that_ctrl_c_came_before_has_not_failed(command: Command) -> None:
    command.are({"m01": {**WELL["m01"], "fake_delay": 5}, "m02": WELL["m02"]})
    with started(command) as process:
        printed = iter(process.stderr or ())
        until(lambda: "Preparing operation files" in next(printed))
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == record.CODES["interrupted"]
    assert set(command.outcomes().values()) == {"not_begun"}


def test_when_it_alone_is_told_to_end_the_slice_is_finished_first(command: Command) -> None:
    command.are({"m01": {**WELL["m01"], "fake_delay": 0.1}, "m02": WELL["m02"]})
    with started(command) as process:
        until(lambda: _in_step(command, "m01", "supervisord: running"))
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == record.CODES["interrupted"]
    assert command.outcomes() == {"@fake/m01": "done", "@fake/m02": "not_begun"}


def started(command: Command) -> subprocess.Popen[str]:
    """The command in slices of one host, under way."""
    return subprocess.Popen(
        [*command.command, "--slice", "1"],
        cwd=ROOT,
        env=command.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit and not condition():
        time.sleep(0.05)


def _in_step(command: Command, host: str, step: str) -> bool:
    files = command.runs.glob(f"*/{rollout.SLICES}/*/*-{host}-*.json")
    return any(step in path.read_text() for path in files)
