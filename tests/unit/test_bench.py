"""The arithmetic that decides the bench's verdicts, and what is no measurement."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from lab.bench import __main__ as command_line
from lab.bench import deploy, report
from lab.bench.measure import Figure, Sample, Section
from lab.bench.rows import against, converged, first
from lab.errors import LabError
from lab.run import Operation, Run
from tasks.plan.forecast import STABLE_SECONDS

SENT = "    [pyinfra.connectors.ssh] Running command on misp-el: (pty=False) sudo -H -n sh\n"
ENDED = "    [pyinfra.connectors.ssh] Command exit status: 0\n"
PROOF, DRAIN = (f"--> Starting operation: {name}: all of it \n" for name in ("Proof", "Drain"))
LOG = (SENT, ENDED, PROOF, SENT, ENDED, DRAIN, SENT, ENDED, SENT, ENDED)
STAMPED = tuple(zip((1.0, 2.0, 2.5, 3.0, 11.25, 11.5, 12.0, 12.5, 13.5, 14.0), LOG, strict=True))


def samples(*seconds: float) -> list[Sample]:
    return [Sample(taken, taken / 10) for taken in seconds]


def ran(**values: Any) -> Run:
    return Run("pyinfra x", 0, "", values.pop("stderr", ""), 16.0, **values)


def verdicts(figures: list[Figure]) -> list[str]:
    return [figure.verdict for figure in figures]


def test_the_first_run_is_not_counted_and_another_peer_begins_each_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = itertools.count(1)
    monkeypatch.setattr(converged, "timed", lambda action, hosts: Sample(next(number), 0))
    found = converged.in_turns({"misp-el": []}, {"a": print, "b": print}, 2)
    counted = {peer: [one.seconds for one in runs] for peer, runs in found["misp-el"].items()}
    assert counted == {"a": [4, 5], "b": [3, 6]}


def test_a_figure_is_judged_by_its_value_and_not_by_what_is_shown_of_it() -> None:
    figures = [Figure("a", 12, 12), Figure("a", 0.2512, 0.25), Figure("a", 2.0)]
    assert verdicts(figures) == ["met", "not met", "-"]


def test_the_installed_pyinfra_writes_the_lines_that_are_counted() -> None:
    spec = importlib.util.find_spec("pyinfra.connectors.ssh")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text()
    assert '"Running command on %s: (pty=%s) %s"' in source
    assert '"Command exit status: %i"' in source
    assert deploy.round_trips(ran(stderr=SENT + ENDED + SENT)) == 2


def test_proof_the_pauses_of_the_drain_and_old_workers_that_leave_are_waits_by_design() -> None:
    assert first.STABLE_SECONDS == STABLE_SECONDS
    assert first.waited(ran(stamped=STAMPED)) == STABLE_SECONDS + 1.0 + 5
    with pytest.raises(LabError, match="no proof or no drain"):
        first.waited(ran(stamped=STAMPED[:5]))


def test_a_deploy_that_changed_something_or_left_a_host_out_is_no_measurement() -> None:
    seen = Operation("a", "Packages", no_change=frozenset({"misp-el"}))
    deploy.check_unchanged([seen], 1)
    with pytest.raises(LabError, match="1 hosts of 2"):
        deploy.check_unchanged([seen], 2)
    for kind in ("success", "error"):
        changed = Operation("b", "Workers", **{kind: frozenset({"misp-el"})})
        with pytest.raises(LabError, match="Workers"):
            deploy.check_unchanged([seen, changed], 1)


def test_a_dry_run_with_a_plan_or_without_a_host_is_no_measurement() -> None:
    ready = "    [misp-el]     Ready: deploy.py\n"
    nothing = Operation("a", "Packages")
    deploy.check_nothing_planned(ran(plan=(nothing,), stderr=ready), ["misp-el"])
    with pytest.raises(LabError, match="left out misp-debian"):
        deploy.check_nothing_planned(ran(plan=(nothing,), stderr=ready), ["misp-debian"])
    with pytest.raises(LabError, match="every operation"):
        deploy.check_nothing_planned(ran(stderr=ready), ["misp-el"])
    planned = Operation("b", "Workers", conditional=frozenset({"misp-el"}))
    with pytest.raises(LabError, match="Workers"):
        deploy.check_nothing_planned(ran(plan=(planned,), stderr=ready), ["misp-el"])


def test_waits_by_design_are_allowed_on_top_of_the_guides_part() -> None:
    by = {"deploy": samples(15, 15), "guide": samples(4, 4), "ansible": samples(30)}
    own, ansible = first.judged("el-like", by, [10.0, 9.0, 12.0])
    assert (own.value, own.limit, own.verdict) == (15, 15.0, "met")
    assert (ansible.value, ansible.verdict) == (0.5, "met")


def test_dry_runs_are_judged_as_runs_are() -> None:
    by = {"deploy": samples(2), "dry run": samples(3), "ansible": samples(10), "floor": samples(1)}
    figures = converged.judged({"misp-el": by})
    assert verdicts(figures) == ["met", "met", "not met", "met"]


def test_a_fleet_is_judged_against_one_of_its_hosts_and_by_host() -> None:
    times = {
        "a": {"deploy": samples(1), "floor": samples(1)},
        "b": {"deploy": samples(3), "floor": samples(1)},
        "20 hosts": {"deploy": samples(7), "floor": samples(5)},
    }
    against_one, cpu = converged.fleet_judged(times, 20, {"deploy": 5.5, "floor": 3.1})
    assert (against_one.value, against_one.verdict) == (3.5, "not met")
    assert cpu.value == pytest.approx(0.7 / 20)


def test_two_checkouts_are_compared_by_the_median_of_the_rounds_ratios() -> None:
    rounds = [
        {"this": {"run": this}, "other": {"run": other}}
        for this, other in ((1.0, 2.0), (3.0, 3.0), (2.0, 8.0))
    ]
    [figure] = against.compared(rounds)
    assert (figure.value, figure.parts, figure.verdict) == (0.5, "2 / 3", "-")


def test_a_row_that_fails_is_reported_and_nothing_is_published(tmp_path: Path) -> None:
    def fails(pairs: int) -> Section:
        raise LabError("no engine")

    def works(pairs: int) -> Section:
        return Section("Fleet", [Figure("a", 2.0, 3.0)], details={"times": samples(1)})

    found = command_line.bench({"first": fails, "fleet": works}, 5)
    data = json.loads(json.dumps(found, default=report.plain))
    assert data["first"]["failure"] == "LabError: no engine"
    assert data["fleet"]["figures"][0]["verdict"] == "met"
    with pytest.raises(LabError, match="Not published"):
        report.publish(found, 5, tmp_path)
    page = tmp_path / "bench.md"
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}\nafter\n")
    fleet = {"fleet": found["fleet"]}
    report.publish(fleet, 5, tmp_path)
    table = report.markdown(fleet, 5)
    assert page.read_text() == f"before\n{report.BEGIN}{table}{report.END}\nafter\n"
    assert 'width="133.3"' in (tmp_path / "bench.svg").read_text()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--publish --rows fleet", "--publish takes all rows"),
        ("--publish --pairs 4", "--publish takes all rows"),
        ("--rows converged,fats", "no row fats; there are converged,first"),
        ("--against /nowhere", "no checkout"),
    ],
)
def test_what_makes_no_sense_is_not_begun(
    options: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command_line.main(options.split())
    assert why in capsys.readouterr().err
