from __future__ import annotations

import sys

import pytest

from tasks.command.arguments import REFUSED, Asked, parsed
from tasks.errors import RefusedError


@pytest.fixture(autouse=True)
def _called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/checkout/tasks/__main__.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "tasks"])


def test_names_come_with_commas_or_again() -> None:
    words = ["apply", "i.py", "--limit", "a,b", "--limit=c", "--exclude", "d", "-v"]
    asked = parsed([*words, "--", "--data", "x=1"])
    assert (asked.command, asked.source) == ("apply", "i.py")
    assert (asked.limit, asked.exclude) == (("a", "b", "c"), ("d",))
    assert asked.options == ("--data", "x=1")
    assert asked.is_verbose


def test_all_at_once_unless_a_canary_or_a_slice_is_given() -> None:
    assert parsed(["apply", "i"]).size == 0
    assert parsed(["apply", "i", "--slice", "3"]).size == 3
    asked = parsed(["rollback", "i", "--canary", "a"])
    assert (asked.canary, asked.size) == (("a",), 5)
    assert parsed(["apply", "i", "--canary", "a", "--slice", "2"]).size == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "a command is missing: plan, apply, status, rollback"),
        (["aply", "i"], "no command 'aply', did you mean 'apply'?"),
        (["apply"], "required: INVENTORY|PLAN"),
        (["apply", "i", "--exlude", "a"], "no option '--exlude', did you mean '--exclude'?"),
        (["plan", "i", "--slice", "2"], "`plan` takes no option '--slice'"),
        (["plan", "i", "j"], "no second INVENTORY 'j'"),
        (["plan", "i", "--lim", "a"], "no option '--lim'"),
        (["apply", "i", "--slice", "0"], "'0' is no number of hosts"),
        (["apply", "i", "--slice", "x"], "'x' is no number of hosts"),
        (["status", "i", "--expect", "new"], "--expect"),
        (["status", "i", "--install-healthcheck", "--json"], "leave --json and --expect"),
        (["status", "i", "--install-healthcheck", "--expect", "old"], "leave --json and --expect"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(RefusedError) as raised:
        parsed(words)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("option", [*REFUSED, "--limit=m1", "-y", "-vy", "-h", "--retry=3"])
def test_options_that_change_what_a_run_is_are_not_passed_on(option: str) -> None:
    with pytest.raises(RefusedError, match="cannot be passed to pyinfra: "):
        parsed(["apply", "i", "--", "--data", "x=1", option])


@pytest.mark.parametrize("options", [["--data", "_retries=3"], ["--data=_retry_delay=3"]])
def test_data_sends_no_call_again(options: list[str]) -> None:
    with pytest.raises(RefusedError, match=r"^--data _retr.* is never sent again"):
        parsed(["apply", "i", "--", *options])
    parsed(["apply", "i", "--", "--data", "note=_retries"])


def test_an_option_that_asks_for_a_password_keeps_the_terminal() -> None:
    assert parsed(["apply", "i", "--", "--same-sudo-password"]).asks
    assert not parsed(["apply", "i", "--", "--sudo"]).asks


@pytest.mark.parametrize("command", [[], ["apply"]])
def test_help_is_no_error(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed([*command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "python -m tasks" in said
    assert ("97  interrupted" in said) == (not command)
    assert max(map(len, said.splitlines())) <= 80


def test_other_commands_keep_the_choice_of_hosts_and_the_options() -> None:
    asked = Asked("apply", "i.py", ("a", "b c"), ("d",), ("--data", "x=1"))
    assert asked.other("status", "i.py") == (
        "python -m tasks status i.py --limit 'a,b c' --exclude d -- --data x=1"
    )
    assert asked.other("rollback", "i.py", ["z"]).startswith(
        "python -m tasks rollback i.py --limit z -- "
    )


def test_an_installed_command_is_named_as_one_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/venv/bin/misp-workers"])
    monkeypatch.setattr("shutil.which", lambda name: f"/venv/bin/{name}")
    assert Asked("apply", "i", words=("apply", "i")).again() == "misp-workers apply i"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert Asked("apply", "i", words=("apply", "i")).again() == "/venv/bin/misp-workers apply i"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("--ssh-password S --sudo", "--ssh-password '***' --sudo"),
        ("--password=S", "'--password=***'"),
        ("--key-password S", "--key-password '***'"),
        ("--ssh-key-password=S", "'--ssh-key-password=***'"),
        ("--ssh-password-prompt --sudo", "--ssh-password-prompt --sudo"),
        ("--same-sudo-password --sudo", "--same-sudo-password --sudo"),
        ("--data ssh_password=S", "--data 'ssh_password=***'"),
        ("--data=misp_api_key=S", "'--data=misp_api_key=***'"),
        ("--data http_proxy=http://u:S@p:1/", "--data 'http_proxy=http://***@p:1/'"),
        ("--data ssh_key=/k --data x=1", "--data ssh_key=/k --data x=1"),
        ("--key /k", "--key /k"),
    ],
)
def test_a_command_that_is_named_has_no_secret(given: str, shown: str) -> None:
    asked = parsed(["apply", "i", "-v", "--", *given.split()])
    assert asked.again() == f"python -m tasks apply i -v -- {shown}"
    assert asked.other("status", "i") == f"python -m tasks status i -- {shown}"
