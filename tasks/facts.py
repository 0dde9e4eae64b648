"""What is true on a host now: typed parts, several in one round trip, or none where it is known."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter
from pyinfra.api import FactBase
from pyinfra.context import host, state

from tasks import misp_rest, remote
from tasks.host import look, parts
from tasks.remote import Call
from tasks.target import Target
from tasks.untrusted import printable, without_commands

REMEMBERED_SECONDS = 30.0

Part = TypeVar("Part")


class Answer(FactBase[list[str]]):
    """The printed answer of a host function; the caller checks it."""

    default = list

    def command(self, words: str) -> str:
        """The modules and the arguments arrive on standard input."""
        return words

    def process(self, output: list[str]) -> list[str]:
        """Lines as they are: nothing in here can raise."""
        return output


class Identity(FactBase[list[str]]):
    """Who we are on the host, what system it is and which Pythons it has, before all else."""

    default = list

    def command(self) -> str:
        """POSIX sh, also on systems that are refused afterwards."""
        return _IDENTITY

    def process(self, output: list[str]) -> list[str]:
        """Return KEY<TAB>VALUE lines that can be shown."""
        parted = (line[:500].partition("\t") for line in output[:200])
        return [f"{printable(key)}\t{printable(value)}" for key, _, value in parted]


_IDENTITY = r"""printf 'user\t%s\n' "$(id -u)"
version='import sys; print("%d.%d" % sys.version_info[:2])'
for python in /usr/bin/python3 /usr/libexec/platform-python; do
    [ ! -x $python ] || printf 'python\t%s %s\n' $python "$($python -ISc "$version" 2>/dev/null)"
done
sed 's/^/os-release\t/' /etc/os-release"""


class Known(NamedTuple):
    """An answer that is remembered."""

    asked: float  # seconds since some moment
    answered: float
    answer: Any


# Fields that hold a sentence with commands, in which the host has quoted each word of others'.
_SENTENCES: dict[type, str] = {parts.Tree: "error", parts.Supervisor: "other_daemon"}
_remembered: dict[str, dict[type, Known]] = {}  # by host, by kind of part


def ask(target: Target, kind: type[Part], *, fresh: bool = False) -> Part:
    """One part of what is true on the host.

    A round trip is saved where an earlier look (the first is preflight's, at everything) is still
    true: seconds ago, and this run has changed nothing since that it is about.
    """
    if fresh or _is_old(kind):
        see(target, kind)
    part: Part = _remembered[host.name][kind].answer
    return part


def see(target: Target, *kinds: type) -> None:
    """Look at several parts in one round trip, for `ask`.

    Raises:
        MigrationError: the host gives no answer that can be trusted.
    """
    at = time.monotonic()
    names = [kind.__name__ for kind in kinds]
    call = remote.look(
        look.take,
        site=target.site(),
        desired=target.desired(),
        kinds=names,
        rpc_text=target.rpc_text(),
    )
    if parts.RunState in kinds:  # to say that a run is at work, not to wait for it
        call = Call(call.function, call.arguments, lock="none")
    found = get(target, call, *names)
    seen = _remembered.setdefault(host.name, {})
    for kind in kinds:
        if kind.__name__ not in found:
            raise remote.AnswerError(f"the host's answer lacks {kind.__name__}")
        answer = found[kind.__name__]
        part: Any = remote.checked(TypeAdapter(kind), _plain(answer, kind), kind.__name__)
        seen[kind] = Known(at, time.monotonic(), part)


def _plain(answer: Any, kind: type) -> Any:
    """The answer without words that look as a command of ours, but in our own sentences."""
    plain = without_commands(answer)
    kept = _SENTENCES.get(kind)
    return {**plain, kept: answer[kept]} if kept and kept in plain else plain


def get(target: Target, call: Call[Part], *subjects: str) -> Part:
    """A host function's result, as a fact. The command line, and so sudo's log, has `subjects`.

    Raises:
        MigrationError: no answer, an odd one, or the function's own error.
    """
    words = " ".join([call.words(target.python), *subjects])
    lines = host.get_fact(Answer, words=words, _stdin=call.stdin())
    return call.read(lines or [])


def age(kind: type) -> float:
    """Seconds since the host was last asked about this part; endless where nobody remembers."""
    known = _known(kind)
    return time.monotonic() - known.asked if known else math.inf


def _is_old(kind: type) -> bool:
    """Whether it is to be asked again. A host that answers slowly is not asked for that alone.

    Else each part of its first look would be asked again, and be as slow again.
    """
    known = _known(kind)
    return known is None or time.monotonic() - known.answered >= REMEMBERED_SECONDS


def _known(kind: type) -> Known | None:
    return _remembered.get(host.name, {}).get(kind)


def rest_view(target: Target, *, fresh: bool = False) -> misp_rest.View | None:
    """What MISP's web tier says of its workers, remembered for as long as a look."""
    if fresh or _is_old(misp_rest.View):
        at, seen = time.monotonic(), misp_rest.view(target)
        known = Known(at, time.monotonic(), seen)
        _remembered.setdefault(host.name, {})[misp_rest.View] = known
    view: misp_rest.View | None = _remembered[host.name][misp_rest.View].answer
    return view


def forget(keeps: Collection[type] = ()) -> None:
    """To be called for every change of the host; what it `keeps` are parts it cannot touch.

    A dry run changes nothing and goes on knowing.
    """
    if state.is_executing:
        known = _remembered.get(host.name, {})
        _remembered[host.name] = {kind: part for kind, part in known.items() if kind in keeps}
