"""What is true on a host now, as typed answers; a round trip each, or none where it is known."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from pyinfra.context import host, state

from tasks import misp_rest, parse, scripts
from tasks.parse import Answer
from tasks.target import Target

REMEMBERED_SECONDS = 30.0

# Left to the host by the first look, which asks before they are known.
_SETTLED_BY_THE_HOST = {"web_user", "web_group", "composer", "packages", "backend_before"}
# So are these where the host has an RPC of its own or a socket; but only one subject needs them.
_OF_THE_RPC = {"rpc_port", "rpc_user", "rpc_socket", "rpc_template"}


class Probe(FactBase[dict[str, Answer]]):
    """Runs a probe script (standard input) and gives its answer by subject."""

    default = dict

    def command(self, subject: str) -> StringCommand:
        """The script arrives on standard input; the argument names it in sudo's log."""
        return StringCommand(scripts.RUNNER, subject)

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
    """One look at a subject: when, asked with which variables, and what was seen."""

    at: float
    variables: Mapping[str, str]
    answer: Answer


_looks: dict[str, dict[str, _Look]] = {}  # by host, by subject
_views: dict[str, tuple[float, misp_rest.View | None]] = {}  # by host as well, with their times


def ask(target: Target, *subjects: str, fresh: bool = False) -> Answer:
    """What is true of `subjects` (see remote/probes.sh) on the host.

    Each operation asks for itself. A round trip is saved where an earlier look (the first is
    preflight's, at everything) is still true: seconds ago, with the same data, and this run has
    changed nothing since that it is about. A subject that gives no answer reads as absent; the
    operation decides what that means.
    """
    looks = _looks.setdefault(host.name, {})
    if not fresh and all(_is_current(looks.get(one), target, subjects) for one in subjects):
        return Answer.joined(looks[subject].answer for subject in subjects)
    at, variables = time.monotonic(), scripts.variables(target)
    seen = _probe(target, *subjects)
    looks.update({subject: _Look(at, variables, answer) for subject, answer in seen.items()})
    return Answer.joined(seen.values())


def age(subject: str) -> float:
    """Seconds since the host was last asked about `subject`; endless where nobody remembers."""
    look = _looks.get(host.name, {}).get(subject)
    return time.monotonic() - look.at if look else math.inf


def rest_view(target: Target, *, fresh: bool = False) -> misp_rest.View | None:
    """What MISP's web tier says of its workers, remembered for as long as a look."""
    at, seen = _views.get(host.name, (-math.inf, None))
    now = time.monotonic()
    if fresh or now - at > REMEMBERED_SECONDS:
        seen = misp_rest.view(target)
        _views[host.name] = now, seen
    return seen


def forget(keeps: Collection[str] = ()) -> None:
    """To be called for every change of the host; what it `keeps` are subjects it cannot touch.

    A dry run changes nothing and goes on knowing.
    """
    if state.is_executing:
        looks = _looks.get(host.name, {})
        _looks[host.name] = {subject: look for subject, look in looks.items() if subject in keeps}
        _views.pop(host.name, None)


def _is_current(look: _Look | None, target: Target, subjects: tuple[str, ...]) -> bool:
    if look is None or time.monotonic() - look.at >= REMEMBERED_SECONDS:
        return False
    ignored = _SETTLED_BY_THE_HOST | (set() if "rpc" in subjects else _OF_THE_RPC)
    now = scripts.variables(target)
    return all(look.variables[key] == now[key] for key in now if key not in ignored)


def _probe(target: Target, *subjects: str) -> dict[str, Answer]:
    script = scripts.probe(target, *subjects)
    return host.get_fact(Probe, subject="+".join(subjects), _stdin=script) or {}
