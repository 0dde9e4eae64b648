"""A process whose reader goes away, or whose terminal has no letters but ASCII's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STEADY = """
import sys
from tasks.command import streams

with streams.steady():
    sys.stdin.read()  # until the reader has gone
    print("out" * 99999)
    print("err" * 99999, file=sys.stderr, flush=True)
    print("the rest")
sys.exit(3)
"""
SCREEN = """
import sys
from tasks.command import streams, views
from tasks.command.fleet import Fleet

with streams.steady():
    sys.stdin.read()
    with views.shown(Fleet(["a"]), is_plain=False) as view:
        assert isinstance(view, views.Screen)
        view.tick()
        view.says("said")
sys.exit(3)
"""


def started(code: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("code", [STEADY, SCREEN])
def test_a_reader_that_goes_away_changes_no_end(code: str) -> None:
    with started(code, FORCE_COLOR="1", TERM="xterm") as process:
        assert process.stdin and process.stdout
        process.stdout.close()
        process.stdin.close()
        assert process.wait(30) == 3


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_letter_that_cannot_be_shown_is_escaped(stream: str) -> None:
    code = f"""
import sys
from tasks.command import streams

with streams.steady():
    print("misp-ä…", file=sys.{stream})
"""
    with started(code, PYTHONIOENCODING="ascii") as process:
        said, _ = process.communicate(timeout=30)
    assert said == rb"misp-\xe4\u2026" + b"\n"
    assert process.returncode == 0
