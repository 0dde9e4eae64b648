"""How a file will change, as a unified diff that holds no secret."""

import difflib
import hashlib
import itertools
import re
from typing import Collection, Iterable, List, NamedTuple, Optional, Pattern

LATER = "decided on the host"  # instead of a digest: nobody can know the content beforehand
_SECRET = re.compile(r"pass|pwd|secret|token|key|salt|auth|cred|bearer|dsn", re.I)
_NAME = re.compile(r"[\w.-]+")
# What stands between a name, or an option's, and its value.
_OF_A_NAME = re.compile(r"[\"']?\s*(?:=>|[:=])\s*(?=\S)")
_OF_AN_OPTION = re.compile(r"[ =]\s*(?=\S)")
# Programs that take a secret with an option of one letter, alone or after others, or of that name.
_OPTIONS = [
    (name, re.compile(r"(?<!\S)-(?:[A-Za-z]*?[%s]|-(?:proxy-)?user\b)[ =]?\s*(?=\S)" % letters))
    for name, letters in (
        ("mysql", "p"),
        ("mariadb", "p"),
        ("sshpass", "p"),
        ("redis-cli", "a"),
        ("curl", "uU"),
        ("ldap", "w"),
    )
]
_WORD = re.compile(r"\S+")
_HIDDEN = "***"
_OTHER = "*** (another one)"
_SHORT = 8  # characters; a shorter secret counts as a whole word alone, or paths would lose a part
_LONG = 1000  # characters; of a longer secret these are looked for, and the line ends there
_BESIDE = "[^\\s\"'=:@,]"  # what is no end of a word
_LINES = 400  # of one diff
_SEARCHED = 4096  # characters of a line that are searched for secrets; no more of it is shown
_LETTERS = 300  # of one line


class FileChange(NamedTuple):
    """A file of root's as it is and as it will be."""

    path: str
    before: str  # SHA-256; empty: there is none
    after: str  # likewise, or LATER
    diff: List[str]
    is_volatile: bool = False  # another moment gives another content


def whole(
    path: str, before: Optional[bytes], after: Optional[bytes], secrets: Collection[str] = ()
) -> FileChange:
    """The change from one content to another; `None`: there is no file."""
    old, new = _lines(before), _lines(after)
    was, known = set(old), _any_of(secrets)
    shown = difflib.unified_diff(
        [_hide(line, known, _HIDDEN) for line in old],
        [_hide(line, known, _OTHER if old and line not in was else _HIDDEN) for line in new],
        "/dev/null" if before is None else path,
        "/dev/null" if after is None else path,
        lineterm="",
    )
    return FileChange(path, digest(before), digest(after), _bounded(shown))


def line_by_line(
    path: str, before: bytes, after: bytes, secrets: Collection[str] = ()
) -> FileChange:
    """The change of a file in which every line keeps its place. No other line is shown.

    The file may be the web user's, who may make one that takes `whole` for ever.
    """
    known = _any_of(secrets)
    pairs = enumerate(zip(_lines(before), _lines(after)), 1)
    hunks = (
        (
            "@@ -%d +%d @@" % (number, number),
            "-" + _hide(one, known, _HIDDEN),
            "+" + _hide(other, known, _HIDDEN),
        )
        for number, (one, other) in pairs
        if one != other
    )
    shown = itertools.chain.from_iterable(hunks)
    return FileChange(
        path,
        digest(before),
        digest(after),
        ["--- " + path, "+++ " + path, *_bounded(shown)],
    )


def is_secret(name: str) -> bool:
    """Whether a setting of that name may hold a secret."""
    return bool(_SECRET.search(name))


def digest(data: Optional[bytes]) -> str:
    """The SHA-256 of a content; empty where there is no file."""
    return "" if data is None else hashlib.sha256(data).hexdigest()


def _lines(data: Optional[bytes]) -> List[str]:
    lines = (data or b"").decode("utf-8", "replace").split("\n")
    return lines if lines[-1] else lines[:-1]


def _bounded(lines: Iterable[str]) -> List[str]:
    found = list(itertools.islice(lines, _LINES + 1))
    return [*found[:_LINES], "... and more"] if len(found) > _LINES else found


def _any_of(secrets: Collection[str]) -> Optional[Pattern[str]]:
    """What finds each of them; `None`: there is none."""
    found = [_pattern(one) for one in sorted(set(secrets), key=len, reverse=True) if one]
    return re.compile("|".join(found)) if found else None


def _pattern(secret: str) -> str:
    if len(secret) > _LONG:
        return re.escape(secret[:_LONG]) + ".*"
    if len(secret) < _SHORT:
        return "(?<!%s)%s(?!%s)" % (_BESIDE, re.escape(secret), _BESIDE)
    return re.escape(secret)


def _hide(line: str, known: Optional[Pattern[str]], mark: str) -> str:
    """A line that can be shown, with `mark` in the place of each secret.

    It is cut after that, or a secret at the cut would show its first half.
    """
    text = line[:_SEARCHED]
    if known:
        text = known.sub(mark, text)
    text = _WORD.sub(lambda word: _without_login(word.group(), mark), text)
    start = _value_of_a_secret(text)
    if start >= 0:
        text = text[:start] + mark
    elif len(line) > _SEARCHED and mark in text:
        text = text[: text.index(mark)] + mark  # half a secret may be at the end
    return text if len(text) <= _LETTERS else text[:_LETTERS] + "..."


def _without_login(word: str, mark: str) -> str:
    """A word without user and password if there is a URL in it. A password may hold a `/`."""
    start, end = word.find("://"), word.rfind("@")
    return word[: start + 3] + mark + word[end:] if 0 < start < end else word


def _value_of_a_secret(text: str) -> int:
    """Where the first value of a name like a secret's begins, or of such an option; -1: nowhere.

    Where it ends is the shell's to say, with quotes of all kinds, so all the rest counts.
    """
    starts = [_first_value(text)]
    for program, option in _OPTIONS:
        at = text.find(program)
        found = option.search(text, at) if at >= 0 else None
        starts.append(found.end() if found else -1)
    return min((start for start in starts if start >= 0), default=-1)


def _first_value(text: str) -> int:
    for name in _NAME.finditer(text):
        if is_secret(name.group()):
            value = _OF_A_NAME.match(text, name.end())
            if value is None and name.group().startswith("-"):
                value = _OF_AN_OPTION.match(text, name.end())
            if value:
                return value.end()
    return -1
