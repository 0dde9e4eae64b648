"""The lines that the pages have for an operator's shell, run as they stand there.

They run in a folder like a fresh clone, in the order of each page. Only the hosts are others: fake
ones, which are at each line what they are when an operator comes to it. What needs containers
(`./noxw`) is left out; tests/unit/test_documented_commands.py reads it.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tasks.command import arguments
from tests import hosts
from tests.documented import BIN, OPERATORS, Shown, shown
from tests.fake.answers import EXAMINE_FOR_STATUS, Answers, migrating
from tests.fake.clone import laid_out
from tests.fake.conftest import ROOT
from tests.fake.test_records import returning

README = OPERATORS[0]
LEFT_OUT = {"./noxw"}
INSTALLS = ("python3", "pip")
"""The programs of the lines that install the project. They come first."""

# In a sentence INVENTORY stands for the operator's own.
INVENTORY = "inventories/production.py"
HOST = re.compile(r"(?<![\w/.@-])(misp[\w-]*\.example\.org)")

FAKE_INVENTORY = """\
import json, os
from pathlib import Path

_told = json.loads(Path(os.environ["MISP_FAKE_HOSTS"]).read_text())
canary = [(name, _told["data"]) for name in _told["groups"]["canary"]]
misp = [(name, _told["data"]) for name in _told["groups"]["misp"]]
"""


class Operator:
    """Somebody at a shell in a fresh clone."""

    def __init__(self, place: Path) -> None:
        self.clone = laid_out(place / "clone")
        self.has_done: list[list[str]] = []
        self._told = place / "hosts.json"
        self._environment = {
            **{name: os.environ[name] for name in os.environ if not name.startswith("MISP_")},
            "HOME": str(place / "home"),
            "PATH": f"{self.clone / BIN}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MISP_FAKE_HOSTS": str(self._told),
            # What pip would bring is what the tests have: see `install`.
            "PIP_NO_DEPS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        for name in ("XDG_STATE_HOME", "PYTHONPATH"):
            self._environment.pop(name, None)
        (place / "home").mkdir()

    @property
    def runs(self) -> Path:
        """Where an installed command leaves its records."""
        return Path(self._environment["HOME"]) / ".local/state/misp-workers/runs"

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of a shell."""
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.clone,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def follows(self, command: Shown) -> None:
        """Do what a page says. Each line has to end well."""
        self._prepare(command)
        line = HOST.sub(r"@fake/\1", command.text.replace("INVENTORY", INVENTORY))
        done = self.types(line)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        self.has_done.append(command.words)

    def _prepare(self, command: Shown) -> None:
        program, *words = command.words
        if program == "pip":
            (packages,) = self.clone.glob(".venv-deploy/lib/python*/site-packages")
            (packages / "tests.pth").write_text(sysconfig.get_path("purelib"))
        elif program == "misp-workers":
            self._have_hosts(answers(words))
        elif words[:2] == ["-m", "tasks.report.page"]:
            self._have_run(Path(words[-1]).name)

    def _have_run(self, name: str) -> None:
        """Have records of a run in the folder that a page has made up."""
        self.follows(Shown("", 0, "misp-workers apply INVENTORY --limit canary", is_block=False))
        max(self.runs.glob("*-apply")).rename(self.runs / name)

    def _have_hosts(self, found: Answers) -> None:
        quick = {"fake_responses": found, "fake_delay": 0, "fake_delay_jitter": 0}
        self._told.write_text(json.dumps({"groups": fake_groups(), "data": quick}))
        # For a host that is named in the place of an inventory.
        (self.clone / "group_data").mkdir(exist_ok=True)
        (self.clone / "group_data/all.py").write_text(
            "\n".join(f"{key} = {value!r}" for key, value in quick.items())
        )
        (self.clone / INVENTORY).write_text(FAKE_INVENTORY)


def fake_groups() -> dict[str, list[str]]:
    """The groups of the example inventory, with fake hosts of the same names."""
    example = runpy.run_path(str(ROOT / "inventories/example.py"))
    groups = {name: example[name] for name in ("canary", "misp")}
    return {
        group: [f"@fake/{one if isinstance(one, str) else one[0]}" for one in members]
        for group, members in groups.items()
    }


def answers(words: list[str]) -> Answers:
    """How a host is when an operator comes to a line."""
    asked = arguments.parsed(words)
    if asked.command == "rollback":
        return returning()
    if asked.command == "status":
        found = hosts.migrating() if asked.expect == "old" else hosts.converged()
        return {
            "id -u": hosts.identity("debian"),
            EXAMINE_FOR_STATUS: hosts.look(found),
            "healthcheck.install": hosts.answer(["it says: MISP WORKERS OK"]),
        }
    return migrating("debian")


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """One who has installed it as README.md says."""
    one = Operator(tmp_path_factory.mktemp("operator"))
    for command in shown(README):
        if command.words[0] in INSTALLS:
            one.follows(command)
    return one


def lines(page: Path) -> list[Shown]:
    """The page's lines, and whole commands of this project's in its sentences."""
    return [
        command
        for command in shown(page)
        if command.words[0] not in (*LEFT_OUT, *INSTALLS, "pyinfra", "--")
        and (command.is_block or (command.words[0] == "misp-workers" and len(command.words) > 2))
    ]


@pytest.mark.parametrize("page", OPERATORS, ids=lambda page: page.name)
def test_each_line_of_a_page_ends_well(operator: Operator, page: Path) -> None:
    found = lines(page)
    assert found
    for command in found:
        if command.is_block or command.words not in operator.has_done:
            operator.follows(command)


def test_a_line_that_does_not_end_well_is_told(operator: Operator) -> None:
    line = Shown("README.md", 1, "cp inventories/exmaple.py inventories/mine.py", is_block=True)
    with pytest.raises(AssertionError, match=r"README.md:1: cp inventories/exmaple.py"):
        operator.follows(line)
