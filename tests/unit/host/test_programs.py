"""Programs of root's: what they are given, and what ends them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tasks.host import programs
from tasks.host.programs import Finished, ProgramError


def sh(text: str, **options: float) -> Finished:
    return programs.run("sh", "-c", text, **options)  # type: ignore[arg-type]


def test_a_program_runs_with_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LD_PRELOAD", "/nowhere")
    done = programs.run("env", environment={"MORE": "1"})
    assert sorted(done.lines) == sorted(
        [f"PATH={programs.PATH}", "LC_ALL=C", "HOME=/root", "MORE=1"]
    )
    assert sh("pwd; cat").text == "/\n"


def test_how_it_ended_and_what_it_said() -> None:
    assert sh("printf 'a\\nb'; printf err >&2; exit 3") == Finished(3, b"a\nb", b"err")
    assert sh("kill -9 $$").status == -9
    assert Finished(0, b"out \xff", b"").text == "out \ufffd"
    assert Finished(1, b"out", b"").complaint == "out"
    assert Finished(1, b"out", b" err\n  or ").complaint == "err or"
    assert len(Finished(1, b"", b"x" * 5000).complaint) == 400


APT = """Reading package lists...
E: Failed to fetch http://deb.debian.org/x.deb  Temporary failure resolving 'deb.debian.org'
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?
"""
DNF = """Last metadata expiration check: 0:00:01 ago.
Error:
 Problem: conflicting requests
  - nothing provides python3 needed by supervisor-4.2.5
(try to add '--skip-broken')
"""


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        (APT, "E: Failed to fetch http://deb.debian.org/x.deb Temporary failure resolving"),
        (DNF, "Error: Problem: conflicting requests - nothing provides python3 needed by"),
        ("x" * 900 + "\nError: Unable to find a match: y\n" + "z" * 900, "Error: Unable to find"),
    ],
)
def test_of_what_apt_and_dnf_say_their_first_error_counts(said: str, begins: str) -> None:
    done = Finished(1, b"", said.encode())
    assert done.complaint.startswith(begins)
    assert len(done.complaint) <= 400


def test_all_of_it_is_kept_by_lines() -> None:
    done = Finished(1, b"out\n" * 150, b"err\n" * 100)
    assert (len(done.said), done.said[-1], done.said.count("err")) == (200, "err", 100)


def test_a_program_that_is_missing_is_an_error_and_not_off() -> None:
    assert programs.find("sh").endswith("/sh")
    assert programs.find("no-such-program") == ""
    with pytest.raises(ProgramError, match="no-such-program is missing on this host"):
        programs.run("no-such-program")


def test_a_program_that_cannot_be_started_is_an_error_of_ours(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/no/such/python\n")
    program.chmod(0o755)
    with pytest.raises(ProgramError, match=r"program cannot be started: No such file"):
        programs.run(str(program))
    program.write_bytes(b"\0")
    with pytest.raises(ProgramError, match=r"program cannot be started: Exec format error"):
        programs.run(str(program))


def test_the_caller_has_no_part_in_where_programs_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "env").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.run("env").text != "mine\n"
    assert programs.run(str(tmp_path / "env")).text == "mine\n"


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("exec sleep 60", {"timeout": 0.3}, "did not end"),
        ("exec >&- 2>&-; exec sleep 60", {"timeout": 0.3}, "did not end within 0.3 s"),
        ("trap '' TERM; while :; do sleep 0.1; done", {"timeout": 0.3}, "did not end"),
        ("exec yes", {"limit": 100_000}, "printed more than 97 KiB"),
        ("exec yes >&2", {"limit": 100_000}, "printed more than"),
        ("yes & exec yes >&2", {"limit": 100_000}, "printed more than"),
    ],
)
def test_a_program_is_limited_and_nothing_of_it_stays(
    text: str, options: dict[str, float], words: str
) -> None:
    began = time.monotonic()
    with pytest.raises(ProgramError, match=words):
        sh(text, **options)
    assert time.monotonic() - began < 10


def test_descendants_of_a_program_that_is_ended_go_with_it(tmp_path: Path) -> None:
    with pytest.raises(ProgramError):
        sh(f"sleep 60 & echo $! >{tmp_path}/pid; wait", timeout=0.5)
    pid = (tmp_path / "pid").read_text().strip()
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("its child lives on")


def test_a_service_that_a_program_leaves_behind_delays_nothing() -> None:
    began = time.monotonic()
    done = sh("sleep 20 & echo $!")
    assert time.monotonic() - began < 10
    subprocess.run(["kill", done.text.strip()], check=True)


def test_what_fits_is_whole() -> None:
    assert len(sh("head -c 1000000 /dev/zero").out) == 1_000_000
    with pytest.raises(ProgramError):
        sh("head -c 1100000 /dev/zero")
