"""How a file will change, as a unified diff that holds no secret."""

import difflib
import hashlib
import itertools
import re
from typing import Collection, Iterable, List, NamedTuple, Optional

LATER = "decided on the host"  # instead of a digest: nobody can know the content beforehand
_SECRET = re.compile(r"passw|passphrase|secret|token|key|salt|authorization", re.I)
# A line that sets something, as in supervisor's files and PHP's arrays; it may be commented out.
_OUT = r"(?:[\s;#:]|misp-workers-migration#)*"
_SETS = re.compile(_OUT + r"(?:export\s+)?[\"']?([\w.-]+)[\"']?\s*(?:=>|[:=])\s*(?=\S)")
_NAME = re.compile(r"[\w.-]+")
_VALUE = r"\s*(\"[^\"]*\"|'[^']*'|[^\s;,\"']+)"
_OF_A_NAME = re.compile(r"[\"']?\s*(?:=>|[:=])" + _VALUE)
_OF_AN_OPTION = re.compile(r"[ =]" + _VALUE)
_IN_A_URL = re.compile(r"(\w://)[^/\s@]+@")
_HIDDEN = "***"
_OTHER = "*** (another one)"
_SHORT = 8  # characters; a shorter secret counts as a whole word alone, or paths would lose a part
_BESIDE = "[^\\s\"'=:@,]"  # what is no end of a word
_LINES = 400  # of one diff
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
    known = set(old)
    shown = difflib.unified_diff(
        [_hide(line, secrets, _HIDDEN) for line in old],
        [_hide(line, secrets, _OTHER if old and line not in known else _HIDDEN) for line in new],
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
    pairs = enumerate(zip(_lines(before), _lines(after)), 1)
    hunks = (
        (
            "@@ -%d +%d @@" % (number, number),
            "-" + _hide(one, secrets, _HIDDEN),
            "+" + _hide(other, secrets, _HIDDEN),
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


def _hide(line: str, secrets: Collection[str], mark: str) -> str:
    """A line that can be shown, with `mark` in the place of each secret."""
    for secret in filter(None, secrets):
        if len(secret) < _SHORT:
            word = "(?<!%s)%s(?!%s)" % (_BESIDE, re.escape(secret), _BESIDE)
            line = re.sub(word, mark, line)
        else:
            line = line.replace(secret, mark)
    cut = line if len(line) <= _LETTERS else line[:_LETTERS] + "..."
    sets = _SETS.match(cut)
    if sets and is_secret(sets.group(1)):
        return sets.group() + mark
    return _IN_A_URL.sub(r"\1%s@" % mark, _hide_values(cut, mark))


def _hide_values(line: str, mark: str) -> str:
    """The values of names like a secret's, and of such options, inside a line."""
    shown, end = "", 0
    for name in _NAME.finditer(line):
        if name.start() >= end and is_secret(name.group()):
            is_option = name.group().startswith("-")
            value = _OF_A_NAME.match(line, name.end())
            if value is None and is_option:
                value = _OF_AN_OPTION.match(line, name.end())
            if value:
                shown, end = shown + line[end : value.start(1)] + mark, value.end()
    return shown + line[end:]
