from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from tests.fake.answers import (
    BLOCK,
    EXAMINE,
    QUIET,
    RUNNING,
    Answers,
    converged,
    get_workers,
    lines,
    migrating,
    settings,
)
from tests.fake.conftest import Run

ACTIONS = [
    "install_packages",
    "require_libraries",
    "configure_rpc",
    "apply_settings",
    "reload_web",
    "apply_workers",
    "wait_until_stable",
    "prove",
    "record_proof",
    "retire",
]
# From `enabled` on, a failure takes the host back to its old workers.
WITH_A_WAY_BACK = {"reload_web", "apply_workers", "wait_until_stable", "prove", "record_proof"}
Pyinfra = Callable[..., Run]
VIEW = ["@view", *lines(get_workers=get_workers())]


def broken(answers: Answers, action: str) -> Answers:
    """The same host, on which the script of one action fails."""
    return {f"-- {action}": {"success": False, "stderr": "it broke"}, **answers}


def test_both_families_take_the_same_steps_in_the_safe_order(pyinfra: Pyinfra) -> None:
    hosts = {family: {"fake_responses": migrating(family)} for family in ("debian", "rhel")}
    run = pyinfra(hosts, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("debian") == run.actions("rhel") == ACTIONS


def test_nothing_is_asked_again_that_no_step_has_changed_since(pyinfra: Pyinfra) -> None:
    answers = migrating("debian")
    joined = {
        f"-- {subjects}": [line for one in subjects.split("+") for line in answers[f"-- {one}"]]
        for subjects in ("settings+workers", "proof+legacy")
    }
    joined["-- proof+legacy+view"] = [*joined.pop("-- proof+legacy"), *VIEW]
    joined["-- settings+workers+redis"] = [*joined.pop("-- settings+workers"), "@redis"]
    preflight = next(command for command in answers if "system+" in command)
    answers[preflight] += [*answers["-- libraries"], *answers["-- rpc"]]
    run = pyinfra({"one": {"fake_responses": {**joined, **answers, **joined}}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    sent = [command.rpartition("-- ")[2] for command in run.commands["one"]]
    assert sent[2:] == [
        "install_packages",
        "require_libraries",
        "configure_rpc",
        "settings+web",
        "apply_settings",
        "settings+workers+redis",
        "reload_web",
        "apply_workers",
        "proof+view",
        "wait_until_stable",
        "prove",
        "proof+legacy+view",
        "record_proof",
        "legacy",
        "retire",
    ]


def test_a_supervisord_whose_package_may_have_been_updated_is_asked_whether_it_runs(
    pyinfra: Pyinfra,
) -> None:
    answers = converged("debian")
    preflight = next(command for command in answers if "system+" in command)
    at = answers[preflight].index("@packages") + 1
    answers[preflight] = [*answers[preflight][:at], "masked\tsupervisor", *answers[preflight][at:]]
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    sent = [command.rpartition("-- ")[2] for command in run.commands["one"]]
    assert sent[2:4] == ["install_packages", "rpc"]


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_happens_after_a_step_that_failed(pyinfra: Pyinfra, action: str) -> None:
    run = pyinfra({"one": {"fake_responses": broken(migrating("debian"), action)}}, "-y", "-vv")
    assert run.exit_code == 1
    assert "it broke" in run.output
    way_back = ["return"] if action in WITH_A_WAY_BACK else []
    assert run.actions("one") == ACTIONS[: ACTIONS.index(action) + 1] + way_back


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"get_workers": {"cache": {"ok": False}}}, "getWorkers speaks of the old backend"),
        ({"get_workers": "nothing"}, "no answer from PHP"),
        ({"status": ["misp-workers:default_00 FATAL Exited too quickly"]}, "default_00 is FATAL"),
    ],
)
def test_old_workers_stay_when_the_proof_does_not_hold(
    pyinfra: Pyinfra, change: dict[str, object], message: str
) -> None:
    seen = {"status": RUNNING, "get_workers": get_workers(), "evidence": "e", **change}
    answers = {**migrating("rhel"), "-- proof+legacy+view": ["@proof", *lines(**seen)]}
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 1
    assert message in run.output
    assert run.actions("one")[-2:] == ["prove", "return"]


def test_a_converged_host_is_only_looked_at_and_in_few_round_trips(pyinfra: Pyinfra) -> None:
    hosts = {family: {"fake_responses": converged(family)} for family in ("debian", "rhel")}
    run = pyinfra(hosts, "-y", "-vv")
    assert run.exit_code == 0, run.output
    for family in hosts:
        assert run.actions(family) == []
        assert len(run.commands[family]) == 2
    assert run.output.count("No changes") == 2 * 9


class Page(http.server.BaseHTTPRequestHandler):
    """MISP's page with the workers; how often it was asked for."""

    asked: ClassVar[int] = 0
    shown: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.shown).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """Where the page is; well, and not asked for so far."""
    Page.asked, Page.shown = 0, get_workers()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def with_page(pyinfra: Pyinfra, page: str, answers: Answers) -> Run:
    data = {"fake_responses": answers, "misp_url": page, "misp_api_key": {"env": "KEY"}}
    return pyinfra({"one": data}, "-y", "-vv", KEY="K" * 40, NO_PROXY="*")


def test_a_converged_hosts_web_tier_is_asked_once(pyinfra: Pyinfra, page: str) -> None:
    run = with_page(pyinfra, page, converged("debian"))
    assert (run.exit_code, Page.asked) == (0, 1), run.output
    assert run.actions("one") == []


def test_a_proof_asks_the_web_tier_too(pyinfra: Pyinfra, page: str) -> None:
    run = with_page(pyinfra, page, migrating("debian"))
    assert run.exit_code == 0, run.output
    assert Page.asked == 2  # before the first change, and for the proof


def test_what_the_command_line_says_against_a_proof_has_it_made_anew(
    pyinfra: Pyinfra, page: str
) -> None:
    answers = converged("debian")
    look = next(key for key in answers if EXAMINE in key)
    answers[look] = [line for line in answers[look] if not line.startswith("get_workers")]
    run = with_page(pyinfra, page, answers)
    assert run.actions("one")[:2] == ["wait_until_stable", "prove"]


def test_what_the_web_tier_says_against_a_proof_has_it_made_anew(
    pyinfra: Pyinfra, page: str
) -> None:
    Page.shown = get_workers(supervisord_status=False)
    run = with_page(pyinfra, page, converged("debian"))
    assert run.exit_code == 1
    assert "over REST" in run.output
    assert run.actions("one")[:2] == ["wait_until_stable", "prove"]


def test_with_an_rpc_of_the_operators_own_only_the_rpc_is_asked_about_again(
    pyinfra: Pyinfra,
) -> None:
    own = {
        "inet_elsewhere": "/etc/supervisor/conf.d/own.conf 127.0.0.1:9005 rpc",
        "inet_answer": "200 42",
        "settings": settings(BLOCK | {"supervisor_port": 9005, "supervisor_user": "rpc"}),
    }
    answer = lines(unit_state="active enabled", answer="200 42", daemon_pid="42")
    answers = {**converged("debian", **own), "-- rpc": ["@rpc", *answer]}
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.output.count("No changes") == 9
    assert [command.rpartition("-- ")[2] for command in run.commands["one"]][2:] == ["rpc"]


def test_a_dry_run_sends_no_action_and_names_what_would_change(pyinfra: Pyinfra) -> None:
    hosts = {
        "new": {"fake_responses": migrating("debian")},
        "done": {"fake_responses": converged("rhel")},
    }
    run = pyinfra(hosts, "--dry", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("new") == run.actions("done") == []
    assert "Retire: the old workers stop for good" in run.output


def test_the_drain_limit_leaves_the_old_workers_alone(pyinfra: Pyinfra) -> None:
    busy = lines(legacy={**QUIET, "waiting": {"prio": 3}, "running": 1}, process="77 76 default")
    answers = {**migrating("debian"), "-- legacy": ["@legacy", *busy]}
    run = pyinfra({"one": {"fake_responses": answers, "drain_timeout": 1}}, "-y", "-vv")
    assert run.exit_code == 1
    assert "drain limit of 1 s reached with 3 waiting in prio, 1 running" in run.output
    assert "retire" not in run.actions("one")


@pytest.mark.parametrize(
    ("legacy", "process", "message"),
    [
        (
            {**QUIET, "waiting": {"prio": 3}},
            [],
            "the old backend has 3 waiting in prio, and no old worker lives",
        ),
        ({**QUIET, "delayed": 2, "last_due": 90_000}, "7 1 default", "due in 1500 minutes"),
    ],
)
def test_old_jobs_that_cannot_be_waited_for_stop_the_run_at_once(
    pyinfra: Pyinfra, legacy: dict[str, object], process: object, message: str
) -> None:
    seen = lines(legacy=legacy, process=process)
    run = pyinfra(
        {"one": {"fake_responses": {**migrating("rhel"), "-- legacy": ["@legacy", *seen]}}},
        "-y",
        "-vv",
    )
    assert run.exit_code == 1
    assert message in run.output
    assert run.actions("one")[-1] == "record_proof"


CONVERT = {"on_leftover_jobs": "convert", "drain_timeout": 1}


@pytest.mark.parametrize(
    ("legacy", "process", "actions", "message"),
    [
        (
            {**QUIET, "scheduled": 2, "last_due": 9999},
            "7 1 default",
            ["retire"],
            "task(s) that MISP's",
        ),
        ({**QUIET, "error": "no connection"}, [], [], "cannot be asked: no connection"),
        (
            {**QUIET, "running": 1},
            "7 1 default",
            [],
            "is converted, but then: drain limit of 1 s reached with 1 running",
        ),
        ({**QUIET, "waiting": {"prio": 1}}, [], ["convert"] * 100, "as fast as they are converted"),
        (
            {**QUIET, "waiting": {"prio": 1}, "overdue": 99, "delayed": 1},
            "7 1 default",
            ["convert"] * 100,
            "as fast as they are converted",
        ),
    ],
)
def test_a_conversion_takes_what_it_can_and_ends(
    pyinfra: Pyinfra, legacy: dict[str, object], process: object, actions: list[str], message: str
) -> None:
    seen = {"legacy": legacy, "process": process, "unit": "misp-workers.service active enabled"}
    answers = {
        **migrating("debian", legacy={**QUIET, "scheduled": legacy.get("scheduled", 0)}),
        "-- legacy": ["@legacy", *lines(**seen)],
    }
    run = pyinfra({"one": {"fake_responses": answers, **CONVERT}}, "-y", "-vv")
    assert message in run.output
    done = run.actions("one")
    assert done[done.index("record_proof") + 1 :] == actions


def test_a_conversion_that_was_cut_off_is_finished_whatever_the_inventory_says_now(
    pyinfra: Pyinfra,
) -> None:
    seen = lines(legacy={**QUIET, "held": 3}, unit="misp-workers.service active enabled")
    answers = {**migrating("debian"), "-- legacy": ["@legacy", *seen]}
    run = pyinfra({"one": {"fake_responses": answers, "drain_timeout": 1}}, "-y", "-vv")
    assert "finish_conversion" in run.actions("one")


def test_dead_workers_of_a_migrated_host_are_taken_out_of_redis(pyinfra: Pyinfra) -> None:
    answers = converged("debian", legacy={**QUIET, "stale": 2})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("one") == ["forget_old_workers"]


def test_one_broken_host_does_not_keep_the_others_from_finishing(pyinfra: Pyinfra) -> None:
    hosts = {
        "first": {"fake_responses": migrating("debian")},
        "middle": {"fake_responses": broken(migrating("rhel"), "prove")},
        "last": {"fake_responses": migrating("rhel")},
        "old": {
            "fake_responses": migrating("debian", version='{"major":2,"minor":4,"hotfix":150}')
        },
    }
    run = pyinfra(hosts, "-y", "-vv")
    assert run.exit_code == 1
    assert run.actions("first") == run.actions("last") == ACTIONS
    assert run.actions("middle")[-2:] == ["prove", "return"]
    assert run.actions("old") == []


def test_no_secret_is_shown_at_any_verbosity(pyinfra: Pyinfra) -> None:
    secret = {"ONE": "Aa1" * 12, "TWO": "redis-pa;ss %word"}
    data = {
        "fake_responses": migrating("debian"),
        "supervisor_password": {"env": "ONE"},
        "misp_redis_password": {"env": "TWO"},
    }
    for flags in (["-y", "-vvv", "--debug"], ["--dry", "--diff", "-vvv"], ["--debug-operations"]):
        run = pyinfra({"one": data}, *flags, **secret)
        assert "install_packages" in run.output or "Packages: supervisor" in run.output
        for value in secret.values():
            assert value not in run.output, flags
    run = pyinfra({"one": data}, "-y", "--json", **secret)
    assert not [value for value in secret.values() if value in run.output]


def test_jobs_that_a_killed_step_had_set_aside_are_taken_back(pyinfra: Pyinfra) -> None:
    answers = converged("debian", redis={"ok": True, "aside": 3})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.actions("one")[0] == "take_jobs_back"
    assert "apply_workers" not in run.actions("one")
