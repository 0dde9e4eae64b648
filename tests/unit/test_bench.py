"""What the bench counts and judges, and what it does not take for a good run."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from docker.errors import DockerException

from lab.bench import __main__ as command_line
from lab.bench import deploy, measure, playbook, plot, report, timeline
from lab.bench.measure import Sample, Summary
from lab.bench.options import Options
from lab.bench.report import Report
from lab.bench.rows import converged, cutover, fake, first, fleet, idle, rehearsals
from lab.bench.verdict import Figure, Section
from lab.engine import IMAGE_PREFIX, LABEL
from lab.errors import LabError
from lab.load import Outcome
from lab.paths import REPOSITORY
from lab.run import Operation, Run
from tasks.steps.proof import STABLE_SECONDS

# As pyinfra 3.10 writes it; the last but one is a script's own output, the last a local command.
_RPC = """sudo -H -n sh -c 'sh -c '"'"'eval "$(cat)"'"'"' -- rpc'"""
LOG = f"""\
    [pyinfra.connectors.ssh] Connecting to: 127.0.0.1 ({{'port': 40001}})
    [pyinfra.connectors.ssh] Running command on misp-el: (pty=False) sudo -H -n sh -c 'id -u'
    [pyinfra.connectors.ssh] Waiting for exit status...
    [pyinfra.connectors.ssh] Running command on misp-debian: (pty=False) sudo -H -n sh -c 'id -u'
    [pyinfra.connectors.ssh] Command exit status: 0
    [pyinfra.connectors.ssh] Running command on misp-el: (pty=False) {_RPC}
    [misp-el] Running command on foot
    [pyinfra.connectors.local] --> Running command on localhost: true
"""

_SEND = (
    "    [pyinfra.connectors.ssh] Running command on misp-el: (pty=False) sudo -H -n sh -c "
    """'sh -c '"'"'eval "$(cat)"'"'"' -- {}'\n"""
)
_END = "    [pyinfra.connectors.ssh] Command exit status: 0\n"
STAMPED = (
    (0.2, "--> Connecting to hosts...\n"),
    (0.5, "--> Preparing operation files...\n"),
    (1.0, _SEND.format("system+proof")),
    (2.0, _END),
    (2.5, "--> Starting operation: Proof: a job on every queue \n"),
    (3.0, _SEND.format("record_proof")),
    (11.25, _END),
    (11.5, "--> Starting operation: Drain: the old workers finish \n"),
    (12.0, _SEND.format("legacy")),
    (12.5, _END),
    (13.5, _SEND.format("legacy")),
    (14.0, _END),
    (15.0, "--> Disconnecting from hosts...\n"),
)

RECAP = """\
PLAY RECAP *******************************************************************
misp-debian                : ok=18   changed=0    unreachable=0    failed=0
misp-el                    : ok=18   changed={changed} unreachable={unreachable} failed={failed}
"""


def _summary(*seconds: float) -> Summary:
    return Summary(tuple(Sample(taken, taken / 10) for taken in seconds))


def _run(*operations: Operation, **values: Any) -> Run:
    return Run("pyinfra x", 0, "", values.pop("stderr", ""), 16.0, operations=operations, **values)


# --- what a log says -----------------------------------------------------------------------------


def test_round_trips_are_counted_per_host() -> None:
    assert timeline.round_trips(LOG) == {"misp-el": 2, "misp-debian": 1}
    assert timeline.round_trips("") == {}


def test_the_installed_pyinfra_writes_the_lines_that_are_counted() -> None:
    spec = importlib.util.find_spec("pyinfra.connectors.ssh")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text()
    assert '"Running command on %s: (pty=%s) %s"' in source
    assert '"Command exit status: %i"' in source


def test_commands_have_their_operation_their_name_and_their_time() -> None:
    found = [(one.operation[:5], one.name, one.seconds) for one in timeline.commands(STAMPED)]
    assert found == [
        ("", "system+proof", 1.0),
        ("Proof", "record_proof", 8.25),
        ("Drain", "legacy", 0.5),
        ("Drain", "legacy", 0.5),
    ]


def test_what_proof_and_drain_wait_is_read_from_the_log() -> None:
    assert first.waited(_run(stamped=STAMPED)) == {"proof": STABLE_SECONDS, "drain": 1.0}
    assert first.STABLE_SECONDS == STABLE_SECONDS


@pytest.mark.parametrize("missing", ["record_proof", "legacy"])
def test_a_log_without_a_wait_is_an_error(missing: str) -> None:
    stamped = tuple((at, line) for at, line in STAMPED if missing not in line)
    with pytest.raises(LabError, match=f"shows no {missing}"):
        first.waited(_run(stamped=stamped))


def test_operations_follow_one_another_without_a_gap() -> None:
    found = timeline.operations(STAMPED, 16.0)
    assert found == {
        "look": 2.5,
        "Proof: a job on every queue": 9.0,
        "Drain: the old workers finish": 4.5,
    }


def test_a_profile_adds_up_to_the_whole_run() -> None:
    found = timeline.profile(STAMPED, 16.0)
    assert sum(found.values()) == pytest.approx(16.0)
    assert found["connection"] == 0.3
    assert found["command legacy"] == 1.0


# --- measuring -----------------------------------------------------------------------------------


def test_a_summary_is_of_medians() -> None:
    summary = _summary(3, 1, 2, 10)
    assert summary.seconds == pytest.approx(2.5)
    assert summary.cpu == pytest.approx(0.25)
    assert (summary.fastest, summary.slowest) == (1, 10)


def test_another_peer_begins_each_round_and_nobody_is_left_out() -> None:
    rounds = list(measure.turns(["a", "b", "c"], 4))
    assert rounds == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"), ("a", "b", "c")]


def test_the_first_run_of_each_peer_is_not_counted() -> None:
    ran: list[str] = []
    contenders = {name: (lambda name=name: ran.append(name)) for name in "ab"}
    times = measure.take_turns(contenders, 2, "test")
    assert ran == ["a", "b", "a", "b", "b", "a"]
    assert {name: len(summary.samples) for name, summary in times.items()} == {"a": 2, "b": 2}


def test_the_time_of_child_processes_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    sample = measure.measured(lambda: subprocess.run([sys.executable, "-c", burn], check=True))
    assert sample.cpu >= 0.2
    assert sample.seconds >= 0.2


def _watched(tmp_path: Path, code: str, limit: float = 60) -> Sample:
    output = tmp_path / "output"
    command = [sys.executable, "-c", code]
    return measure.watched(command, output, {"GIVEN": "yes"}, tmp_path, limit)


def test_the_memory_is_that_of_the_watched_process(tmp_path: Path) -> None:
    small = _watched(
        tmp_path, "import os, time; print(os.environ['GIVEN'], os.getcwd()); time.sleep(0.3)"
    )
    assert (tmp_path / "output").read_text() == f"yes {tmp_path}\n"
    large = _watched(tmp_path, "block = b'x' * 100_000_000; import time; time.sleep(0.3)")
    assert 90 < large.megabytes - small.megabytes < 130
    assert 3 < small.megabytes < 60


def test_a_watched_process_that_fails_or_hangs_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="exit code 3:\nbecause"):
        _watched(tmp_path, "import sys; sys.stderr.write('because'); sys.exit(3)")
    with pytest.raises(LabError, match="exit code -9"):
        _watched(tmp_path, "import time; time.sleep(60)", limit=0.2)


def test_points_on_a_line_give_that_line() -> None:
    line = measure.fit({50: 3.0, 100: 5.5, 200: 10.5, 400: 20.5})
    assert [line.base, line.slope] == pytest.approx([0.5, 0.05])
    assert line.worst == pytest.approx(0.0, abs=1e-9)


def test_growth_by_the_square_is_far_from_a_line() -> None:
    assert (
        measure.fit({size: 0.001 * size**2 for size in (50, 100, 200, 400)}).worst
        > fake.FARTHEST_FROM_LINE
    )


# --- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "cells"),
    [
        (Figure("a", 12, 12), ("a", "12", "<= 12", "met", "")),
        (Figure("a", 13, 12), ("a", "13", "<= 12", "not met", "")),
        (Figure("a", 0.2512, 0.25, "x"), ("a", "0.25 x", "<= 0.25 x", "not met", "")),
        (Figure("a", 2.0, None, "MB", "b"), ("a", "2.00 MB", "", "-", "b")),
    ],
)
def test_a_figure_is_judged_by_its_value_and_not_by_what_is_shown_of_it(
    figure: Figure, cells: tuple[str, ...]
) -> None:
    assert figure.cells == cells


def test_what_is_waited_by_design_is_allowed_on_top_of_the_guides_part() -> None:
    waits = [
        {"proof": 8.2, "drain": 1.8},
        {"proof": 8.0, "drain": 1.0},
        {"proof": 9.0, "drain": 3.0},
    ]
    by = {first.DEPLOY: _summary(15, 15), first.GUIDE: _summary(4, 4), first.ANSIBLE: _summary(30)}
    own, ansible = first.judged("el-like", by, waits)
    assert (own.value, own.target, own.met) == (15, 15.0, True)
    assert "(15.0" not in own.parts and "1.25 x the guide" in own.parts
    assert (ansible.value, ansible.met) == (0.5, True)
    assert "proof and drain wait 10.0 s" in ansible.parts


def test_the_longest_wait_of_all_runs_counts_and_the_median_of_the_first_jobs() -> None:
    outcomes = [
        Outcome(9, 9, {}, [], [], [], longest_wait=wait, to_first_new_job=to_first)
        for wait, to_first in ((1.0, 1.0), (6.0, 2.0), (2.0, 9.0))
    ]
    to_first, longest = cutover.judged("el-like", outcomes)
    assert (to_first.value, to_first.met) == (2.0, True)
    assert (longest.value, longest.met) == (6.0, False)


def test_a_fleet_is_judged_against_one_of_its_hosts_and_by_host() -> None:
    times = {
        "a": {fleet.DEPLOY: _summary(1), fleet.FLOOR: _summary(1)},
        "b": {fleet.DEPLOY: _summary(3), fleet.FLOOR: _summary(1)},
        "20 hosts": {fleet.DEPLOY: _summary(7), fleet.FLOOR: _summary(5)},
    }
    against_one, cpu = fleet.judged(times)
    assert (against_one.value, against_one.met) == (3.5, False)
    assert "the floor: 5.00 s / 1.00 s = 5.00 x" in against_one.parts
    assert cpu.value == pytest.approx(0.7 / 20)


def test_a_fleet_has_two_families_and_a_worker_for_each_queue() -> None:
    hosts = fleet.specs(20)
    assert len({host.name for host in hosts}) == 20
    assert [host.family for host in hosts].count("debian") == 10
    assert {host.family for host in hosts[: len(fleet.FAMILIES)]} == {"debian", "rhel"}
    assert {sum(host.data["misp_workers"].values()) for host in hosts} == {5}


def test_fake_hosts_are_judged_by_the_largest_size_and_by_the_line() -> None:
    seconds = {50: 5.0, 100: 10.0, 200: 20.0, 400: 41.0}
    time, memory, straight, even, _ = fake.judged(seconds, dict.fromkeys(seconds, 99.0))
    assert (time.value, time.met) == (41.0, False)
    assert "s a host" in time.parts
    assert (memory.value, memory.met) == (99.0, True)
    assert straight.met and even.met
    bent = fake.judged({50: 1.0, 100: 4.0, 200: 16.0, 400: 39.0}, seconds)[2]
    assert not bent.met


def test_a_growth_that_bends_is_seen_where_a_line_still_fits() -> None:
    bent = {size: 2 + 0.02 * size + 2e-5 * size**2 for size in (50, 100, 200, 400)}
    _, _, straight, even, _ = fake.judged(bent, bent)
    assert (straight.met, even.met) == (True, False)
    assert fake.bend({50: 3.0, 100: 3.0, 200: 3.0, 400: 4.0}) == math.inf
    assert fake.bend({50: 3.0, 200: 6.0, 400: 10.0}) == pytest.approx(1.0)


def test_twenty_slow_fake_hosts_are_compared_with_one_and_not_judged() -> None:
    figure = fake.beside_one({1: 1.0, 20: 3.1})
    assert (figure.value, figure.met) == (3.1, None)


def test_idle_workers_may_send_one_command_a_second() -> None:
    host: Any = SimpleNamespace(name="misp-el", spec=SimpleNamespace(data={}))
    found = {"megabytes": 50.0, "cpu_seconds_a_second": 0.0, "redis_commands_a_second": 1.01}
    commands, memory = idle.judged(host, found)
    assert "21 idle workers" in commands.name
    assert (commands.verdict, memory.verdict) == ("not met", "-")


def test_dry_runs_are_judged_as_runs_are() -> None:
    names = (converged.RUN, converged.DRY, converged.ANSIBLE, converged.FLOOR)
    by = dict(zip(names, map(_summary, (2, 3, 10, 1)), strict=True))
    verdicts = {figure.name: figure.met for figure in converged.judged({"misp-el": by})}
    assert verdicts == {
        "deploy / ansible, misp-el": True,
        "deploy / floor, misp-el": True,
        "dry run / ansible, misp-el": False,
        "dry run / floor, misp-el": True,
    }


# --- fake hosts ----------------------------------------------------------------------------------

VERBOSE = """\
--> Connecting to hosts...
    [misp-el]     Connected
[misp-el]     >>> sudo -H -n sh -c 'printf '"'"'user\\t%s\\n'"'"' "$(id -u)"'
[misp-el]     user\t0
    [misp-el]     Loaded fact tasks.facts.Identity
[misp-el]     >>> sudo -H -n sh -c 'sh -c '"'"'eval "$(cat)"'"'"' -- system+misp'
[misp-el]     @system
[misp-el]     busy\t
[misp-el]      two
[misp-el]     [PHP Modules]
"""


def test_answers_are_read_by_the_command_as_a_fake_host_gets_it() -> None:
    assert fake.answers(VERBOSE) == {
        "printf 'user\\t%s\\n' \"$(id -u)\"": ["user\t0"],
        "sh -c 'eval \"$(cat)\"' -- system+misp": ["@system", "busy\t", " two", "[PHP Modules]"],
    }


@pytest.mark.parametrize(
    "row",
    [
        {"success": ["a"], "error": [], "no_change": ["b"]},
        {"success": [], "error": ["a"], "no_change": ["b"]},
        {"success": [], "error": [], "no_change": ["a"]},
    ],
)
def test_fake_hosts_that_were_not_all_found_converged_are_no_measurement(
    row: dict[str, list[str]],
) -> None:
    good = {"name": "Packages", "success": [], "error": [], "no_change": ["a", "b"]}
    fake.check({"results": {"operations": [good]}}, 2)
    with pytest.raises(LabError, match="Not every fake host"):
        fake.check({"results": {"operations": [good, {"name": "Workers", **row}]}}, 2)


def test_the_inventory_of_fake_hosts_has_as_many_of_each_kind_as_are_written(
    tmp_path: Path,
) -> None:
    written = tmp_path / "fakes.json"
    kinds = ({"count": 2, "delay": 0.5, "answers": {"a": []}}, {"count": 1, "delay": 0})
    written.write_text(json.dumps([{"answers": {}, **kind} for kind in kinds]))
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import runpy; hosts = runpy.run_path({fake.INVENTORY!r})['misp']; "
            "print([data['fake_delay'] for _, data in hosts])",
        ],
        cwd=REPOSITORY,
        env={**os.environ, fake.VARIABLE: str(written)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "[0.5, 0.5, 0]\n"


# --- what is no good run -------------------------------------------------------------------------


def test_a_deploy_that_changed_something_or_left_a_host_out_is_no_measurement() -> None:
    seen = Operation("a", "Packages", no_change=frozenset({"misp-el"}))
    deploy.check_unchanged(_run(seen), ["misp-el"])
    with pytest.raises(LabError, match="left out misp-debian"):
        deploy.check_unchanged(_run(seen), ["misp-el", "misp-debian"])
    with pytest.raises(LabError, match="left out misp-el"):
        deploy.check_unchanged(_run(), ["misp-el"])
    changed = Operation("b", "Workers", success=frozenset({"misp-el"}))
    with pytest.raises(LabError, match="Workers"):
        deploy.check_unchanged(_run(seen, changed), ["misp-el"])


def test_a_dry_run_with_a_plan_or_without_a_host_is_no_measurement() -> None:
    ready = "    [misp-el]     Ready: deploy.py\n"
    nothing = Operation("a", "Packages")
    deploy.check_nothing_planned(_run(plan=(nothing,), stderr=ready), ["misp-el"])
    with pytest.raises(LabError, match="left out misp-debian"):
        deploy.check_nothing_planned(
            _run(plan=(nothing,), stderr=ready), ["misp-el", "misp-debian"]
        )
    with pytest.raises(LabError, match="every operation"):
        deploy.check_nothing_planned(_run(stderr=ready), ["misp-el"])
    for kind in ("change", "conditional"):
        planned = Operation("b", "Workers", **{kind: frozenset({"misp-el"})})
        with pytest.raises(LabError, match="Workers"):
            deploy.check_nothing_planned(_run(plan=(nothing, planned), stderr=ready), ["misp-el"])


@pytest.mark.parametrize(
    "counts",
    [
        {"changed": 1, "unreachable": 0, "failed": 0},
        {"changed": 0, "unreachable": 1, "failed": 0},
        {"changed": 0, "unreachable": 0, "failed": 1},
    ],
)
def test_a_playbook_that_changed_or_failed_is_no_measurement(counts: dict[str, int]) -> None:
    output = RECAP.format(**counts)
    playbook.check_recap(output, ["misp-debian"])
    with pytest.raises(LabError, match="misp-el"):
        playbook.check_recap(output, ["misp-debian", "misp-el"])


def test_a_playbook_may_change_a_fresh_host_and_may_not_fail_on_it() -> None:
    changed = RECAP.format(changed=9, unreachable=0, failed=0)
    playbook.check_recap(changed, ["misp-debian", "misp-el"], may_change=True)
    with pytest.raises(LabError, match="misp-el"):
        failed = RECAP.format(changed=9, unreachable=0, failed=1)
        playbook.check_recap(failed, ["misp-el"], may_change=True)


def test_a_playbook_without_a_recap_failed() -> None:
    with pytest.raises(LabError, match="ERROR! no such file"):
        playbook.check_recap("ERROR! no such file", ["misp-el"])


# --- the report ----------------------------------------------------------------------------------

SECTIONS = (
    Section(
        "converged",
        "Converged hosts",
        figures=[Figure("a | b", 2, 1), Figure("<c>", 0.5, 1.0, "x"), Figure("d", 7.0, unit="MB")],
        times={"one host": {"deploy": _summary(2, 1, 9)}},
        hosts={"misp-el": "el-like"},
        profiles={"A run": {"connection": 0.3}},
        notes=["asks less"],
    ),
    Section("fleet", "fleet", failure="misp-el: no sshd\nin 60 s"),
)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr("lab.bench.report.version", lambda name: "1")
    return Report(Options(pairs=3), SECTIONS)


def test_the_json_file_holds_samples_verdicts_and_failures(found: Report, tmp_path: Path) -> None:
    found.write(tmp_path / "reports")
    data = json.loads((tmp_path / "reports" / "bench.json").read_text())
    row = data["rows"]["converged"]
    assert row["times"]["one host"]["deploy"]["samples"][0] == {"seconds": 2, "cpu": 0.2}
    assert [figure["verdict"] for figure in row["figures"]] == ["not met", "met", "-"]
    assert data["rows"]["fleet"]["failure"].startswith("misp-el: no sshd")


def test_the_markdown_table_has_a_row_for_everything_and_no_broken_cell(found: Report) -> None:
    rows = found.as_table().splitlines()
    assert {row.count("|") for row in rows} == {6}
    assert "| a / b | 2 | <= 1 | not met |  |" in rows
    assert "| fleet |  |  | not measured | misp-el: no sshd in 60 s |" in rows
    assert "\n\n- asks less\n\n## " in found.as_markdown()
    assert "| A run | seconds |\n| --- | --: |\n| connection | 0.30 |\n" in found.as_markdown()


def test_the_plot_is_a_picture_with_a_bar_for_each_judged_figure(found: Report) -> None:
    picture = ElementTree.fromstring(plot.svg(found.figures))  # noqa: S314 # our own
    space = "{http://www.w3.org/2000/svg}"
    bars = [one for one in picture.iter(f"{space}rect") if one.get("x")]
    texts = [one.text for one in picture.iter(f"{space}text")]
    assert [float(bar.get("width", 0)) for bar in bars] == [plot.BAR, pytest.approx(plot.BAR / 3)]
    assert "<c>" in texts and "d" not in texts
    assert any(text and text.endswith("→") for text in texts)


def test_only_a_good_run_is_published_and_only_between_the_marks(
    found: Report, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for unfit in (found, Report(Options(quick=True), SECTIONS[:1])):
        with pytest.raises(LabError, match="not published"):
            unfit.publish(tmp_path)
    Report(Options(), SECTIONS[:1]).publish(tmp_path)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| a / b | 2 | <= 1 | not met |\n" in text
    assert (tmp_path / "docs" / "bench.svg").exists()
    assert "- asks less" in (tmp_path / "docs" / "bench.md").read_text()
    with pytest.raises(LabError, match="has no"):
        report.placed("nothing here", "text")


# --- rows ----------------------------------------------------------------------------------------


def test_a_row_that_fails_is_reported_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(options: Options) -> Section:
        raise LabError("no engine")

    def works(options: Options) -> Section:
        return Section("cold", "Cold", [Figure("a", float(options.pairs), 3)])

    monkeypatch.setattr(command_line, "BY_THEMSELVES", {"first": fails, "cold": works})
    done = command_line.bench(["cold", "first"], Options(pairs=3), keep=False)
    assert [section.failure for section in done.sections] == ["LabError: no engine", ""]
    assert [figure.met for figure in done.figures] == [True]


@pytest.mark.parametrize(
    "options", [["--rows", "fake"], ["--pairs", "4"], ["--quick"]], ids=["rows", "pairs", "quick"]
)
def test_less_than_a_whole_bench_is_not_published_and_not_begun(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["--publish", *options])
    assert "--publish takes all rows" in capsys.readouterr().err


def test_an_unknown_row_is_refused_and_the_known_ones_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["--rows", "converged,fats"])
    assert "no row fats; there are converged,idle,fake,first" in capsys.readouterr().err


# --- rehearsals ----------------------------------------------------------------------------------


def _image(created: str, *tags: str) -> Any:
    return SimpleNamespace(attrs={"Created": created}, tags=list(tags))


def test_only_tags_of_the_lab_are_removed_and_newer_ones_first() -> None:
    images = [
        _image("2025-01-01T00:00:00Z", "localhost/misp-lab/base:debian-12-aa", "debian:12"),
        _image("2025-01-02T00:00:00Z", "localhost/misp-lab/host:debian-12-bb"),
        _image("2025-01-03T00:00:00Z", "someone/misp-lab:latest"),
        _image("2025-01-04T00:00:00Z"),
    ]
    assert rehearsals.own_tags(images) == [
        "localhost/misp-lab/host:debian-12-bb",
        "localhost/misp-lab/base:debian-12-aa",
    ]


def test_an_image_in_use_stays_the_others_go_and_nothing_cold_is_measured() -> None:
    removed: list[str] = []
    asked: list[object] = []

    def listed(filters: object) -> list[Any]:
        asked.append(filters)
        return [_image(day, f"{IMAGE_PREFIX}/host:{day}") for day in ("01", "02", "03")]

    def remove(tag: str) -> None:
        if tag.endswith("02"):
            raise DockerException("conflict: a container uses it")
        removed.append(tag)

    client = SimpleNamespace(images=SimpleNamespace(list=listed, remove=remove), close=lambda: None)
    engine: Any = SimpleNamespace(client=lambda: client)
    with pytest.raises(LabError, match=f"In use, .*{IMAGE_PREFIX}/host:02"):
        rehearsals.remove_images(engine)
    assert asked == [{"label": f"{LABEL}=image"}]
    assert removed == [f"{IMAGE_PREFIX}/host:03", f"{IMAGE_PREFIX}/host:01"]
