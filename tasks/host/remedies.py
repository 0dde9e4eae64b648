"""Commands that a sentence tells the operator to run. He runs them as root.

So nothing in them may be the web user's to turn: a word from a host is quoted; nothing changes a
path below MISP's folder in a way that follows a link, since he can put one there at any time; and a
program of his gets no terminal, into which it could type (TIOCSTI) or write what steers it.
"""

import os
import re
import shlex
from typing import Iterable

MOST_OF_A_NAME = 80  # characters of one that the web user may have made up
NOBODY_KNOWN = "WEB_USER"  # in a command, where it is not known who the web user is


def word(text: str) -> str:
    """A word from a host as bash takes it for one word.

    No backtick is in it: in a sentence it would look as if our command ended there.
    """
    return shlex.quote(text).replace("`", "'$'\\x60''")


def quoted(text: str, most: int = 400) -> str:
    """Words of the web user's as they may stand in a sentence.

    What is between backticks there is a command of ours, so his have none; and they are cut.

    Args:
        most: characters.
    """
    shown = "".join(one if one.isprintable() else " " for one in text[: most + 1])
    shown = shown.replace("`", "'")
    return shown if len(shown) <= most else shown[: most - 1] + "\u2026"


def names(some: Iterable[str]) -> str:
    """Names that the web user may have made up, with commas."""
    return ", ".join(quoted(one, MOST_OF_A_NAME) for one in some)


def as_web_user(user: str, *words: str, shows: bool = True) -> str:
    """The command that runs a program as the web user, away from the operator's terminal.

    Args:
        user: an account's name; empty: it is not known.
        shows: its output is of use. One that leaves processes behind would hold the pipe open.
    """
    start = ["setsid", "-w", "runuser", "-u", user or NOBODY_KNOWN, "--"]
    command = " ".join(map(word, [*start, *words]))
    return "%s </dev/null %s" % (command, "2>&1 | cat -v" if shows else ">/dev/null 2>&1")


def start_old_workers(root: str, user: str) -> str:
    """The command that starts the old workers as MISP does; it first ends those that live.

    Args:
        root: MISP's folder.
        user: the web user; empty: it is not known.
    """
    return as_web_user(user, "bash", root + "/app/Console/worker/start.sh", shows=False)


def give_back(root: str, owner: str, *places: str, below: bool = False) -> str:
    """The command that gives files of MISP's to the web user, and no others.

    A path as an argument of chown's would be followed where a link is in its middle, also with -h.
    find goes down from MISP's folder by descriptors, and has chown run in the folder that it holds.
    A file with a second name may be somebody else's, so that one is left.

    Args:
        root: MISP's folder, which may itself be a link of the operator's.
        owner: USER or USER:GROUP.
        places: paths below it.
        below: also everything below them.
    """
    paths = [root + "/" + name for name in places]
    tests = ["-path " + word(_pattern(path)) for path in paths]
    if below:
        tests += ["-path " + word(_pattern(path) + "/*") for path in paths]
    wanted = tests[0] if len(tests) == 1 else "\\( %s \\)" % " -o ".join(tests)
    return "find -H %s -xdev %s \\( -type d -o -links 1 \\) -execdir chown -h %s {} +" % (
        word(root),
        wanted,
        word(owner),
    )


def in_folder(folder: str, *words: str) -> str:
    """The command that changes a folder of root's, of which it speaks as of `.`.

    A path as an argument of chmod's would be followed where somebody has put a link into it. The
    folder that a shell has entered stays the same, and the kernel says which path it has.

    Args:
        folder: its path without links.
    """
    at = word(folder)
    return '(cd -P %s && [ "$(pwd -P)" = %s ] && %s)' % (at, at, " ".join(map(word, words)))


def open_folder(root: str, user: str, folder: str, name: str) -> str:
    """What to do that the web user may enter a folder on the way to what is MISP's.

    Args:
        root: MISP's folder, without links where the other one is.
        folder: as the web user names it, so that it may be any.
        name: of MISP's file that is on the other side of it, below the root.
    """
    is_on_the_way = ("%s/%s" % (root, name)).startswith(folder.rstrip("/") + "/")
    is_plain = os.path.normpath(folder) == folder and not folder.startswith("//")
    if not (is_on_the_way and is_plain):
        return "see the modes on the way (namei -l %s)" % root
    if folder.startswith(root + "/"):
        given = give_back(root, user, folder[len(root) + 1 :])
        return "run `%s`, then `%s`" % (given, as_web_user(user, "chmod", "u+rwx", folder))
    # The web user must not get a folder above MISP's: other sites may be in it.
    acl = in_folder(folder, "setfacl", "-m", "u:%s:x" % user, ".")
    return "run `%s`, or `%s`" % (in_folder(folder, "chmod", "o+x", "."), acl)


def make_folder(folder: str, owner: str) -> str:
    """The command that makes a folder.

    Args:
        owner: who can turn the path to another folder; empty: root alone.
    """
    words = ["mkdir", "-p", folder]
    return as_web_user(owner, *words) if owner else " ".join(map(word, words))


def _pattern(path: str) -> str:
    """Return the pattern by which find's -path matches this path alone."""
    return re.sub(r"([][*?\\])", r"\\\1", path)
