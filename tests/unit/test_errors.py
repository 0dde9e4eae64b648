"""Every exception is one host's end, in words."""

from __future__ import annotations

import pytest

from tasks import misp_rest, remote, secret
from tasks.errors import MigrationError, RefusedError, problems_of, with_next_step


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (RefusedError("a", "b"), ["a", "b"]),
        (remote.AnswerError("the host gave no answer"), ["the host gave no answer"]),
        (KeyError("x"), ["the deploy itself failed here (KeyError: 'x'): report this"]),
    ],
)
def test_the_problems_of_an_error(error: Exception, problems: list[str]) -> None:
    assert problems_of(error) == problems


@pytest.mark.parametrize(
    "reason",
    [
        "jobs run on. Run again later",
        "it does not start: see its log, then run it",
        "it is off: run `systemctl start x`",
        "no old worker: run rollback.py",
        "somebody has it; --data take_over=true takes it",
    ],
)
def test_a_sentence_with_a_next_step_stays(reason: str) -> None:
    assert with_next_step(reason) == reason


@pytest.mark.parametrize("reason", ["it broke", "it broke.", "it ran"])
def test_any_other_gets_one(reason: str) -> None:
    assert with_next_step(reason) == f"{reason.rstrip('.')}. Once that is corrected, run again"


@pytest.mark.parametrize(
    "error",
    [
        secret.SecretError,
        misp_rest._NoViewError,
        remote.AnswerError,
        remote.HostRefusal,
        RefusedError,
    ],
)
def test_there_is_one_root(error: type[Exception]) -> None:
    assert issubclass(error, MigrationError)
