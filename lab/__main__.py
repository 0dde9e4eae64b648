"""Labs of your own: hosts with MISP's stub, to try the deploy on."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from docker.errors import DockerException

from lab import bundle, engine, kept, labs
from lab.console import say
from lab.directory import environment
from lab.errors import LabError, UsageError
from lab.hosts import ssh_command, ssh_words
from lab.lab import Lab
from lab.locks import exclusively
from lab.paths import REPOSITORY
from lab.rehearsal import specs_of
from lab.states import STATES

DEPLOYS = ("deploy.py", "rollback.py", "status.py")


def _up(given: argparse.Namespace) -> None:
    # Before an engine is started or installed for a name that is misspelt.
    chosen = None if given.hosts is None else specs_of(given.hosts)
    # A terminated start must remove its lab, and stop its engine, like one that fails.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    # Not `keep`: an engine that was started for a lab which does not come up has to go again.
    with (
        engine.running(given.install_engine),
        Lab.start(chosen or specs_of(None), keep=True) as lab,
    ):
        lab.directory.write(labs.STATE_FILE, given.state)
        try:
            STATES[given.state](lab)
        except LabError as error:
            bundle.collect(lab, str(error))
            raise


def _list(_given: argparse.Namespace) -> None:
    answered = engine.require()
    found = labs.known(answered)
    if not found:
        say("No lab is there.")
    for lab in found.values():
        state = labs.note_of(lab.id, labs.STATE_FILE)
        notes = [f"brought up as {state}"] * bool(state)
        notes += filter(None, [lab.why_not_mine(answered)])
        notes += ["it has no containers"] * (not lab.containers)
        print(": ".join(filter(None, [lab.id, "; ".join(notes)])))
        ssh = {host["name"]: ssh_command(host["data"]) for host in labs.inventory_of(lab.id)}
        for container, seen in sorted(lab.containers.items()):
            name = container.removeprefix(f"{lab.id}-")
            print("  " + ": ".join(filter(None, [name, seen, ssh.get(name)])))


def _ssh(given: argparse.Namespace) -> NoReturn:
    words = [*ssh_words(kept.host(given.name)), *given.command]
    if not shutil.which("ssh"):
        raise LabError("This machine has no ssh.", "install OpenSSH's client.")
    os.execvp("ssh", words)  # noqa: S606 # the words are the lab's own


def _run(given: argparse.Namespace) -> NoReturn:
    kept.check_id(given.id, labs.ready())
    has_deploy = given.words and given.words[0].endswith(".py")
    words = given.words if has_deploy else [DEPLOYS[0], *given.words]
    if words[0] not in DEPLOYS:
        raise UsageError(f"{words[0]!r} is none of {', '.join(DEPLOYS)}.")
    os.chdir(REPOSITORY)
    pyinfra = [*kept.program(), kept.INVENTORY, *words]
    os.execve(pyinfra[0], pyinfra, {**os.environ, **environment(given.id)})  # noqa: S606


def _destroy(given: argparse.Namespace) -> None:
    answered = engine.require()
    found = labs.known(answered)
    for lab in given.ids:
        kept.check_id(lab, found)
    for lab in found.values():
        why_not = lab.why_not_mine(answered)
        if lab.id in given.ids or (given.all and not why_not):
            say(f"Removed {lab.id}: {', '.join(labs.destroy(answered, lab)) or 'its folder'}")
        elif given.all:
            say(f"Left alone: {lab.id}, since {why_not}.")
    with exclusively("engine"):
        engine.stop_if_ours()


class _Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, and ends with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; the result's `act` does what it asks for."""
    parser = _Parser(prog="./noxw -s lab --", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="up|list|ssh|run|destroy")

    up = commands.add_parser("up", help="start a lab, leave it running, and say how to use it")
    up.add_argument("--hosts", metavar="A,B", help="lab hosts or bases, as a rehearsal takes them")
    up.add_argument("--state", choices=STATES, default=next(iter(STATES)), help="default: old")
    up.add_argument("--install-engine", action="store_true", help="install and start Docker")
    up.set_defaults(act=_up)

    commands.add_parser("list", help="list labs, and how to get into their hosts").set_defaults(
        act=_list
    )

    ssh = commands.add_parser("ssh", help="log in to a host, or run a command there")
    ssh.add_argument("name", metavar="NAME", help="a host, or ID/NAME")
    ssh.add_argument("command", nargs=argparse.REMAINDER, help="what to run there")
    ssh.set_defaults(act=_ssh)

    run = commands.add_parser("run", help="run the deploy on a lab, by pyinfra")
    run.add_argument("id", metavar="ID")
    words = f"one of {', '.join(DEPLOYS)} (default: {DEPLOYS[0]}), then pyinfra's options"
    run.add_argument("words", nargs=argparse.REMAINDER, help=words)
    run.set_defaults(act=_run)

    destroy = commands.add_parser("destroy", help="remove labs")
    destroy.add_argument("ids", metavar="ID", nargs="*")
    destroy.add_argument("--all", action="store_true", help="those of this checkout")
    destroy.set_defaults(act=_destroy)

    given = parser.parse_args(argv)
    if given.act is _destroy and bool(given.ids) == given.all:
        destroy.error("name the labs to remove, or say --all for those of this checkout.")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 2 when it asks for what is not there."""
    given = parsed(argv)
    try:
        given.act(given)
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except (LabError, DockerException) as error:
        say(f"Error: {error}")
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
