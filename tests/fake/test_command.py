"""`python -m tasks` on twenty hosts, three of them broken in different ways, and on fewer."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.command.fleet import CODES
from tasks.plan import document
from tasks.report import record
from tests import hosts
from tests.fake.answers import SOURCES, converged, draining, failing, migrating
from tests.fake.clone import laid_out
from tests.fake.conftest import ROOT, Run
from tests.fake.test_records import RETURNED, returning

Hosts = dict[str, dict[str, Any]]
FAMILIES = ("debian", "rhel")
REFUSED, NOT_PROVEN, UNREACHABLE = "m07", "m12", "127.0.0.1"
WELL: Hosts = {
    f"m{number:02}": {"fake_responses": migrating(FAMILIES[number % 2])} for number in range(1, 21)
}
BROKEN: Hosts = {
    REFUSED: {"fake_responses": migrating("rhel", tree={"composer": ""}, system={"init": "bash"})},
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
DONE: Hosts = {name: {"fake_responses": converged("debian")} for name in ("m01", "m02")}
# On these a step takes long enough to be met in it.
SLOW: Hosts = {name: {**WELL[name], "fake_delay": 0.5} for name in ("m01", "m02")}


class Command:
    """`python -m tasks` on hosts that may be mended between two calls."""

    def __init__(self, place: Path) -> None:
        self.runs = place / "runs"
        self.inventory = "tests/fake/inventory.py"
        self.cwd = ROOT
        self._hosts = place / "hosts.json"
        self.environment = {
            **os.environ,
            "MISP_FAKE_HOSTS": str(self._hosts),
            "MISP_WORKERS_REPORTS": str(self.runs),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(place),  # logs of runs that only look
        }

    def are(self, hosts: Hosts) -> None:
        self._hosts.write_text(json.dumps(hosts))

    def words(self, command: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "tasks", command, self.inventory, *options]

    def __call__(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(command, *options),
            cwd=self.cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def started(self, *words: str) -> subprocess.Popen[str]:
        """The command under way, away from the test's own terminal."""
        return subprocess.Popen(
            self.words(*words),
            cwd=self.cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def directory(self) -> Path:
        return sorted(self.runs.iterdir())[-1]

    def reports(self) -> dict[str, record.Report]:
        return {one.host: one for one in record.read(self.directory())}

    def outcomes(self) -> dict[str, str]:
        return {host: one.outcome for host, one in self.reports().items()}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def table(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Each host's outcome as the table has it."""
    lines = done.stdout.partition("\n\n")[0].splitlines()[1:]
    rows = [line.split() for line in lines if not line.startswith(" ")]
    return {row[0]: row[1] for row in rows}


def begins(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"slice \d of \d begins: .*", done.stderr)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit and not condition():
        time.sleep(0.05)


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
    assert reports[UNREACHABLE].cause.startswith(record.NO_CONNECTION)


# --- apply ---------------------------------------------------------------------------------------


def test_apply_takes_all_at_once_and_ends_with_the_worst_hosts_code(command: Command) -> None:
    command.are(TWENTY)
    done = command("apply")
    assert done.returncode == CODES["not_proven_returned"], done.stderr
    assert begins(done) == []
    expected = {host: OUTCOMES.get(host, "done") for host in NAMES}
    assert table(done) == expected
    assert command.outcomes() == expected
    assert "  1. PID 1 is bash" in done.stdout
    assert "  2. Composer is neither" in done.stdout
    assert "Unable to connect to port 1" in command.reports()[UNREACHABLE].cause
    assert f"Record: {command.directory()}\n" in done.stdout
    assert f"Log: {command.directory()}/pyinfra.log\n" in done.stdout
    sentence = " ".join(done.stdout.partition("Next: ")[2].split())
    assert sentence.startswith(f"Mend what is wrong on @fake/{REFUSED}, @fake/{NOT_PROVEN}, ")
    assert sentence.endswith(f"`{sys.executable} -m tasks apply tests/fake/inventory.py`")


def test_what_it_prints_fits_eighty_columns(command: Command) -> None:
    command.are({name: TWENTY[name] for name in (REFUSED, NOT_PROVEN, "m01")})
    done = command("apply")
    wide = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert [line for line in wide if not line.startswith(("`", "Record: ", "Log: "))] == []


def test_it_stops_after_the_first_slice_with_a_broken_host(command: Command) -> None:
    command.are(TWENTY)
    first = command("apply", "--canary", "@fake/m01")
    assert first.returncode == CODES["refused"], first.stderr
    assert [line[:12] for line in begins(first)] == ["slice 1 of 5", "slice 2 of 5", "slice 3 of 5"]
    assert begins(first)[0] == "slice 1 of 5 begins: @fake/m01"
    assert f"slice 3 of 5 ends: @fake/{REFUSED} refused\n" in first.stderr
    # The canary, then fives. The slice of the broken host ends; none after it begins.
    expected = {
        host: OUTCOMES.get(host, "done") if host in NAMES[:11] else "not_begun" for host in NAMES
    }
    assert table(first) == expected
    assert command.outcomes() == expected


def test_the_next_run_asks_each_host_and_leaves_out_what_is_excluded(command: Command) -> None:
    command.are({**DONE, REFUSED: BROKEN[REFUSED], "m08": WELL["m08"]})
    done = command("apply", "--slice", "2", "--exclude", f"@fake/{REFUSED}", "--", "--serial")
    assert done.returncode == 0, done.stderr
    assert begins(done) == [
        "slice 1 of 2 begins: @fake/m01, @fake/m02",
        "slice 2 of 2 begins: @fake/m08",
    ]
    assert {host: len(one.changed) for host, one in command.reports().items()} == {
        "@fake/m01": 0,
        "@fake/m02": 0,
        "@fake/m08": 7,
    }
    sentence = f"-m tasks status tests/fake/inventory.py --exclude @fake/{REFUSED} -- --serial`"
    assert sentence in done.stdout


def test_a_run_in_which_no_host_is_reached_names_them_all(command: Command) -> None:
    # pyinfra has no report to offer: none of its deploy code ran.
    command.are({UNREACHABLE: {"ssh_port": 1}})
    done = command("apply")
    assert done.returncode == 1
    assert table(done) == {UNREACHABLE: "failed"}
    cause = command.reports()[UNREACHABLE].cause
    assert "Unable to connect to port 1" in cause
    assert f"see {command.directory()}/pyinfra.log" in cause


def test_a_group_of_a_hosts_name_takes_no_part_in_that_hosts_slice(
    command: Command, tmp_path: Path
) -> None:
    inventory = tmp_path / "i.py"
    data = {"fake_responses": converged("rhel"), "fake_delay": 0, "fake_delay_jitter": 0}
    # pyinfra puts a connector's hosts into a group of the connector's name.
    inventory.write_text(f"data = {data!r}\nmisp = [('@fake', data), ('@fake/a', data)]\n")
    command.inventory = str(inventory)
    done = command("apply", "--slice", "1")
    assert done.returncode == 0, done.stderr
    assert begins(done) == ["slice 1 of 2 begins: @fake", "slice 2 of 2 begins: @fake/a"]


def test_the_drain_limit_names_the_command_that_waits(command: Command) -> None:
    busy = {"old_backend": {"waiting": {"prio": 3}, "running": 1}}
    answers = draining(migrating("debian"), busy)
    command.are({"m01": {"fake_responses": answers, "drain_timeout": 1}})
    done = command("apply")
    assert done.returncode == CODES["drain_limit"]
    assert "tasks apply tests/fake/inventory.py -- --data on_leftover_jobs=wait`" in done.stdout


def test_a_return_that_failed_names_the_rollback(command: Command) -> None:
    broken = failing(failing(migrating("rhel"), "proof.prove"), "rollback.automatic")
    command.are({**DONE, "m03": {"fake_responses": broken}})
    done = command("apply")
    assert done.returncode == CODES["return_failed"]
    assert "tasks rollback tests/fake/inventory.py --limit @fake/m03`" in done.stdout


def test_rollback_takes_slices_too(command: Command) -> None:
    command.are({"m01": {"fake_responses": returning()}, "m02": {"fake_responses": returning()}})
    done = command("rollback", "--slice", "1")
    assert done.returncode == 0, done.stderr
    assert {one.deploy for one in command.reports().values()} == {"rollback"}
    assert begins(done)[1] == "slice 2 of 2 begins: @fake/m02"
    assert "tasks status " in done.stdout


# --- it is ended ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_pyinfra_first_and_says_where_each_host_was(
    command: Command, number: signal.Signals
) -> None:
    command.are({"m01": WELL["m01"], "m02": SLOW["m02"], "m03": WELL["m03"]})
    with command.started("apply", "--slice", "1") as process:
        until(lambda: _is_in_step(command, "m02", "supervisord: running"))
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == CODES["interrupted"]
    assert command.outcomes() == {
        "@fake/m01": "done",
        "@fake/m02": "interrupted",
        "@fake/m03": "not_begun",
    }
    assert "supervisord: interrupted; 2 operations changed before" in " ".join(said.split())
    assert f"`{sys.executable} -m tasks apply tests/fake/inventory.py --slice 1`" in said
    assert "Disconnecting" in (command.directory() / "pyinfra.log").read_text()


@pytest.mark.parametrize(
    ("is_interrupted", "outcomes"),
    [(False, ("done", "done")), (True, ("interrupted", "not_begun"))],
)
def test_a_reader_that_goes_away_ends_no_run(
    command: Command, *, is_interrupted: bool, outcomes: tuple[str, str]
) -> None:
    # As with `| head`, and as with `2>&1 | tee FILE` where Ctrl-C ends tee as well.
    command.are({"m02": SLOW["m02"], "m03": WELL["m03"]})
    words = command.words("apply", "--slice", "1", "-v")
    with subprocess.Popen(
        words,
        cwd=command.cwd,
        env=command.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        until(lambda: _is_in_step(command, "m02", "supervisord: running"))
        assert process.stdout
        process.stdout.close()
        if is_interrupted:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == CODES["interrupted" if is_interrupted else "done"]
    assert command.outcomes() == dict(zip(("@fake/m02", "@fake/m03"), outcomes, strict=True))
    assert all(report.ended for report in command.reports().values() if report.started)


def test_a_signal_that_comes_twice_ends_pyinfra_at_once(command: Command) -> None:
    command.are({"m02": {**SLOW["m02"], "fake_delay": 30}})
    with command.started("apply") as process:
        until(lambda: _log(command).find("Preparing operation files") > 0)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        process.communicate(timeout=20)
    assert process.returncode == CODES["interrupted"]


def test_a_host_that_a_signal_came_before_has_not_begun(command: Command) -> None:
    command.are({"m01": {**WELL["m01"], "fake_delay": 5}})
    with command.started("apply") as process:
        until(lambda: _log(command).find("Preparing operation files") > 0)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == CODES["interrupted"]
    assert set(command.outcomes().values()) <= {"not_begun", "interrupted"}


def test_a_pyinfra_that_is_killed_leaves_a_cause_that_names_its_log(command: Command) -> None:
    command.are({"m02": SLOW["m02"]})
    with command.started("apply") as process:
        until(lambda: _is_in_step(command, "m02", "supervisord: running"))
        os.kill(_child_of(process.pid), signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == CODES["interrupted"]
    cause = command.reports()["@fake/m02"].cause
    assert "pyinfra was killed by signal 9" in cause
    assert f"see {command.directory()}/pyinfra.log" in cause
    assert "run the same command again" in " ".join(said.split())


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _log(command: Command) -> str:
    return "".join(path.read_text() for path in command.runs.glob("*/pyinfra.log"))


def _is_in_step(command: Command, host: str, step: str) -> bool:
    return any(step in path.read_text() for path in command.runs.glob(f"*/*-{host}-*.json"))


# --- plan, status --------------------------------------------------------------------------------


def test_a_plan_reports_every_host_and_changes_none(command: Command) -> None:
    command.are(
        {**DONE, REFUSED: BROKEN[REFUSED], UNREACHABLE: {"ssh_port": 1}, "m03": WELL["m03"]}
    )
    done = command("plan")
    assert done.returncode == CODES["failed"], done.stderr  # the one that is not reached
    planned, _, rest = done.stdout.partition("\n\nhost ")
    assert "@fake/m01" in planned
    assert "@fake/m03" in planned
    assert "Retire: the old workers stop for good" in planned
    assert re.search(rf"@fake/{REFUSED} +refused +PID 1 is bash", rest)
    assert re.search(rf"{UNREACHABLE} +failed +no connection to the host", rest)
    assert not command.runs.exists()


def test_a_plan_that_is_kept_names_its_inventory_and_its_hosts(
    command: Command, tmp_path: Path
) -> None:
    command.are({"m01": WELL["m01"], REFUSED: BROKEN[REFUSED], "m02": WELL["m02"]})
    kept = tmp_path / "plan.json"
    done = command("plan", "--out", str(kept))
    assert f"The plan of 2 of 3 hosts is in {kept}." in done.stdout
    # Where somebody approves it, it is applied from another folder, to these hosts alone.
    command.are({"m01": WELL["m01"], REFUSED: WELL[REFUSED], "m02": WELL["m02"]})
    command.inventory, command.cwd = kept.name, tmp_path
    done = command("apply", "--limit", "@fake/m02")
    assert done.returncode == 0, done.stderr
    assert command.outcomes() == {"@fake/m02": "done"}
    assert f"tasks status {ROOT}/tests/fake/inventory.py --limit @fake/m02`" in done.stdout
    (report,) = command.reports().values()
    assert report.plan == document.load(kept)[1]["@fake/m02"].model_dump()
    done = command("apply", "--limit", f"@fake/{REFUSED}")
    assert "no host and no group here is named" in done.stderr


def test_status_prints_json_and_nothing_else(command: Command) -> None:
    sick = converged("debian", supervisor={"workers": hosts.running()[1:]})
    command.are({**DONE, "m03": {"fake_responses": sick}, UNREACHABLE: {"ssh_port": 1}})
    done = command("status", "--json")
    assert done.returncode == 1
    found = {one["host"]: one for one in json.loads(done.stdout)["hosts"]}
    assert sorted(found) == sorted(["@fake/m01", "@fake/m02", "@fake/m03", UNREACHABLE])
    assert found["@fake/m01"]["faults"] == []
    assert "misp-workers:cache_00 is missing" in found["@fake/m03"]["faults"][0]["sentence"]
    assert "Unable to connect to port 1" in found[UNREACHABLE]["faults"][0]["sentence"]


def test_another_state_than_the_expected_one_is_one_fault(command: Command) -> None:
    command.are({"m01": {**DONE["m01"], "expect": "old"}, "m02": DONE["m02"]})
    done = command("status", "--expect", "old", "--json")
    assert done.returncode == 1
    for host in json.loads(done.stdout)["hosts"]:
        assert [fault["kind"] for fault in host["faults"]] == ["expected"]
    assert command("status", "--expect", "migrated").returncode == 0  # it goes before the data


def test_status_of_hosts_that_are_well_ends_with_0_and_leaves_no_log(
    command: Command, tmp_path: Path
) -> None:
    command.are(DONE)
    done = command("status")
    assert done.returncode == 0, done.stderr
    assert "nothing is to be done." in done.stdout
    assert [*tmp_path.glob("misp-workers-*.log")] == []


def test_in_a_pipe_there_are_plain_lines(command: Command) -> None:
    command.are({"m01": WELL["m01"], REFUSED: BROKEN[REFUSED]})
    done = command("apply")
    first, *lines = done.stderr.splitlines()
    assert first.endswith(" 2 hosts: the first look begins")
    assert all(re.match(r"\d\d:\d\d:\d\d @fake/m0[17]: ", line) for line in lines)
    assert any(line.endswith("@fake/m01: step Packages: supervisor") for line in lines)
    assert any(line.endswith("@fake/m01: done") for line in lines)
    assert sum("refused before any change: PID 1 is bash" in line for line in lines) == 1
    assert "\x1b" not in done.stderr + done.stdout


def test_verbose_shows_what_pyinfra_prints(command: Command) -> None:
    command.are(DONE)
    done = command("apply", "-v")
    assert "--> Beginning operation run..." in done.stderr


# --- it does not begin ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--canary", "@fake/m1"], "named '@fake/m1', did you mean '@fake/m1"),
        (["--exclude", "@fake/m21"], "named '@fake/m21'"),
        (["--limit", "@fake/m01,mips"], "named 'mips', did you mean 'misp'?"),
        (["--", "--sudoo"], "No such option '--sudoo'"),
        (["--", "other.py"], "pyinfra cannot list the hosts"),
    ],
)
def test_nothing_begins_with_a_name_that_is_wrong(
    command: Command, options: list[str], sentence: str
) -> None:
    command.are(WELL)
    done = command("apply", *options)
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing began: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not command.runs.exists()


def test_nothing_begins_with_an_inventory_without_hosts(command: Command) -> None:
    command.are({})
    done = command("status")
    assert done.returncode == 1
    assert "tests/fake/inventory.py names no host" in done.stderr


@pytest.mark.parametrize("text", ["print('noise')\n", "raise ValueError('no')\n"])
def test_an_inventory_that_pyinfra_cannot_list_shows_no_data_of_it(
    command: Command, tmp_path: Path, text: str
) -> None:
    inventory = tmp_path / "i.py"
    inventory.write_text(f"hosts = [('m1', {{'ssh_password': 'hunter2'}})]\n{text}")
    command.inventory = str(inventory)
    done = command("plan")
    assert done.returncode == 1
    assert "cannot list the hosts" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_hosts_may_be_given_in_the_place_of_an_inventory(command: Command) -> None:
    command.inventory = "@fake/a,@fake/b"
    done = command("status", "--limit", "*b", "--", "--data", "fake_delay=0")
    assert done.returncode == 1  # these hosts answer nothing
    assert re.findall(r"^@\S+", done.stdout, re.MULTILINE) == ["@fake/b"]


def test_a_deploy_of_one_checkout_with_the_package_of_another_is_refused(
    pyinfra: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/first_look.py").touch()
    shutil.copy(ROOT / "deploy.py", tmp_path)
    run = pyinfra({"m01": WELL["m01"]}, "-y", deploy=str(tmp_path / "deploy.py"))
    assert run.exit_code == 1
    assert (
        f"the deploy is that of {tmp_path}, but Python takes the package `tasks` of" in run.output
    )


def test_a_kept_plan_holds_its_hosts_to_it(command: Command, tmp_path: Path) -> None:
    # A password that is a part of a path is masked in both plans alike.
    data = {**WELL["m02"], "ssh_password": "workers"}
    command.are({"m01": data, "m02": data})
    kept = tmp_path / "plan.json"
    done = command("plan", "--out", str(kept))
    assert done.returncode == 0, done.stderr
    assert "file /etc/supervisor/conf.d/misp-***.conf: new" in done.stdout
    assert "package supervisor: 4.2.5-1" in done.stdout
    other = {SOURCES: hosts.answer(hosts.SOURCES._replace(packages={"supervisor": "4.2.6-1"}))}
    answers = {**data["fake_responses"], **other}
    command.are({"m01": data, "m02": {**data, "fake_responses": answers}})
    command.inventory = str(kept)
    done = command("apply")
    assert done.returncode == CODES["refused"], done.stderr
    assert command.outcomes() == {"@fake/m01": "done", "@fake/m02": "refused"}
    words = "package supervisor is to become another (it was 4.2.5-1, it is 4.2.6-1)"
    assert words in " ".join(done.stdout.split())


# --- from another folder, installed -------------------------------------------------------------


def test_it_finds_group_data_beside_the_inventory_from_any_folder(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "inventories/group_data").mkdir(parents=True)
    answers = {"fake_responses": migrating("debian", system={"init": "bash"})}
    (tmp_path / "inventories/i.py").write_text(f"misp = [('@fake/m01', {answers!r})]\n")
    (tmp_path / "inventories/group_data/misp.py").write_text("misp_wrokers = {}\nfake_delay = 0\n")
    command.inventory, command.cwd = "inventories/i.py", tmp_path
    done = command("plan")
    assert done.returncode == CODES["refused"], done.stderr
    assert "did you mean 'misp_workers'?" in " ".join(done.stdout.split())


def test_an_own_config_is_executed_after_this_projects(command: Command, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(
        "from pathlib import Path\n"
        "from pyinfra.connectors import ssh\n"
        "checking = ssh.connector_data_meta['ssh_strict_host_key_checking'].default\n"
        "Path('seen').write_text(str(checking))\n"
    )
    command.are(DONE)
    command.inventory, command.cwd = str(ROOT / "tests/fake/inventory.py"), tmp_path
    assert command("status").returncode == 0
    assert (tmp_path / "seen").read_text() == "None"


def test_pip_installs_it_as_a_command_with_its_files(command: Command, tmp_path: Path) -> None:
    program = _installed(tmp_path)
    command.environment.pop("PYTHONPATH")
    command.environment.pop("MISP_WORKERS_REPORTS")
    command.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    answers = {"fake_responses": migrating("debian"), "fake_delay": 0, "fake_delay_jitter": 0}
    (tmp_path / "i.py").write_text(f"misp = [('@fake/m01', {answers!r})]\n")
    for name in ("plan", "apply"):
        done = subprocess.run(
            [program, name, "i.py"],
            cwd=tmp_path,
            env=command.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"{program} " in done.stdout
    (run,) = (tmp_path / "state/misp-workers/runs").iterdir()
    assert {one.host: one.outcome for one in record.read(run)} == {"@fake/m01": "done"}
    assert str(tmp_path) in (run / "pyinfra.log").read_text()


def _installed(place: Path) -> Path:
    """The command in a new environment, which sees the packages of the tests' own."""
    tree = laid_out(place / "tree")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib"))
    wheels = place / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(tree)], check=True)
    (wheel,) = wheels.iterdir()
    python = ["--python", str(venv / "bin/python")]
    subprocess.run([*pip, *python, "install", "--no-deps", str(wheel)], check=True)
    return venv / "bin/misp-workers"
