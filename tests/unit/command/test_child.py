"""A child that is no pyinfra, but tells events as it does."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks import places
from tasks.command.child import Child, command, last_error, last_words

TELL = "import os, sys, time; pipe = int(os.environ['MISP_WORKERS_EVENTS']); "


def child(tmp_path: Path, code: str, *words: str) -> Child:
    return Child([sys.executable, "-c", TELL + code, *words], {}, tmp_path / "log", asks=False)


def told(started: Child) -> list[dict[str, Any]]:
    return [event for event in started.events() if event]


def test_events_come_whole_however_they_are_cut(tmp_path: Path) -> None:
    code = """
os.write(pipe, b'{"kind": "st')
time.sleep(0.3)
os.write(pipe, b'ep", "host": "a"}\\nno event\\n[]\\n')
os.write(pipe, b'{"kind": "end", "cause": "\\\\u001b[2J"}\\n{"kind"')
print("said"); sys.exit(3)
"""
    started = child(tmp_path, code)
    assert told(started) == [{"kind": "step", "host": "a"}, {"kind": "end", "cause": " [2J"}]
    assert started.ending == "pyinfra ended with status 3"
    assert started.has_failed
    assert (tmp_path / "log").read_text() == "said\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_the_json_of_a_run_that_only_looks_is_not_kept(tmp_path: Path) -> None:
    assert told(child(tmp_path, "print('json')", "--json")) == []
    assert (tmp_path / "log").read_text() == ""


def test_it_ends_although_something_that_it_started_holds_the_pipe(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '30'], pass_fds=[pipe])"
    assert told(child(tmp_path, code)) == []


def test_it_has_no_terminal_to_ask_on(tmp_path: Path) -> None:
    code = "print(os.getsid(0) == os.getpid(), sys.stdin.read() == '')"
    told(child(tmp_path, code))
    assert (tmp_path / "log").read_text() == "True True\n"


def test_it_is_interrupted_and_then_killed(tmp_path: Path) -> None:
    code = """
import signal
signal.signal(signal.SIGINT, lambda *_: os.write(pipe, b'{"kind": "says"}\\n'))
os.write(pipe, b'{"kind": "run"}\\n')
while True: time.sleep(0.1)
"""
    started = child(tmp_path, code)
    for event in started.events():
        if event:
            started.interrupt(signal.SIGTERM)
    assert started.ending == "pyinfra was killed by signal 9"


def test_what_an_operator_gave_can_be_no_option() -> None:
    words = command("--help", "deploy.py", ["-y"])
    assert words[-4:] == ["-y", "--", "--help", "deploy.py"]
    assert words[3:5] == ["--chdir", str(Path.cwd())]


def test_an_own_config_does_not_take_the_place_of_this_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.py").touch()
    monkeypatch.chdir(tmp_path)
    words = command("i.py", "deploy.py", [])
    assert words[words.index("--config") + 1] == str(places.ROOT / "config.py")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a] one\n[b] two\n[a] three \x1b[2J\n[b] four\n", "three  [2J"),
        ("    [a] refused\n    [b] note: in [a] the key changed\n", "refused"),
        ("    [a] refused\n[b] note:\r[a] it\x0b[a] is\x85[a] mine\u2028[a] now\n", "refused"),
        ("[a] no key: run `rm x`\n[b]\n", "no key: run 'rm x'"),
        ("[b] two\nlast\n\n", "last"),
        ("", ""),
    ],
)
def test_the_last_words_about_a_host(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "log").write_text(text)
    assert last_words(tmp_path / "log", "a") == words
    assert last_words(tmp_path / "none", "a") == ""


DIED = """\
--> An exception occurred in: deploy.py:

Traceback (most recent call last):
  File "deploy.py", line 3, in <module>
Traceback (most recent call last):
KeyError: 'uid'

The above exception was the direct cause of the following exception:

OSError: no `user`

--> Disconnecting from hosts...
    [a] Connected: well
"""


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (DIED, "OSError: no 'user'"),
        ("--> An internal exception occurred:\n\n  File x\nKeyError: 1\n--> The", "KeyError: 1"),
        ("[a] Traceback (most recent call last):\nKeyError: 1\n", ""),
        ("[a] one\n", ""),
    ],
)
def test_the_exception_that_ended_pyinfra(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "log").write_text(text)
    assert last_error(tmp_path / "log") == error


def test_a_key_that_is_not_known_has_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("[a] SSH error (No host key for x found in known_hosts)\n")
    said = last_words(tmp_path / "log", "a")
    assert said.startswith("SSH error (No host key for x found in known_hosts). The host's SSH key")
    assert "connect once by ssh" in said
