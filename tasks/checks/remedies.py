"""Commands that a sentence tells the operator to run. He runs them as root.

So nothing in them may be the web user's to turn: a word from a host is quoted; nothing changes a
path below MISP's folder in a way that follows a link, since he can put one there at any time; and a
program of his gets no terminal, into which it could type (TIOCSTI) or write what steers it.
"""

from __future__ import annotations

import shlex


def word(text: str) -> str:
    """A word from a host as a shell takes it for one word."""
    return shlex.quote(text)


def as_web_user(user: str, *words: str, shows: bool = True) -> str:
    """The command that runs a program as the web user, away from the operator's terminal.

    Args:
        shows: its output is of use. One that leaves processes behind would hold the pipe open.
    """
    command = " ".join(map(shlex.quote, ["setsid", "-w", "runuser", "-u", user, "--", *words]))
    return f"{command} </dev/null " + ("2>&1 | cat -v" if shows else ">/dev/null 2>&1")
