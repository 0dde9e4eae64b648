"""Commands of a step: what is sent, what a failure becomes, and the way back."""

from __future__ import annotations

import binascii
import json
import logging
import zlib
from typing import Any

import pytest

from tasks import commands, facts, heartbeat
from tasks.commands import Action
from tasks.host import parts, proof, rollback, workers
from tasks.host.done import Done
from tasks.remote import Call, Script, call
from tasks.report import record, recording
from tasks.report.record import DRAIN_LIMIT, FAILED, NOT_PROVEN_RETURNED, RETURN_FAILED
from tests import hosts
from tests.unit.pyinfra_fakes import Run

TARGET = hosts.target()
NEXT = ". Once that is corrected, run again"


def stop() -> Call[list[str]]:
    """Any call that changes something."""
    return call(workers.apply, site=TARGET.site(), desired=TARGET.desired(), text="SECRET")


def sent_by(arguments: dict[str, Any]) -> dict[str, Any]:
    """What a call has on its standard input."""
    packed = binascii.a2b_base64(str.__str__(arguments["_stdin"]))
    sent: dict[str, Any] = json.loads(zlib.decompress(packed))
    return sent


def execute(run: Run, command: Any) -> Any:
    return command.execute(run.state, run.host, {"_sudo": True})


# --- an action -----------------------------------------------------------------------------------


def test_an_action_sends_its_secrets_on_standard_input_alone(run: Run) -> None:
    run.host.answers = [hosts.answer(["one", "two"])]
    action = Action(stop(), TARGET)
    succeeded, _ = execute(run, action)
    assert succeeded
    assert action.lines == ["one", "two"]
    [words], [arguments] = run.host.commands, run.host.arguments
    assert words.endswith("misp-workers-migration workers.apply")
    assert isinstance(arguments["_stdin"], Script)
    assert arguments["_sudo"] is True
    assert "SECRET" not in f"{words}{arguments}{action!r}"
    assert run.report.cause == ""


def test_its_lines_are_for_the_operator(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.host.answers = [hosts.answer(["a note"])]
    with caplog.at_level(logging.INFO):
        execute(run, Action(stop(), TARGET))
    assert "[misp1] a note" in caplog.text


@pytest.mark.parametrize("takes_over", [True, False])
def test_taking_over_is_the_operators_word(run: Run, takes_over: bool) -> None:
    target = hosts.target(take_over=takes_over)
    assert Action(stop(), target).call.takes_over is takes_over


@pytest.mark.parametrize(
    ("kind", "is_unfinished", "outcome"),
    [
        ("RefusedError", False, ""),
        ("LockError", False, ""),
        ("HostError", True, ""),
        ("Exception", True, ""),
        ("DrainLimitError", True, DRAIN_LIMIT),
    ],
)
def test_an_error_of_the_host_fails_it_and_says_whether_it_may_have_changed(
    run: Run, kind: str, is_unfinished: bool, outcome: str
) -> None:
    before = run.report.outcome
    run.host.answers = [hosts.refusal(kind, "it broke")]
    assert execute(run, Action(stop(), TARGET))[0] is False
    assert run.report.cause == f"it broke{NEXT}"
    assert run.report.is_unfinished is is_unfinished
    assert run.report.outcome == (outcome or before)


def test_a_call_that_only_waits_changes_nothing(run: Run) -> None:
    run.host.answers = [hosts.refusal("WorkersError", "they crash"), hosts.answer([])]
    for _ in range(2):
        execute(run, Action(stop(), TARGET, changes=False))
    assert run.report.cause == f"they crash{NEXT}"
    assert not run.report.may_have_changed


def test_before_a_call_is_sent_the_record_says_what_may_change(run: Run) -> None:
    """A run may be killed meanwhile, and the call goes on."""
    seen = []

    def look(*_: Any, **__: Any) -> Any:
        (directory,) = record.base().iterdir()
        seen.extend(record.read(directory)[0].may_have_changed)
        raise OSError("the network is gone")

    run.host.run_shell_command = look
    assert execute(run, Action(stop(), TARGET))[0] is False
    assert seen == [stop().described]
    assert seen[0].startswith("workers.apply: Have the group's file, loaded,")


def test_what_a_call_has_done_is_kept(run: Run) -> None:
    done = Done(["a line"], converted=2, moved=3, tasks=("a task",))
    prove = call(proof.prove, site=TARGET.site(), desired=TARGET.desired(), workers={}, seconds=1)
    run.host.answers = [hosts.answer(done)] * 2
    for _ in range(2):
        action = Action(prove, TARGET)
        execute(run, action)
    assert (action.done, action.lines) == (done, ["a line"])
    assert (run.report.jobs.converted, run.report.jobs.moved) == (4, 6)
    assert run.report.scheduled_tasks == ["a task"] * 2


def test_all_of_standard_error_is_in_the_runs_output(run: Run) -> None:
    run.host.succeeds = False
    run.host.stderr = [f"line {number}" for number in range(9)]
    execute(run, Action(stop(), TARGET))
    (directory,) = record.base().iterdir()
    kept = (directory / record.OUTPUT).read_text()
    assert all(f"line {number}" in kept for number in range(9))


def test_a_command_that_ends_without_an_answer_fails_with_its_last_words(run: Run) -> None:
    run.host.succeeds = False
    run.host.stderr = ["first", "sudo: \x1b[2Ja", "b", "c"]
    assert execute(run, Action(stop(), TARGET))[0] is False
    assert run.report.cause == f"workers.apply ended without an answer: sudo: [2Ja b c{NEXT}"
    assert run.report.is_unfinished


@pytest.mark.parametrize("lines", [[], ["noise"], hosts.answer(5), hosts.answer([5])])
def test_an_answer_that_is_none_fails_the_host(run: Run, lines: list[str]) -> None:
    run.host.answers = [lines]
    assert execute(run, Action(stop(), TARGET))[0] is False
    assert run.report.cause
    assert run.report.is_unfinished


def test_what_a_failure_is_taken_from_goes_into_the_runs_output(run: Run) -> None:
    error = {"kind": "HostError", "text": "it broke", "details": ["a log's line", "Sw0rdfish"]}
    run.host.answers = [[hosts.signed(json.dumps({"error": error}))]]
    recording.hide(run.state, run.host, ["Sw0rdfish"])
    execute(run, Action(stop(), TARGET))
    (directory,) = record.base().iterdir()
    output = (directory / "output.log").read_text()
    assert "[misp1] a log's line" in output
    assert "[misp1] ***" in output
    assert "Sw0rdfish" not in output


def test_what_pyinfra_raises_is_noted_and_left_to_it(run: Run) -> None:
    run.host.error = LookupError("odd")
    with pytest.raises(LookupError, match="odd"):
        execute(run, Action(stop(), TARGET))
    assert run.report.cause == "LookupError: odd"


@pytest.mark.parametrize("cut", [[], ["sudo: hung up"], EOFError()])
def test_a_cut_is_said_in_a_sentence_and_the_call_is_not_sent_again(
    run: Run, cut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.host.answers = [hosts.answer([])]
    run.host.cut(cut)
    guarded = commands.Guarded(Action(stop(), TARGET), TARGET)
    assert execute(run, guarded) is False
    assert len(run.host.commands) == 1  # and no way back by a connection that is gone
    assert run.report.cause.startswith("the connection to the host was cut (no word from the other")
    assert "Run again" in run.report.cause
    assert run.report.is_unfinished
    assert run.report.outcome != RETURN_FAILED


def test_a_run_that_has_lost_the_host_takes_nothing_back_there(run: Run) -> None:
    run.host.answers = [hosts.refusal("LockError", "lost")]
    assert execute(run, commands.Guarded(Action(stop(), TARGET), TARGET)) is False
    assert len(run.host.commands) == 1
    assert (run.report.cause, run.report.outcome) == (f"lost{NEXT}", "interrupted")


def test_from_its_second_action_on_a_run_demands_that_the_host_is_still_its_own(run: Run) -> None:
    run.host.answers = [hosts.look(hosts.converged()), hosts.answer([])]
    run.host.answers += [hosts.answer([]), hosts.look(hosts.converged())]
    facts.see(TARGET, parts.Workers)
    for _ in range(2):
        execute(run, Action(stop(), TARGET))
    facts.see(TARGET, parts.Workers)
    sent = [sent_by(arguments)["has_held"] for arguments in run.host.arguments]
    assert sent == [False, False, True, True]


def test_from_an_action_on_the_lease_is_kept(run: Run) -> None:
    run.host.answers = [hosts.refusal("HostError", "x")]
    execute(run, Action(stop(), TARGET))
    beat = heartbeat._beats["misp1"]
    assert beat.host is run.host
    assert beat.arguments["_sudo"] is True
    assert beat.words.endswith("lock.renew")
    assert "SECRET" not in str.__str__(beat.arguments["_stdin"])


# --- run -----------------------------------------------------------------------------------------


def test_what_is_known_of_the_host_is_forgotten_but_for_what_is_kept(run: Run) -> None:
    run.host.answers = [hosts.look(hosts.converged())] * 2
    facts.see(TARGET, parts.Workers, parts.Settings)
    commands.run(stop(), TARGET, keeps=(parts.Settings,))
    facts.ask(TARGET, parts.Settings)
    assert len(run.host.commands) == 1
    facts.ask(TARGET, parts.Workers)
    assert len(run.host.commands) == 2


@pytest.mark.parametrize("shows", [True, False])
def test_what_root_would_run_is_shown_to_who_asks(
    run: Run, caplog: pytest.LogCaptureFixture, shows: bool
) -> None:
    with caplog.at_level(logging.INFO):
        commands.run(stop(), hosts.target(show_calls=shows))
    assert ("root runs workers.apply" in caplog.text) is shows


# --- the way back --------------------------------------------------------------------------------


def test_a_command_that_works_is_followed_by_nothing(run: Run) -> None:
    run.host.answers = [hosts.answer([])]
    guarded = commands.Guarded(Action(stop(), TARGET), TARGET)
    assert execute(run, guarded) is True
    assert len(run.host.commands) == 1
    assert "workers.apply" in repr(guarded)


@pytest.mark.parametrize("is_reason", [True, False])
def test_a_host_that_fails_goes_back(run: Run, is_reason: bool) -> None:
    run.host.answers = [hosts.answer(Done(["a note", rollback.RETURNED]))]
    if is_reason:
        guarded = commands.give_up("it broke", TARGET)
    else:
        run.host.answers.insert(0, hosts.refusal("HostError", "it broke"))
        guarded = commands.Guarded(Action(stop(), TARGET), TARGET)
    assert execute(run, guarded) is False
    assert run.host.commands[-1].endswith("rollback.automatic")
    assert run.report.outcome == NOT_PROVEN_RETURNED
    assert run.report.cause.startswith(f"it broke{NEXT}; a note")
    assert not run.report.is_unfinished


@pytest.mark.parametrize("then", ["RefusedError", "a reason"])
def test_what_an_earlier_command_of_the_step_changed_is_not_forgotten(run: Run, then: str) -> None:
    """As settings that MISP took and that config.php does not hold."""
    run.host.answers = [hosts.answer([])]
    assert execute(run, Action(stop(), TARGET))[0]
    if then == "RefusedError":
        run.host.answers = [hosts.refusal(then, "no")]
        assert not execute(run, Action(stop(), TARGET))[0]
    else:
        run.host.answers = [hosts.answer(Done([rollback.STAYED]))]
        assert not execute(run, commands.give_up("no", TARGET))
    assert run.report.is_unfinished


def test_a_way_back_that_changed_nothing_does_not_undo_the_step(run: Run) -> None:
    run.host.answers = [hosts.refusal("HostError", "broke"), hosts.refusal("LockError", "busy")]
    assert execute(run, commands.Guarded(Action(stop(), TARGET), TARGET)) is False
    assert (run.report.outcome, run.report.is_unfinished) == (RETURN_FAILED, True)


def test_a_host_that_is_back_in_part_may_be_changed(run: Run) -> None:
    run.host.answers = [
        hosts.refusal("HostError", "it broke"),
        hosts.answer(Done(["Vendor stays", rollback.RETURNED_IN_PART])),
    ]
    assert execute(run, commands.Guarded(Action(stop(), TARGET), TARGET)) is False
    assert (run.report.outcome, run.report.is_unfinished) == (NOT_PROVEN_RETURNED, True)
    assert "Vendor stays" in run.report.cause


def test_a_host_without_old_workers_stays(run: Run) -> None:
    run.host.answers = [hosts.refusal("HostError", "it broke"), hosts.answer(Done(["stays"]))]
    assert execute(run, commands.Guarded(Action(stop(), TARGET), TARGET)) is False
    assert (run.report.outcome, run.report.is_unfinished) == (FAILED, True)


def test_a_way_back_that_fails_is_said_loudly(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.host.answers = [hosts.refusal("HostError", "it broke"), hosts.refusal("HostError", "so")]
    assert execute(run, commands.Guarded(Action(stop(), TARGET), TARGET)) is False
    assert "THE WAY BACK FAILED" in caplog.text
    assert run.report.outcome == RETURN_FAILED
    assert run.report.cause == f"it broke{NEXT}; so{NEXT}; THE WAY BACK FAILED: run rollback.py"
    assert run.report.is_unfinished


def test_a_reason_fails_this_host_alone(run: Run) -> None:
    assert execute(run, commands.fail("no", DRAIN_LIMIT)) is False
    assert (run.report.cause, run.report.outcome) == (f"no{NEXT}", DRAIN_LIMIT)


def test_words_of_the_hosts_are_no_command_and_not_endless(run: Run) -> None:
    run.host.succeeds = False
    run.host.stderr = ["run `rm -rf /`", "\u3164" + "x" * 5000]
    execute(run, Action(stop(), TARGET))
    assert "`" not in run.report.cause
    assert len(run.report.cause) < 550
    assert run.report.cause.endswith(f"xxx\u2026{NEXT}")
