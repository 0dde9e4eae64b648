"""What is true on a host now, as typed answers. Each function is one round trip."""

from __future__ import annotations

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from pyinfra.context import host

from tasks import scripts
from tasks.parse import Answer
from tasks.target import Target


class Probe(FactBase[Answer]):
    """Runs a probe script (standard input) and gives its answer; `None` if it could not run."""

    def command(self, subject: str) -> StringCommand:
        """The script arrives on standard input; the argument names it in sudo's log."""
        return StringCommand("sh", "-s", "--", subject)

    def process(self, output: list[str]) -> Answer:
        """Lines to an `Answer`; nothing in here can raise."""
        return Answer(output)


class Identity(FactBase[Answer]):
    """Who we are on the host and what system it is: all that can be asked before anything else."""

    def command(self) -> str:
        """POSIX sh, also on systems that are refused afterwards."""
        return "printf 'user\\t%s\\n' \"$(id -u)\"; sed 's/^/os-release\\t/' /etc/os-release"

    def process(self, output: list[str]) -> Answer:
        """Lines to an `Answer`."""
        return Answer(output)


def ask(target: Target, *subjects: str) -> Answer:
    """Probe the host about `subjects` (see remote/probes.sh) in one round trip.

    A script that fails gives an empty answer: absent things read as absent, and the operation that
    asks decides what that means.
    """
    script = scripts.probe(target, *subjects)
    answer = host.get_fact(Probe, subject="+".join(subjects), _stdin=script)
    return answer if answer is not None else Answer([])
