"""Where secrets come from, what is said when they cannot be had, and that they are not shown."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks import secret
from tasks.secret import Secret, SecretError, SecretRef, check_supervisor_password
from tasks.settings import Secrets

VALUE = "do-not-show-me"


def _written(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(VALUE)),
        repr(Secret(VALUE)),
        f"{Secret(VALUE)}",
        f"{Secret(VALUE)!r}",
        f"{Secret(VALUE)}".rjust(20),
        "%s %r" % (Secret(VALUE), Secret(VALUE)),  # noqa: UP031
        "{}".format(Secret(VALUE)),  # noqa: UP032
        str([Secret(VALUE)]),
        repr(Secrets(api_key=Secret(VALUE))),
        str(Secrets(api_key=Secret(VALUE))),
        json.dumps(Secret(VALUE).to_json()),
    ],
)
def test_a_secret_is_masked_wherever_it_is_printed(shown: str) -> None:
    assert VALUE not in shown
    assert "*MASKED*" in shown


def test_a_secret_gives_its_text_on_request_only() -> None:
    assert Secret(VALUE).unmask() == VALUE


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", VALUE)
    assert SecretRef(env="A_SECRET").resolve().unmask() == VALUE


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_comes_from_a_private_file(tmp_path: Path, mode: int) -> None:
    reference = SecretRef(file=_written(tmp_path / "s", b"p\xc3\xa4ss", mode))
    assert reference.resolve().unmask() == "päss"


def test_a_tilde_in_a_file_reference_is_the_operators_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _written(tmp_path / "s", VALUE.encode())
    assert SecretRef(file="~/s").resolve().unmask() == VALUE


def test_a_secret_comes_from_a_command_whose_arguments_no_shell_sees() -> None:
    reference = SecretRef(command=("printf", "%s", "$HOME; 'x'"))
    assert reference.resolve().unmask() == "$HOME; 'x'"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"value\n", "value"),
        (b"value\r\n", "value"),
        (b"value\n\n", "value\n"),
        (b" value ", " value "),
        (b"two\nlines\n", "two\nlines"),
    ],
)
def test_one_line_end_is_dropped_and_nothing_else(
    tmp_path: Path, content: bytes, value: str
) -> None:
    assert SecretRef(file=_written(tmp_path / "s", content)).resolve().unmask() == value


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SecretError, match=r"the file .*/s is empty"):
        SecretRef(file=_written(tmp_path / "s", content)).resolve()


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_SECRET", raising=False)
    with pytest.raises(SecretError, match="environment variable A_SECRET is not set"):
        SecretRef(env="A_SECRET").resolve()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = _written(tmp_path / "s", VALUE.encode(), mode)
    with pytest.raises(SecretError, match=f"chmod 600 {re.escape(path)}") as refusal:
        SecretRef(file=path).resolve()
    assert VALUE not in str(refusal.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"cannot read the file .*/none: No such file"):
        SecretRef(file=str(tmp_path / "none")).resolve()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="not UTF-8"):
        SecretRef(file=_written(tmp_path / "s", b"\xff\xfe")).resolve()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (("sh", "-c", f"echo {VALUE}; exit 3"), "the command sh ended with status 3"),
        (("sh", "-c", f": {VALUE}; kill -9 $$"), "the command sh ended with status -9"),
        (("/no/such/program", VALUE), "the command /no/such/program failed: FileNotFoundError"),
        (("/", VALUE), "the command / failed: PermissionError"),
        (("printf", r"\377\376"), "the command printf failed: UnicodeDecodeError"),
        (("true", VALUE), "the command true is empty"),
    ],
)
def test_a_command_that_fails_is_named_without_its_arguments(
    program: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(SecretError) as refusal:
        SecretRef(command=program).resolve()
    assert str(refusal.value) == reason


def test_a_command_that_waits_for_somebody_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret, "COMMAND_TIMEOUT", 0.1)
    with pytest.raises(SecretError, match="the command sleep failed: TimeoutExpired"):
        SecretRef(command=("sleep", "60")).resolve()


@pytest.mark.parametrize(
    "reference",
    [
        {},
        {"env": "A", "file": "B"},
        {"env": "A", "command": ["B"]},
        {"env": "A", "file": "B", "command": ["C"]},
        {"env": ""},
        {"file": ""},
        {"command": []},
        {"environment": "A"},
        {"env": "A", "value": "B"},
        ["A"],
        None,
    ],
)
def test_a_reference_has_exactly_one_source(reference: object) -> None:
    with pytest.raises(ValidationError):
        SecretRef.model_validate(reference)


@pytest.mark.parametrize("value", [VALUE, 424242, 42.4242, True])
def test_a_plain_value_is_refused_in_words_that_do_not_repeat_it(value: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        SecretRef.model_validate(value)
    (fault,) = refusal.value.errors()
    assert "given as a reference, not as a value" in fault["msg"]
    assert str(value) not in fault["msg"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (SecretRef(env="NAME"), "the environment variable NAME"),
        (SecretRef(file="/path"), "the file /path"),
        (SecretRef(command=("sops", "-d", VALUE)), "the command sops"),
    ],
)
def test_a_reference_is_described_without_a_commands_arguments(
    reference: SecretRef, words: str
) -> None:
    assert reference.describe() == words


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("a" * 31, "it has 31 characters: use 32 or more"),
        ("", "it has 0 characters"),
        ("a" * 32 + "%", "it contains %:"),
        ("a" * 32 + ";", "it contains ;:"),
        ("a" * 32 + "#", "it contains #:"),
        ("a" * 32 + " b", "it contains a space:"),
        ("a" * 32 + '"', "it contains a double quote:"),
        ("a" * 32 + "'", "it contains a single quote:"),
        ("a" * 32 + "%;-", "it contains %, -, ;:"),
        ("a" * 32 + "ü", "outside ASCII"),
        ("a" * 32 + "\u0661", "outside ASCII"),  # a digit, but not for every parser
    ],
)
def test_a_password_that_a_parser_would_break_is_refused_with_the_reason(
    password: str, reason: str
) -> None:
    with pytest.raises(SecretError) as refusal:
        check_supervisor_password(Secret(password))
    assert reason in str(refusal.value)
    assert "a" * 31 not in str(refusal.value)


@given(st.text(string.ascii_letters + string.digits, min_size=32))
def test_every_password_of_32_letters_and_digits_is_accepted(password: str) -> None:
    assert check_supervisor_password(Secret(password)) is None  # type: ignore[func-returns-value]


@given(st.text(min_size=32).filter(lambda text: not re.fullmatch(r"[A-Za-z0-9]+", text)))
def test_every_password_of_other_characters_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(SecretError) as refusal:
        check_supervisor_password(Secret(password))
    assert password not in str(refusal.value)


def test_the_home_of_an_unknown_user_is_a_secret_error() -> None:
    with pytest.raises(SecretError, match="~nobody-of-that-name"):
        SecretRef(file="~nobody-of-that-name/secret").resolve()
