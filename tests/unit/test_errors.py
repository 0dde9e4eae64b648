"""Every exception is one host's end, in words."""

from __future__ import annotations

import pytest

from tasks import misp_rest, remote, secret
from tasks.errors import MigrationError, RefusedError, problems_of


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
