"""The lab's command: what it takes, which lab a word means, and which labs it leaves alone."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import __main__ as command
from lab import engine, kept, labs, owner, rehearsal
from lab.directory import LabDirectory
from lab.engine import LABEL, OWNER_LABEL, Engine
from lab.paths import REPOSITORY, state_dir
from tests.documented import PAGES

HERE = Engine("unix:///here", "Docker", "28.0", "2", ())
GONE = f"{owner.current().rpartition(' ')[0]} 1"
FIRST, SECOND, BUSY, FOREIGN, AWAY = "lab-000001", "lab-000002", "lab-00000b", "lab-00000f", "lab-a"
PORTS = {FIRST: 2201, SECOND: 2202}


def a_lab(lab: str, *hosts: str, url: str = HERE.url, by: str = owner.KEPT) -> None:
    """Leave the folder of a lab that came up."""
    folder = LabDirectory(lab)
    folder.write(labs.ENGINE_FILE, url)
    folder.write(labs.OWNER_FILE, by)
    data = {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": PORTS.get(lab, 2200),
        "ssh_user": "deploy",
        "ssh_key": str(folder.ssh_key_file),
        "ssh_known_hosts_file": str(folder.known_hosts),
    }
    folder.write_inventory([{"name": name, "data": data} for name in hosts])


class FakeEngine:
    """An engine's containers, by name, and what was removed."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.removed: list[str] = []
        self.api = SimpleNamespace(containers=self._list, remove_container=self._remove)
        self.networks = SimpleNamespace(list=lambda filters: [])

    def add(self, name: str, lab: str, by: str | None = owner.KEPT) -> None:
        labels = {LABEL: lab} | ({OWNER_LABEL: by} if by else {})
        row = {"Id": name, "Names": [f"/{name}"], "Labels": labels, "Status": "Up 3 minutes"}
        self.containers[name] = row

    def close(self) -> None:
        pass

    def _list(self, all: bool, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        assert all, "a lab whose machine was restarted is there as well"
        return [one for one in self.containers.values() if all_in(filters["label"], one["Labels"])]

    def _remove(self, container: str, force: bool, v: bool) -> None:
        del self.containers[container]
        self.removed.append(container)


def all_in(wanted: Sequence[str], labels: dict[str, str]) -> bool:
    return all(one in labels or one in {f"{k}={v}" for k, v in labels.items()} for one in wanted)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISP_LAB_DIR", str(tmp_path / "lab"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    one = FakeEngine()
    monkeypatch.setattr(engine, "require", lambda: HERE)
    monkeypatch.setattr(Engine, "client", lambda self: one)
    return one


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs in whose place the command has put itself, each with its variables."""
    programs: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda file, words: programs.append(words))
    monkeypatch.setattr("shutil.which", lambda name: name)

    def execve(file: str, words: list[str], environment: dict[str, str]) -> None:
        programs.append([environment["MISP_LAB_INVENTORY"], *words])

    monkeypatch.setattr("os.execve", execve)
    return programs


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "the following arguments are required: up|list|ssh|run|destroy"),
        ("down", "invalid choice: 'down'"),
        ("up --state new", "invalid choice: 'new'"),
        ("up --hots el-like", "unrecognized arguments: --hots"),
        ("ssh", "the following arguments are required: NAME"),
        ("run", "the following arguments are required: ID"),
        ("destroy", "name the labs to remove, or say --all"),
        ("destroy lab-1 --all", "name the labs to remove, or say --all"),
    ],
)
def test_wrong_words_are_answered_in_one_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert sentence in said


@pytest.mark.parametrize("hosts", ["", "el-like,", "misp-solaris"])
def test_hosts_that_there_are_not_start_nothing(
    hosts: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "running", lambda *_: pytest.fail("an engine was started"))
    for main, words in ((command.main, ["up"]), (rehearsal.main, [])):
        assert main([*words, "--hosts", hosts]) == 2
        assert "choose from misp-debian" in capsys.readouterr().err


def test_words_after_a_name_are_left_as_they_are() -> None:
    assert command.parsed(["ssh", "a", "ls", "-l", "--all"]).command == ["ls", "-l", "--all"]
    assert command.parsed(["run", "lab-1", "-y", "--limit", "a"]).words == ["-y", "--limit", "a"]
    assert command.parsed(["up"]).state == "old"


def test_the_words_that_the_pages_show_are_words_of_the_command() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    shown = re.findall(r"\./noxw (?:-R )?-s lab -- ([^`#\n]+)", text)
    assert {words.split()[0] for words in shown} == {"up", "list", "ssh", "run", "destroy"}
    for words in shown:
        command.parsed(shlex.split(words))


def test_each_printed_line_means_the_lab_that_it_belongs_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = "import runpy, sys; print(runpy.run_path(sys.argv[1])['misp'], sys.argv[2:])"
    monkeypatch.setattr(kept, "program", lambda: [sys.executable, "-c", show])
    for lab in (FIRST, SECOND):  # the second is the newest, which is meant where none is named
        a_lab(lab, "misp-debian")
    kept.explain(FIRST)
    lines = capsys.readouterr().err.splitlines()
    for word, deploy, option in (
        ("plan:", "deploy.py", "--dry"),
        ("apply:", "deploy.py", "-y"),
        ("back:", "rollback.py", "-y"),
    ):
        [line] = [line.strip() for line in lines if word in line]
        run = subprocess.run(
            ["sh", "-c", line.removeprefix(word)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "2201" in run.stdout
        assert "2202" not in run.stdout
        assert run.stdout.endswith(f"['{deploy}', '{option}']\n")
        assert f"{FIRST}/runs" in line
    assert "  misp-debian: ssh -p 2201 " in "\n".join(lines)
    assert lines[-1] == f"  remove: ./noxw -s lab -- destroy {FIRST}"
    assert f"In the folder {REPOSITORY}:" in lines


def test_paths_in_the_checkout_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISP_LAB_DIR")
    line = kept.shell_line(FIRST, "status.py", "-y")
    assert line.startswith(f"MISP_LAB_INVENTORY=.lab/{FIRST}/inventory.json ")
    assert line.endswith(" inventories/lab.py status.py -y")


def test_a_name_is_enough_where_only_one_lab_has_it(executed: list[list[str]]) -> None:
    a_lab(FIRST, "misp-debian")
    a_lab(SECOND, "misp-debian", "misp-el")
    command.main(["ssh", "misp-el"])
    command.main(["ssh", f"{FIRST}/misp-debian", "sudo", "id -u"])
    assert [one[:3] for one in executed] == [["ssh", "-p", "2202"], ["ssh", "-p", "2201"]]
    assert executed[1][-3:] == ["deploy@127.0.0.1", "sudo", "id -u"]


def test_a_name_of_two_hosts_or_of_none_is_an_error(
    executed: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    a_lab(FIRST, "misp-debian")
    a_lab(SECOND, "misp-debian")
    assert command.main(["ssh", "misp-debian"]) == 2
    assert f"say ssh {FIRST}/misp-debian or ssh {SECOND}/misp-debian" in capsys.readouterr().err
    assert command.main(["ssh", "debian"]) == 2
    assert f"'debian': there is {FIRST}/misp-debian, {SECOND}" in capsys.readouterr().err
    assert executed == []


def test_run_is_on_the_lab_that_is_named(
    executed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.chdir", lambda path: None)
    monkeypatch.setattr(kept, "program", lambda: ["pyinfra"])
    for lab in (FIRST, SECOND):
        a_lab(lab, "misp-debian")
    command.main(["run", FIRST, "--dry"])
    command.main(["run", FIRST, "status.py", "-y"])
    for words, more in zip(executed, (["deploy.py", "--dry"], ["status.py", "-y"]), strict=True):
        assert words[0].endswith(f"/{FIRST}/inventory.json")
        assert words[1:] == ["pyinfra", "inventories/lab.py", *more]


def test_run_refuses_other_labs_and_other_deploys(
    executed: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    a_lab(FIRST, "misp-debian")
    assert command.main(["run", "lab-nope", "-y"]) == 2
    assert f"no lab 'lab-nope': there is {FIRST}." in capsys.readouterr().err
    assert command.main(["run", FIRST, "noxfile.py"]) == 2
    assert "none of deploy.py, rollback.py, status.py" in capsys.readouterr().err
    assert executed == []


def some_labs(fake: FakeEngine) -> None:
    a_lab(FIRST, "misp-debian")
    a_lab(SECOND, "misp-el", by=GONE)
    a_lab(BUSY, "misp-el", by=owner.current())
    a_lab(AWAY, "misp-el", url="unix:///away")
    fake.add(f"{FIRST}-misp-debian", FIRST)
    fake.add(f"{FIRST}-redis", FIRST)
    fake.add(f"{BUSY}-misp-el", BUSY, owner.current())
    fake.add(f"{FOREIGN}-misp-el", FOREIGN)
    # Somebody's own: of an image that was built from a lab's, or committed from a container.
    fake.add("image-built", "image", by=None)
    fake.add("committed", FIRST)


def test_a_lab_is_removed_alone(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    some_labs(fake)
    assert command.main(["destroy", FIRST]) == 0
    assert sorted(fake.removed) == [f"{FIRST}-misp-debian", f"{FIRST}-redis"]
    assert f"Removed {FIRST}: {FIRST}-misp-debian, {FIRST}-redis" in capsys.readouterr().err
    assert set(labs.ready()) == {SECOND, BUSY, AWAY}


def test_a_lab_that_is_not_there_is_an_error_and_nothing_goes(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    some_labs(fake)
    for unknown in ("lab-nope", "image", "../lab"):
        assert command.main(["destroy", FIRST, unknown]) == 2
        assert f"no lab '{unknown}': there is {FIRST}, {SECOND}" in capsys.readouterr().err
    assert fake.removed == []
    assert command.main(["destroy", AWAY]) == 1
    assert "set DOCKER_HOST=unix:///away and run again" in capsys.readouterr().err
    assert AWAY in labs.ready()


def test_all_are_those_of_this_checkout_that_nobody_uses(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    some_labs(fake)
    assert command.main(["destroy", "--all"]) == 0
    said = capsys.readouterr().err
    assert sorted(fake.removed) == [f"{FIRST}-misp-debian", f"{FIRST}-redis"]
    assert set(labs.ready()) == {BUSY, AWAY}
    assert f"Removed {SECOND}: its folder" in said
    assert f"Left alone: {BUSY}, since the command that started it is still at work." in said
    assert f"Left alone: {FOREIGN}, since another checkout or user started it." in said
    assert f"Left alone: {AWAY}, since it is in the engine at unix:///away." in said


def test_the_list_has_each_lab_with_its_hosts(
    fake: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    some_labs(fake)
    (state_dir() / FIRST / labs.STATE_FILE).write_text("by-hand")
    assert command.main(["list"]) == 0
    said = capsys.readouterr().out
    assert f"{FIRST}: brought up as by-hand\n  misp-debian: Up 3 minutes: ssh -p 2201 -i " in said
    assert "\n  redis: Up 3 minutes\n" in said
    assert f"{SECOND}: it has no containers\n" in said
    assert f"{FOREIGN}: another checkout or user started it\n  misp-el: Up 3 minutes\n" in said
    assert not re.search("built|committed|image", said)


def test_what_a_crash_left_is_swept_and_nothing_else(fake: FakeEngine) -> None:
    some_labs(fake)
    fake.add("lab-c-misp-el", "lab-c", GONE)
    labs.sweep(HERE)
    assert fake.removed == ["lab-c-misp-el"]
    assert set(labs.ready()) == {FIRST, BUSY, AWAY}
