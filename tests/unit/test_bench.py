"""What the bench counts and judges, and what it does not take for a good run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import DockerException

from lab.bench import measure, peers, rehearsals, verdict
from lab.bench.measure import Sample, Summary
from lab.bench.report import Report
from lab.bench.verdict import ANSIBLE, FLOOR, PYINFRA, Figure
from lab.engine import IMAGE_PREFIX, LABEL
from lab.errors import LabError
from lab.run import Operation, Run

# As pyinfra 3.10 writes it; the last but one is a script's own output, the last a local command.
LOG = """\
    [pyinfra.connectors.ssh] Connecting to: 127.0.0.1 ({'port': 40001})
    [pyinfra.connectors.ssh] Running command on misp-el: (pty=False) sudo -H -n sh -c 'id -u'
    [pyinfra.connectors.ssh] Waiting for exit status...
    [pyinfra.connectors.ssh] Running command on misp-debian: (pty=False) sudo -H -n sh -c 'id -u'
    [pyinfra.connectors.ssh] Command exit status: 0
    [pyinfra.connectors.ssh] Running command on misp-el: (pty=False) sudo -H -n sh -c 'sh -s -- rpc'
    [misp-el] Running command on foot
    [pyinfra.connectors.local] --> Running command on localhost: true
"""

RECAP = """\
PLAY RECAP *******************************************************************
misp-debian                : ok=18   changed=0    unreachable=0    failed=0
misp-el                    : ok=18   changed={changed} unreachable={unreachable} failed={failed}
"""


def _summary(*seconds: float) -> Summary:
    return Summary(tuple(Sample(taken, taken / 10) for taken in seconds))


def _report(**changes: Any) -> Report:
    times = {PYINFRA: _summary(2, 1, 9), ANSIBLE: _summary(8, 8, 8), FLOOR: _summary(1, 0.5, 0.5)}
    values: dict[str, Any] = {
        "pairs": 3,
        "hosts": {"misp-el": "el-like"},
        "round_trips": {"misp-el": 13},
        "times": {"one host": times},
    }
    return Report(**{**values, **changes})


def test_round_trips_are_counted_per_host() -> None:
    assert measure.round_trips(LOG) == {"misp-el": 2, "misp-debian": 1}
    assert measure.round_trips("") == {}


def test_the_installed_pyinfra_writes_the_line_that_is_counted() -> None:
    spec = importlib.util.find_spec("pyinfra.connectors.ssh")
    assert spec is not None and spec.origin is not None
    assert '"Running command on %s: (pty=%s) %s"' in Path(spec.origin).read_text()


def test_a_summary_is_of_medians() -> None:
    summary = _summary(3, 1, 2, 10)
    assert summary.seconds == pytest.approx(2.5)
    assert summary.cpu == pytest.approx(0.25)
    assert (summary.fastest, summary.slowest) == (1, 10)


def test_another_peer_begins_each_round_and_nobody_is_left_out() -> None:
    rounds = list(measure.turns(["a", "b", "c"], 4))
    assert rounds == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"), ("a", "b", "c")]


def test_the_time_of_child_processes_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    sample = measure.measured(lambda: subprocess.run([sys.executable, "-c", burn], check=True))
    assert sample.cpu >= 0.2
    assert sample.seconds >= 0.2


def test_ratios_are_of_medians_and_judged() -> None:
    figures = {figure.name: figure for figure in _report().figures}
    ansible, floor = figures["pyinfra / ansible, one host"], figures["pyinfra / floor, one host"]
    assert (ansible.value, ansible.met) == (0.25, True)
    assert (floor.value, floor.met) == (4.0, False)


@pytest.mark.parametrize(("count", "expected"), [(12, "met"), (13, "not met")])
def test_twelve_round_trips_are_allowed(count: int, expected: str) -> None:
    (figure,) = verdict.of_round_trips({"misp-el": count})
    assert verdict.rows([figure]) == [("round trips, misp-el", str(count), "<= 12", expected)]


def test_rows_show_units_and_verdicts() -> None:
    figures = [Figure("a", 0.2512, 0.25, "x"), *verdict.of_rehearsals({"warm": 179.5})]
    assert verdict.rows(figures) == [
        ("a", "0.25 x", "<= 0.25 x", "not met"),
        ("rehearsal, warm", "179.50 s", "<= 180 s", "met"),
    ]


def test_the_report_as_json_holds_samples_and_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.bench.report.version", lambda name: "1")
    report = _report().with_rehearsals({"cold": 700.0})
    report.write(tmp_path / "reports" / "bench.json")
    data = json.loads((tmp_path / "reports" / "bench.json").read_text())
    assert data["times"]["one host"]["pyinfra"]["samples"][0] == {"seconds": 2, "cpu": 0.2}
    assert [figure["met"] for figure in data["figures"]] == [False, True, False, False]
    assert data["not_in_the_playbook"]


def _run(*operations: Operation) -> Run:
    return Run("pyinfra x", 0, "", "", 1.0, operations=operations)


def test_a_deploy_that_changed_something_or_left_a_host_out_is_no_measurement() -> None:
    seen = Operation("a", "Packages", no_change=frozenset({"misp-el"}))
    peers.check_unchanged(_run(seen), ["misp-el"])
    with pytest.raises(LabError, match="left out misp-debian"):
        peers.check_unchanged(_run(seen), ["misp-el", "misp-debian"])
    with pytest.raises(LabError, match="left out misp-el"):
        peers.check_unchanged(_run(), ["misp-el"])
    changed = Operation("b", "Workers", success=frozenset({"misp-el"}))
    with pytest.raises(LabError, match="Workers"):
        peers.check_unchanged(_run(seen, changed), ["misp-el"])


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
    peers.check_recap(output, ["misp-debian"])
    with pytest.raises(LabError, match="misp-el"):
        peers.check_recap(output, ["misp-debian", "misp-el"])


def test_a_playbook_without_a_recap_failed() -> None:
    with pytest.raises(LabError, match="ERROR! no such file"):
        peers.check_recap("ERROR! no such file", ["misp-el"])


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


def test_an_image_in_use_stays_and_the_others_go(capsys: pytest.CaptureFixture[str]) -> None:
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
    rehearsals.remove_images(engine)
    assert asked == [{"label": f"{LABEL}=image"}]
    assert removed == [f"{IMAGE_PREFIX}/host:03", f"{IMAGE_PREFIX}/host:01"]
    assert f"{IMAGE_PREFIX}/host:02" in capsys.readouterr().err
