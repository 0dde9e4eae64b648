from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from tests import hosts
from tests.fake.answers import (
    DRAIN,
    EXAMINE,
    PROVEN,
    SETTINGS_APPLIED,
    Answers,
    converged,
    draining,
    failing,
    first,
    migrating,
)
from tests.fake.conftest import Run
from tests.hosts import get_workers

ACTIONS = [
    "packages.install",
    "libraries.require",
    "rpc.configure",
    "settings.apply",
    "web.reload_web",
    "workers.apply",
    "workers.wait_until_stable",
    "proof.prove",
    "proof.record",
    "retire.retire",
]
# From `enabled` on, a failure takes the host back to its old workers.
WITH_A_WAY_BACK = {*ACTIONS[4:9]}
Pyinfra = Callable[..., Run]


def test_both_families_take_the_same_steps_in_the_safe_order(pyinfra: Pyinfra) -> None:
    found = {family: {"fake_responses": migrating(family)} for family in ("debian", "rhel")}
    run = pyinfra(found, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("debian") == run.actions("rhel") == ACTIONS


def test_nothing_is_asked_again_that_no_step_has_changed_since(pyinfra: Pyinfra) -> None:
    run = pyinfra({"one": {"fake_responses": migrating("debian")}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.calls("one") == [
        EXAMINE,
        "packages.install",
        "libraries.require",
        "look.take Rpc",
        "look.take Supervisor",
        "rpc.configure",
        "look.take Settings",
        "settings.apply",
        "look.take Settings Workers Supervisor NewBackend",
        "web.reload_web",
        "workers.apply",
        "look.take Proof",
        "workers.wait_until_stable",
        "proof.prove",
        "look.take Supervisor View OldBackend OldWorkers",
        "proof.record",
        "look.take OldBackend OldWorkers",
        "retire.retire",
        "look.take ScheduledTasks",
    ]


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_happens_after_a_step_that_failed(pyinfra: Pyinfra, action: str) -> None:
    run = pyinfra({"one": {"fake_responses": failing(migrating("debian"), action)}}, "-y", "-vv")
    assert run.exit_code == 1
    assert "it broke" in run.output
    way_back = ["rollback.automatic"] if action in WITH_A_WAY_BACK else []
    assert run.actions("one") == ACTIONS[: ACTIONS.index(action) + 1] + way_back


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view": {"workers": {"cache": {"ok": False}}}}, "getWorkers speaks of the old backend"),
        ({"view": {"error": "no answer from MISP"}}, "getWorkers: no answer from MISP"),
        (
            {"supervisor": {"workers": hosts.running()[1:]}},
            "misp-workers:cache_00 is missing",
        ),
    ],
)
def test_old_workers_stay_when_the_proof_does_not_hold(
    pyinfra: Pyinfra, changes: dict[str, dict[str, Any]], message: str
) -> None:
    answers = draining(migrating("debian"), changes)
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 1
    assert f"not proven: {message}" in run.output
    assert run.actions("one")[-2:] == ["proof.prove", "rollback.automatic"]


def test_a_converged_host_is_only_looked_at_and_in_few_round_trips(pyinfra: Pyinfra) -> None:
    found = {family: {"fake_responses": converged(family)} for family in ("debian", "rhel")}
    run = pyinfra(found, "-y", "-vv")
    assert run.exit_code == 0, run.output
    for family in found:
        assert run.actions(family) == []
        assert len(run.commands[family]) == 2
    assert run.output.count("No changes") == 2 * 10


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
    run = with_page(pyinfra, page, converged("debian", view={"error": "no answer"}))
    assert run.actions("one")[:2] == ["workers.wait_until_stable", "proof.prove"]


def test_what_the_web_tier_says_against_a_proof_has_it_made_anew(
    pyinfra: Pyinfra, page: str
) -> None:
    Page.shown = get_workers(supervisord_status=False)
    run = with_page(pyinfra, page, converged("debian"))
    assert run.exit_code == 1
    assert "over REST" in run.output
    assert run.actions("one")[:2] == ["workers.wait_until_stable", "proof.prove"]


@pytest.mark.parametrize(
    ("found", "mended"),
    [
        (
            {"libraries": {"missing": ["fXmlRpc\\Client"]}, "view": {"error": "no answer"}},
            "libraries.require",
        ),
        ({"supervisor": {"workers": hosts.running()[1:]}}, "workers.apply"),
    ],
)
def test_a_run_that_mends_something_proves_anew_as_its_dry_run_says(
    pyinfra: Pyinfra, found: dict[str, dict[str, Any]], mended: str
) -> None:
    well = hosts.look(hosts.converged())
    answers = first({EXAMINE: hosts.look(hosts.converged(**found))}, converged())
    dry = pyinfra({"one": {"fake_responses": answers}}, "--dry", "-vv")
    assert "Proof: a job on every queue, MISP's own view" in dry.output
    # A worker is missing until it was started.
    later = {"look.take Supervisor": well, "look.take Proof": well}
    run = pyinfra({"one": {"fake_responses": first(later, answers)}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("one") == [
        mended,
        "workers.wait_until_stable",
        "proof.prove",
        "proof.record",
    ]


def test_an_rpc_of_the_operators_own_is_used(pyinfra: Pyinfra) -> None:
    own = {
        "inet_file": "/etc/supervisor/conf.d/own.conf",
        "inet_address": "127.0.0.1:9005",
        "inet_user": "rpc",
        "inet_answer": "ok",
    }
    block = hosts.BLOCK | {"supervisor_port": 9005, "supervisor_user": "rpc"}
    changes: dict[str, dict[str, Any]] = {
        "supervisor": own,
        "settings": {"block": block},
        "rpc": {"is_current": False},
    }
    run = pyinfra({"one": {"fake_responses": converged("debian", **changes)}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.output.count("No changes") == 10


def test_a_dry_run_sends_no_action_and_names_what_would_change(pyinfra: Pyinfra) -> None:
    found = {
        "new": {"fake_responses": migrating("debian")},
        "done": {"fake_responses": converged("rhel")},
    }
    run = pyinfra(found, "--dry", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("new") == run.actions("done") == []
    assert "Retire: the old workers stop for good" in run.output


def test_the_drain_limit_leaves_the_old_workers_alone(pyinfra: Pyinfra) -> None:
    busy = {"old_backend": {"waiting": {"prio": 3}, "running": 1}}
    answers = draining(migrating("debian"), busy)
    run = pyinfra({"one": {"fake_responses": answers, "drain_timeout": 1}}, "-y", "-vv")
    assert run.exit_code == 1
    assert "drain limit of 1 s reached with 3 waiting in prio, 1 running" in run.output
    assert "retire.retire" not in run.actions("one")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"old_backend": {"waiting": {"prio": 3}}, "old_workers": {"processes": []}},
            "the old backend has 3 waiting in prio, and no old worker lives",
        ),
        ({"old_backend": {"delayed": 2, "last_due": 90_000}}, "due in 1500 minutes"),
    ],
)
def test_old_jobs_that_cannot_be_waited_for_stop_the_run_at_once(
    pyinfra: Pyinfra, changes: dict[str, dict[str, Any]], message: str
) -> None:
    answers = draining(migrating("debian"), changes)
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 1
    assert message in run.output
    assert run.actions("one")[-1] == "proof.record"


CONVERT = {"on_leftover_jobs": "convert", "drain_timeout": 1}


@pytest.mark.parametrize(
    ("changes", "actions", "message"),
    [
        ({"old_backend": {"scheduled": 2, "last_due": 9999}}, ["retire.retire"], "@fake/one: done"),
        (
            {"old_backend": {"error": "no connection"}, "old_workers": {"processes": []}},
            [],
            "cannot be asked: no connection",
        ),
        (
            {"old_backend": {"running": 1}},
            [],
            "are converted, but then: drain limit of 1 s reached with 1 running",
        ),
        (
            {"old_backend": {"waiting": {"prio": 1}}, "old_workers": {"processes": []}},
            ["moves.convert"] * 100,
            "as fast as they are converted",
        ),
    ],
)
def test_a_conversion_takes_what_it_can_and_ends(
    pyinfra: Pyinfra, changes: dict[str, dict[str, Any]], actions: list[str], message: str
) -> None:
    answers = draining(migrating("debian"), changes)
    run = pyinfra({"one": {"fake_responses": answers, **CONVERT}}, "-y", "-vv")
    assert message in run.output
    done = run.actions("one")
    assert done[done.index("proof.record") + 1 :][:100] == actions


def test_a_conversion_that_was_cut_off_is_finished_whatever_the_inventory_says_now(
    pyinfra: Pyinfra,
) -> None:
    answers = draining(migrating("debian"), {"old_backend": {"held": 3}})
    run = pyinfra({"one": {"fake_responses": answers, "drain_timeout": 1}}, "-y", "-vv")
    assert "moves.finish_conversion" in run.actions("one")


def test_dead_workers_of_a_migrated_host_are_taken_out_of_redis(pyinfra: Pyinfra) -> None:
    answers = converged("debian", old_backend={"stale": 2})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("one") == ["moves.forget_old_workers"]


TASKS = {"left": 2, "lines": ["# pull_all: every 6 h", "17 * * * * www-data x"]}


def test_the_plan_shows_the_lines_that_cron_gets(pyinfra: Pyinfra) -> None:
    answers = migrating("debian", scheduled_tasks=TASKS)
    run = pyinfra({"one": {"fake_responses": answers}}, "--dry")
    assert "scheduled tasks go to /etc/cron.d/misp-scheduled-tasks:" in run.output
    assert "    17 * * * * www-data x" in run.output
    assert run.actions("one") == []


def test_tasks_that_were_not_handed_over_when_the_old_workers_ended_are_now(
    pyinfra: Pyinfra,
) -> None:
    answers = converged("debian", scheduled_tasks=TASKS)
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 0, run.output
    assert run.actions("one") == ["scheduled_tasks.hand_over_tasks"]


def test_tasks_that_nobody_can_take_over_refuse_the_host(pyinfra: Pyinfra) -> None:
    answers = migrating("debian", scheduled_tasks={"unfit": ["cache_exports"]})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.exit_code == 1
    assert "MISP's scheduled task cache_exports is on" in run.output
    assert run.actions("one") == []


def test_one_broken_host_does_not_keep_the_others_from_finishing(pyinfra: Pyinfra) -> None:
    found = {
        "first": {"fake_responses": migrating("debian")},
        "middle": {"fake_responses": failing(migrating("rhel"), "proof.prove")},
        "last": {"fake_responses": migrating("rhel")},
        "old": {"fake_responses": migrating("debian", tree={"version": (2, 4, 150)})},
    }
    run = pyinfra(found, "-y", "-vv")
    assert run.exit_code == 1
    assert run.actions("first") == run.actions("last") == ACTIONS
    assert run.actions("middle")[-2:] == ["proof.prove", "rollback.automatic"]
    assert run.actions("old") == []


@pytest.mark.parametrize("look", [SETTINGS_APPLIED, PROVEN, DRAIN])
def test_a_host_that_lies_later_on_ends_alone(pyinfra: Pyinfra, look: str) -> None:
    half = {look: ["misp-workers 00 {}"]}
    found = {
        "liar": {"fake_responses": first(half, migrating("debian"))},
        "well": {"fake_responses": migrating("rhel")},
    }
    run = pyinfra(found, "-y", "-vv")
    assert run.exit_code == 1
    assert "the host's answer is not whole" in run.output
    assert "Traceback" not in run.output
    assert run.actions("well") == ACTIONS
    assert "retire.retire" not in run.actions("liar")


def test_no_secret_is_shown_at_any_verbosity(pyinfra: Pyinfra) -> None:
    secret = {"ONE": "Aa1" * 12, "TWO": "redis-pa;ss %word"}
    data = {
        "fake_responses": migrating("debian"),
        "supervisor_password": {"env": "ONE"},
        "misp_redis_password": {"env": "TWO"},
    }
    for flags in (["-y", "-vvv", "--debug"], ["--dry", "--diff", "-vvv"], ["--debug-operations"]):
        run = pyinfra({"one": data}, *flags, **secret)
        assert "packages.install" in run.output or "Packages: supervisor" in run.output
        for value in secret.values():
            assert value not in run.output, flags
    run = pyinfra({"one": data}, "-y", "--json", **secret)
    assert not [value for value in secret.values() if value in run.output]


def test_jobs_that_a_killed_step_had_set_aside_are_taken_back(pyinfra: Pyinfra) -> None:
    answers = converged("debian", new_backend={"aside": 3})
    run = pyinfra({"one": {"fake_responses": answers}}, "-y", "-vv")
    assert run.actions("one")[0] == "workers.take_jobs_back"
    assert "workers.apply" not in run.actions("one")
