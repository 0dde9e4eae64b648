"""The lab's own exceptions: each says what happened, where, and what to do about it."""

from __future__ import annotations


class LabError(Exception):
    """Something in the lab failed; the message is meant for the person at the terminal."""

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}\n  What to do: {remedy}" if remedy else what)


class UsageError(LabError):
    """The command line names something that is not there; a command ends with exit code 2."""
