"""What the operator typed, checked as far as that goes without the inventory."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tasks.errors import RefusedError

PROGRAM = "misp-workers"
SLICE = 5
DEPLOYS = {
    "plan": "deploy.py",
    "apply": "deploy.py",
    "status": "status.py",
    "rollback": "rollback.py",
}
# Options of pyinfra's that would change which hosts it takes or whether it changes them, or that
# would make it end before it comes to them.
REFUSED = {
    "--limit": "write it before the --",
    "--exclude": "write it before the --",
    "--chdir": "go to that folder first",
    "--dry": "`plan` shows what would be done and changes nothing",
    "--json": "`status --json` prints JSON, and `plan --out FILE` writes it",
    "--yes": "nothing asks for it: `apply` and `rollback` always mean it",
    "--no-wait": "it would hide failures",
    "--config": "name that file config.py and call this from its folder",
    **dict.fromkeys(
        ("--retry", "--retry-delay"),
        "a call that changes something is never sent again: run the whole command again",
    ),
    **dict.fromkeys(
        ("--debug-operations", "--debug-facts", "--support", "--version", "--help"),
        "it would end the run before the first host: call pyinfra itself with it",
    ),
}
SHORT = {"y": "--yes", "h": "--help"}
# These have pyinfra ask for a password, so it needs the terminal.
ASKING = {"--same-sudo-password", "--use-sudo-password", "--ssh-password-prompt"}
# The same by `--data`, which pyinfra takes as arguments of every operation.
_RETRIES = ("_retries", "_retry_delay", "_retry_until")
_SECRET = re.compile(r"pass(word|phrase)|secret|token|_key$")
_NO_SECRET = {"ssh_key", "rotate_password"}  # the path of a file, true or false
_USER_OF_URL = re.compile(r"(?<=//)[^/]*@")

_DESCRIPTION = """\
Move MISP servers from the CakeResque workers to supervisord-run ones, and back.

INVENTORY is what pyinfra takes: a Python file, host1,host2, or @local.
No command asks anything; apply and rollback begin at once."""

_EPILOG = """\
What follows -- goes to pyinfra, as in
  %(prog)s apply INVENTORY -- --data drain_timeout=60

exit codes, the worst host's:
  0  done                 1  failed, or nothing began   2  refused, unchanged
  3  drain_limit          4  not_proven_returned        5  return_failed
 97  interrupted, as by Ctrl-C"""


@dataclass(frozen=True)
class Asked:
    """A command line.

    Attributes:
        source: the inventory, or for `apply` the file of a plan.
        options: those for pyinfra.
        size: hosts in a slice; 0: all at once.
        words: the whole command line behind the program's name.
    """

    command: str
    source: str
    limit: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    is_verbose: bool = False
    canary: tuple[str, ...] = ()
    size: int = 0
    out: str = ""
    as_json: bool = False
    expect: str = ""
    installs_healthcheck: bool = False
    words: tuple[str, ...] = ()

    @property
    def deploy(self) -> str:
        """The file that pyinfra runs."""
        return "healthcheck.py" if self.installs_healthcheck else DEPLOYS[self.command]

    @property
    def changes(self) -> bool:
        """Whether it changes hosts, so that it leaves records."""
        return self.command in ("apply", "rollback") or self.installs_healthcheck

    @property
    def asks(self) -> bool:
        """Whether pyinfra will ask the operator for a password."""
        return not ASKING.isdisjoint(self.options)

    def again(self) -> str:
        """The same command, as one types it; what may be a secret is `***`."""
        return self._typed(self.words[: _end(self.words)])

    def other(self, command: str, source: str, limit: Iterable[str] = (), out: str = "") -> str:
        """Another command for the same hosts, or for those of `limit`, as `again` gives it."""
        hosts = ",".join(limit)
        chosen = ["--limit", hosts] if hosts else self._chosen()
        return self._typed([command, source, *chosen, *(["--out", out] if out else [])])

    def _typed(self, words: Sequence[str]) -> str:
        options = ["--", *_masked(self.options)] if self.options else []
        return shlex.join([*_program(), *words, *options])

    def _chosen(self) -> list[str]:
        named = (("--limit", self.limit), ("--exclude", self.exclude))
        return [word for option, names in named if names for word in (option, ",".join(names))]


def _end(words: Sequence[str]) -> int:
    """Where this program's own words end and pyinfra's follow."""
    return words.index("--") if "--" in words else len(words)


def _masked(options: Sequence[str]) -> Iterator[str]:
    """Options for pyinfra as a screen may show them: passwords and keys are `***`."""
    for before, word in zip(("", *options), options, strict=False):
        name, equals, value = word.partition("=")
        if before == "--data":
            yield _masked_data(word)
        elif name == "--data" and equals:
            yield f"--data={_masked_data(value)}"
        elif _takes_password(before):
            yield "***"
        else:
            yield f"{name}=***" if equals and _takes_password(name) else word


def _masked_data(text: str) -> str:
    key, equals, value = text.partition("=")
    if equals and key not in _NO_SECRET and _SECRET.search(key):
        return f"{key}=***"
    return f"{key}{equals}{_USER_OF_URL.sub('***@', value)}"


def _takes_password(option: str) -> bool:
    return option.startswith("--") and option.endswith("password") and option not in ASKING


def _program() -> list[str]:
    called = Path(sys.argv[0])
    if called.name != PROGRAM:
        return [sys.orig_argv[0], "-m", "tasks"]
    return [PROGRAM if shutil.which(PROGRAM) == str(called) else str(called)]


def near(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that offers the known word that is nearest, if one is near."""
    close = difflib.get_close_matches(word, list(known), 1, cutoff=0.7)
    return f", did you mean {close[0]!r}?" if close else ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Give one sentence. argparse's own exit status 2 is a refused host's code."""
        raise RefusedError(message)


def parsed(words: Sequence[str]) -> Asked:
    """The command line.

    Raises:
        RefusedError: something in it is wrong.
        SystemExit: it asked for help.
    """
    parser, commands = _parsers()
    if not words:
        parser.error(f"a command is missing: {', '.join(DEPLOYS)} (or --help)")
    if words[0] not in DEPLOYS and not words[0].startswith("-"):
        parser.error(f"there is no command {words[0]!r}{near(words[0], DEPLOYS)}")
    cut = _end(words)
    found, unknown = parser.parse_known_args(words[:cut])
    if unknown:
        options = re.findall("--?[a-z]+", commands[found.command].format_help())
        word = unknown[0].partition("=")[0]
        is_option = word.startswith("-")
        what = "option" if is_option else "second INVENTORY"
        parser.error(f"`{found.command}` takes no {what} {word!r}{near(word, options)}")
    _check(words[cut + 1 :])
    if found.command == "status" and found.installs_healthcheck and (found.as_json or found.expect):
        parser.error(
            "--install-healthcheck does not look at the workers: leave --json and --expect"
        )
    given = {key: value for key, value in vars(found).items() if value is not None}
    for key in ("limit", "exclude", "canary"):
        given[key] = tuple(one for names in given.get(key, ()) for one in names.split(","))
    if given["canary"]:
        given.setdefault("size", SLICE)
    return Asked(**given, options=tuple(words[cut + 1 :]), words=tuple(words))


def _check(options: Sequence[str]) -> None:
    for before, option in zip(("", *options), options, strict=False):
        name = option.partition("=")[0]
        data = option if before == "--data" else option.removeprefix("--data=")
        if data.startswith(_RETRIES):
            raise RefusedError(f"--data {data} cannot be passed to pyinfra: {REFUSED['--retry']}")
        is_short = option.startswith("-") and not option.startswith("--")
        names = [SHORT[letter] for letter in name[1:] if letter in SHORT] if is_short else [name]
        for one in names:
            if one in REFUSED:
                raise RefusedError(f"{option} cannot be passed to pyinfra: {REFUSED[one]}")


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    program = PROGRAM if Path(sys.argv[0]).name == PROGRAM else "python -m tasks"
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog=program,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(command: str, text: str, source: str = "INVENTORY") -> argparse.ArgumentParser:
        usage = f"{program} {command} {source} [options] [-- PYINFRA OPTIONS]"
        made = subparsers.add_parser(
            command, help=text, description=text, usage=usage, allow_abbrev=False
        )
        what = "what pyinfra takes" + (", or a file of `plan --out`" if "|" in source else "")
        made.add_argument("source", metavar=source, help=what)
        for option, effect in (("--limit", "take these only"), ("--exclude", "leave these out")):
            help_text = f"{effect}: hosts, groups or patterns, with commas or given again"
            made.add_argument(option, metavar="NAME", action="append", help=help_text)
        made.add_argument(
            *("-v", "--verbose"),
            dest="is_verbose",
            action="store_true",
            help="show what pyinfra prints, too",
        )
        return made

    plan = add("plan", "show what would be done; changes nothing")
    plan.add_argument("--out", metavar="FILE", help="keep the plan, for `apply FILE`")
    apply = add("apply", "migrate the hosts", "INVENTORY|PLAN")
    status = add("status", "look at the workers; changes nothing")
    status.add_argument("--json", dest="as_json", action="store_true", help="print JSON only")
    status.add_argument(
        "--expect", choices=("migrated", "old"), help="take any other state for a fault"
    )
    status.add_argument(
        "--install-healthcheck",
        dest="installs_healthcheck",
        action="store_true",
        help="leave a program for a monitor on migrated hosts; rollback removes it",
    )
    rollback = add("rollback", "put the hosts back on their old workers")
    for one in (apply, rollback):
        _add_slices(one)
    made = {"plan": plan, "apply": apply, "status": status, "rollback": rollback}
    return parser, made


def _add_slices(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{parser.description}: all at once, or a few first. With --canary or --slice it stops "
        "after the first slice with a host that is not done. Run again, it asks each host whether "
        "it is done, which takes a second."
    )
    parser.add_argument(
        "--canary",
        metavar="NAME",
        action="append",
        help=f"take these first, then the others by slices of {SLICE}",
    )
    parser.add_argument(
        "--slice", dest="size", metavar="N", type=_size, help="take N hosts at a time"
    )


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of hosts")
    return int(text)
