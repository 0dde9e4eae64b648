"""Commands that a sentence tells the operator to run. He runs them as root.

So nothing in them may be the web user's to turn: a word from a host is quoted; nothing changes a
path below MISP's folder in a way that follows a link, since he can put one there at any time; and a
program of his gets no terminal, into which it could type (TIOCSTI) or write what steers it.
"""

import re
import shlex

NOBODY_KNOWN = "WEB_USER"  # in a command, where it is not known who the web user is


def word(text: str) -> str:
    """A word from a host as a shell takes it for one word."""
    return shlex.quote(text)


def as_web_user(user: str, *words: str, shows: bool = True) -> str:
    """The command that runs a program as the web user, away from the operator's terminal.

    Args:
        user: an account's name; empty: it is not known.
        shows: its output is of use. One that leaves processes behind would hold the pipe open.
    """
    start = ["setsid", "-w", "runuser", "-u", user or NOBODY_KNOWN, "--"]
    command = " ".join(map(shlex.quote, [*start, *words]))
    return "%s </dev/null %s" % (command, "2>&1 | cat -v" if shows else ">/dev/null 2>&1")


def start_old_workers(root: str, user: str) -> str:
    """The command that starts the old workers as MISP does; it first ends those that live.

    Args:
        root: MISP's folder.
        user: the web user; empty: it is not known.
    """
    return as_web_user(user, "bash", root + "/app/Console/worker/start.sh", shows=False)


def give_back(root: str, owner: str, *names: str, below: bool = False) -> str:
    """The command that gives files of MISP's to the web user, and no others.

    A path as an argument of chown's would be followed where a link is in its middle, also with -h.
    find goes down from MISP's folder by descriptors, and has chown run in the folder that it holds.
    A file with a second name may be somebody else's, so that one is left.

    Args:
        root: MISP's folder, which may itself be a link of the operator's.
        owner: USER or USER:GROUP.
        names: paths below it.
        below: also everything below them.
    """
    paths = [root + "/" + name for name in names]
    tests = ["-path " + word(_pattern(path)) for path in paths]
    if below:
        tests += ["-path " + word(_pattern(path) + "/*") for path in paths]
    wanted = tests[0] if len(tests) == 1 else "\\( %s \\)" % " -o ".join(tests)
    return "find -H %s -xdev %s \\( -type d -o -links 1 \\) -execdir chown -h %s {} +" % (
        word(root),
        wanted,
        word(owner),
    )


def make_folder(root: str, user: str, folder: str) -> str:
    """The command that makes a folder; below MISP's, the web user may turn the path to any other.

    Args:
        root: MISP's folder.
        user: the web user; empty: it is not known.
    """
    words = ["mkdir", "-p", folder]
    if folder.startswith(root + "/"):
        return as_web_user(user, *words)
    return " ".join(map(word, words))


def _pattern(path: str) -> str:
    """What find's -path takes for this path alone."""
    return re.sub(r"([][*?\\])", r"\\\1", path)
