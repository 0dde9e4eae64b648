"""Why a function on a host gives up. The text is a sentence for the operator, with the remedy."""

from typing import List, Sequence, TypeVar

_MOST = 400  # lines
_LONGEST = 500  # characters of one


class HostError(Exception):
    """Root of all errors that a host function raises on purpose."""

    details: Sequence[str] = ()  # what the sentence is taken from, for the run's log


ErrorType = TypeVar("ErrorType", bound=HostError)


def with_details(error: ErrorType, lines: List[str]) -> ErrorType:
    """The error with lines for the run's log; the last ones where they are many."""
    error.details = [line[:_LONGEST] for line in lines[-_MOST:]]
    return error


class RefusedError(HostError):
    """The host is not fit for the step; nothing was changed."""


class DrainLimitError(HostError):
    """Jobs ran on for longer than the operator allows; both backends go on as they are."""


class WebUserError(HostError):
    """The web user's own code or files gave no usable answer."""
