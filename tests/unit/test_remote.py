"""A host function as a command: what is sent, and what comes back as an answer."""

import getpass
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks import audit, remote
from tasks.host import boot, lock, places
from tasks.host.parts import RunState
from tasks.remote import AnswerError, Call, HostRefusal

STATE = Call(lock.state, {"state_dir": "/nowhere"}, lock="none")


def line(answer: Any) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return f"{boot.MARK} {hashlib.sha256(text.encode()).hexdigest()} {text}"


def run(call: Call[Any], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", call.words(sys.executable)],
        input=str.__str__(call.stdin()) if stdin is None else stdin,
        capture_output=True,
        text=True,
        check=False,
    )


GOOD = {"has_state": False, "is_at_work": False, "last_run": ""}


def test_a_call_comes_back_as_the_functions_own_type() -> None:
    assert STATE.read([line({"value": GOOD})]) == RunState(False, False, "")


def test_a_call_runs_in_a_bare_python_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run(STATE)
    found = STATE.read(done.stdout.splitlines())
    assert (done.returncode, done.stderr) == (0, "")
    assert found.has_state is False


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_login_without_a_name_is_its_number(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def nobody() -> str:
        raise error("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert remote._login() == f"uid{os.getuid()}"


def test_the_command_line_names_the_action_and_the_project() -> None:
    words = STATE.words("/usr/bin/python3")
    assert words.startswith("/usr/bin/python3 -I -S -c ")
    assert words.endswith("misp-workers-migration lock.state")
    assert len(words) < 300


def test_no_argument_is_on_the_command_line_or_in_a_label() -> None:
    call = Call(lock.state, {"state_dir": "SECRET"}, lock="none")
    assert "SECRET" not in call.words("python3") + repr(call) + f"{call.stdin()}{call.stdin()!r}"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_nothing_runs_of_a_text_that_was_cut_off(share: float) -> None:
    text = str.__str__(STATE.stdin())
    done = run(STATE, text[: int(len(text) * share)])
    assert done.returncode != 0
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "gave no answer"),
        (["sudo: a password is required"], "gave no answer"),
        ([line({"value": GOOD})[:-1]], "not whole"),
        ([line({"value": GOOD}).replace("false", "true ")], "not whole"),
        ([line("{}")], "neither a value nor an error"),
        ([line("[1]")], "neither a value nor an error"),
        ([line('{"error": "text"}')], "neither a value nor an error"),
        ([line({"value": {**GOOD, "has_state": 1}})], "not what is due"),
        ([line({"value": {**GOOD, "has_state": "false"}})], "not what is due"),
        ([line({"value": {**GOOD, "last_run": None}})], "not what is due"),
        ([line({"value": {"has_state": False}})], "not what is due"),
        ([line({"value": [False, False]})], "not what is due"),
        ([line({"value": None})], "not what is due"),
        ([line('{"value": NaN}')], "is no number"),
        ([line('{"value": 1e999}')], "not what is due|no number"),
        ([line('{"value": ' + "9" * 5000 + "}")], "cannot be read"),
        ([line('{"value": 9223372036854775808}')], "cannot be read"),
        ([line('{"value": ' + "[" * 100 + "]" * 100 + "}")], "nested too deeply"),
        ([line('{"value": ' + "[" * 100_000 + "}")], "cannot be read"),
        ([line(json.dumps({"value": "x" * remote.MAX_ANSWER}))], "too long"),
    ],
)
def test_what_is_no_whole_answer_of_the_right_type_is_an_error(
    lines: list[str], words: str
) -> None:
    with pytest.raises(AnswerError, match=words):
        STATE.read(lines)


@pytest.mark.parametrize("given", [None, "text", 5, [1, "a\x1b[2Jb\nc"]])
def test_its_details_are_lines_that_can_be_shown(given: Any) -> None:
    answer = line({"error": {"kind": "HostError", "text": "no", "details": given}})
    with pytest.raises(HostRefusal) as caught:
        STATE.read([answer])
    assert caught.value.details == (["1", "a [2Jb c"] if isinstance(given, list) else [])


def test_an_error_of_the_host_function_keeps_its_kind() -> None:
    answer = line({"error": {"kind": "DrainLimitError", "text": "jobs run on"}})
    with pytest.raises(HostRefusal, match="jobs run on") as caught:
        STATE.read([answer])
    assert caught.value.kind == "DrainLimitError"


def test_no_word_of_a_host_steers_the_terminal() -> None:
    evil = "a\x1b[2J\r\nb\u202ec\x9bd"
    found = STATE.read([line({"value": {**GOOD, "last_run": evil}})])
    assert found.last_run == "a [2J b c d"
    with pytest.raises(HostRefusal) as caught:
        STATE.read([line({"error": {"kind": "HostError", "text": evil}})])
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", str(caught.value))


def test_half_a_character_makes_no_answer_unreadable() -> None:
    for half in ("\ud800", "\udfff"):
        found = STATE.read([line({"value": {**GOOD, "last_run": f"by {half}ann"}})])
        assert found.last_run == "by  ann"
        with pytest.raises(HostRefusal, match="no  b"):
            STATE.read([line({"error": {"kind": "HostError", "text": f"no {half}b"}})])


def test_an_unexpected_error_says_where() -> None:
    broken = Call(lock.renew, {"run": 5, "odd": 1}, lock="none")
    with pytest.raises(HostRefusal, match=r"TypeError|KeyError"):
        broken.read(run(broken).stdout.splitlines())


def test_typed_arguments_arrive_as_such() -> None:
    place = places.Place("h", 1, 2, "n", "p")
    assert boot.typed(places.Place, boot.plain(place)) == place


def test_every_call_of_the_project_sends_modules_that_need_no_other() -> None:
    names = audit.functions()
    assert len(names) > 15
    for name in names:
        module, _, function = name.partition(".")
        sent = dict(remote.sent_with(audit._call(name)))
        needed = {
            f"tasks.host.{found}"
            for text in sent.values()
            for found in re.findall(r"from tasks\.host\.(\w+) import", text)
        }
        assert needed <= sent.keys(), name
        assert f"def {function}(" in sent[f"tasks.host.{module}"], name


def test_the_audit_shows_everything_but_secrets() -> None:
    desired = {"redis_password": "SECRET", "redis_host": "h"}
    call = Call(lock.state, {"desired": desired, "http_proxy": "http://u:SECRET@proxy"})
    shown = audit.line(call)
    assert "SECRET" not in shown
    assert '"redis_host": "h"' in shown
