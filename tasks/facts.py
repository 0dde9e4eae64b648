"""What is true on a host now, as typed answers; a round trip each, or none where it is known."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from pyinfra.context import host, state

from tasks import misp_rest, parse, scripts
from tasks.parse import Answer
from tasks.target import Target

REMEMBERED_SECONDS = 30.0

# Left to the host by the first look, which asks before they are known.
_SETTLED_BY_THE_HOST = {"web_user", "web_group", "composer", "packages"}
# So are these where the host has an RPC of its own or a socket; but only one subject needs them.
_OF_THE_RPC = {"rpc_port", "rpc_user", "rpc_socket", "rpc_template"}


class Probe(FactBase[dict[str, Answer]]):
    """Runs a probe script (standard input) and gives its answer by subject."""

    default = dict

    def command(self, subject: str) -> StringCommand:
        """The script arrives on standard input; the argument names it in sudo's log."""
        return StringCommand("sh", "-s", "--", subject)

    def process(self, output: list[str]) -> dict[str, Answer]:
        """Lines to answers; nothing in here can raise."""
        return {subject: Answer(lines) for subject, lines in parse.sections(output).items()}


class Identity(FactBase[Answer]):
    """Who we are on the host and what system it is: all that can be asked before anything else."""

    def command(self) -> str:
        """POSIX sh, also on systems that are refused afterwards."""
        return "printf 'user\\t%s\\n' \"$(id -u)\"; sed 's/^/os-release\\t/' /etc/os-release"

    def process(self, output: list[str]) -> Answer:
        """Lines to an `Answer`."""
        return Answer(output)


@dataclass(frozen=True)
class _Look:
    """One look at everything: when, asked with which variables, and what was seen."""

    at: float
    variables: Mapping[str, str]
    seen: Mapping[str, Answer]


_looks: dict[str, _Look] = {}
_views: dict[str, tuple[float, misp_rest.View | None]] = {}  # by host as well, with their times


def look(target: Target, *subjects: str) -> Answer:
    """Ask the host about all `subjects` at once, and remember what it says for a while."""
    seen = _probe(target, *subjects)
    _looks[host.name] = _Look(time.monotonic(), scripts.variables(target), seen)
    return Answer.joined(seen.values())


def ask(target: Target, *subjects: str, fresh: bool = False) -> Answer:
    """What is true of `subjects` (see remote/probes.sh) on the host.

    Each operation asks for itself. A round trip is saved where the look that preflight took is
    still true: seconds ago, with the same data, and before this run changed anything on the host.
    A subject that gives no answer reads as absent; the operation decides what that means.
    """
    look = _looks.get(host.name)
    if look and not fresh and _is_current(look, target, subjects):
        return Answer.joined(look.seen[subject] for subject in subjects)
    return Answer.joined(_probe(target, *subjects).values())


def rest_view(target: Target, *, fresh: bool = False) -> misp_rest.View | None:
    """What MISP's web tier says of its workers, remembered for as long as a look."""
    at, seen = _views.get(host.name, (-math.inf, None))
    now = time.monotonic()
    if fresh or now - at > REMEMBERED_SECONDS:
        seen = misp_rest.view(target)
        _views[host.name] = now, seen
    return seen


def forget() -> None:
    """To be called for every change of the host; a dry run changes nothing and goes on knowing."""
    if state.is_executing:
        _looks.pop(host.name, None)
        _views.pop(host.name, None)


def _is_current(look: _Look, target: Target, subjects: tuple[str, ...]) -> bool:
    is_recent = time.monotonic() - look.at < REMEMBERED_SECONDS
    is_known = all(subject in look.seen for subject in subjects)
    ignored = _SETTLED_BY_THE_HOST | (set() if "rpc" in subjects else _OF_THE_RPC)
    now = scripts.variables(target)
    is_same = all(look.variables[key] == now[key] for key in now if key not in ignored)
    return is_recent and is_known and is_same


def _probe(target: Target, *subjects: str) -> dict[str, Answer]:
    script = scripts.probe(target, *subjects)
    return host.get_fact(Probe, subject="+".join(subjects), _stdin=script) or {}
