"""One run at a time on a host, one step at a time of a run: real locks, in real processes."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import lock
from tasks.host.files import FileError
from tasks.host.lock import LockError
from tasks.host.parts import RunState

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lock's folder is root's")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The lock's folder, and a session that lives: the test's own."""
    folder = tmp_path / "lock"
    monkeypatch.setattr(lock, "FOLDER", str(folder))
    monkeypatch.setattr(lock, "_session", lambda: [os.getpid(), lock._process(os.getpid())[2]])
    monkeypatch.setattr(lock, "_PATIENCE", 0.3)
    yield folder
    end_step()


def end_step() -> None:
    """As the end of a step's process does."""
    for one in lock._held:
        one.close()
    lock._held.clear()


def step(run: str, owner: str = "", *, takes_over: bool = False, has_held: bool = False) -> None:
    """A step from its begin to its end."""
    try:
        lock.hold(run, owner or f"{run}@host", takes_over, has_held)
    finally:
        end_step()


def lease(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "lease").read_text())
    return found


def change(place: Path, **values: Any) -> None:
    (place / "lease").write_text(json.dumps({**lease(place), **values}))


# --- two runs ------------------------------------------------------------------------------------


def test_another_run_is_told_who_has_the_host_and_what_to_do(place: Path) -> None:
    step("first")
    with pytest.raises(LockError) as caught:
        step("second")
    words = str(caught.value)
    assert words.startswith(f"first@host has been at work on this host since {time.strftime('%Y')}")
    assert "loses the host after 90 s" in words
    assert "take_over=true" in words
    assert lease(place)["run"] == "first"


def test_the_run_that_has_the_host_goes_on_and_keeps_its_beginning(place: Path) -> None:
    step("first")
    change(place, since="then")
    until = lease(place)["until"]
    step("first")
    assert (lease(place)["since"], lease(place)["owner"]) == ("then", "first@host")
    assert lease(place)["until"] > until


def test_taking_over_takes_the_host_at_once_and_the_other_run_learns_of_it(place: Path) -> None:
    step("first")
    change(place, since="then")
    step("second", takes_over=True)
    assert lease(place)["run"] == "second"
    assert lease(place)["since"] != "then"
    assert lock.renew("first") is False
    with pytest.raises(LockError, match="second@host"):
        step("first")


def test_taking_over_does_not_interrupt_a_step_that_is_at_work(place: Path) -> None:
    lock.hold("first", "first@host", False)
    with pytest.raises(LockError, match="still at work"):
        lock.hold("second", "second@host", True)
    assert lease(place)["run"] == "first"


def test_a_lease_ends_by_itself(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step("first")
    now = lock._now()
    monkeypatch.setattr(lock, "_now", lambda: now + lock.LEASE - 1)
    assert lock.holder("second")
    monkeypatch.setattr(lock, "_now", lambda: now + lock.LEASE + 1)
    assert lock.holder("second") == ""
    step("second")
    assert lease(place)["run"] == "second"


@pytest.mark.parametrize("takes_over", [True, False])
def test_a_run_that_comes_back_after_another_one_does_no_more(
    place: Path, monkeypatch: pytest.MonkeyPatch, takes_over: bool
) -> None:
    """Its session was gone, the other run came and ended: what the first one knows is old."""
    step("first")
    change(place, session=[0, 0])
    step("second")
    now = lock._now()
    monkeypatch.setattr(lock, "_now", lambda: now + lock.LEASE + 1)
    for act in (lock.hold, lock.wait):
        with pytest.raises(LockError, match=r"has lost this host \(second@host has been at work"):
            act("first", "first@host", takes_over, True)
        end_step()
    assert lease(place)["run"] == "second"


def test_a_run_that_comes_back_first_goes_on(place: Path) -> None:
    step("first")
    change(place, session=[0, 0], until=0)
    lock.wait("first", "first@host", False, True)
    assert lease(place)["session"] != [0, 0]
    assert lease(place)["until"] > lock._now()
    step("first", has_held=True)


def test_a_run_does_no_more_after_a_restart_of_the_host(place: Path) -> None:
    with pytest.raises(LockError, match="the host was started anew"):
        lock.wait("first", "first@host", False, True)
    with pytest.raises(LockError, match="the host was started anew"):
        step("first", has_held=True)


def test_a_heartbeat_keeps_it_and_only_of_the_run_that_has_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock.renew("first") is False
    assert not place.exists()
    step("first")
    change(place, since="then")
    now = lock._now()
    monkeypatch.setattr(lock, "_now", lambda: now + lock.LEASE - 1)
    assert lock.renew("second") is False
    assert lock.renew("first") is True
    monkeypatch.setattr(lock, "_now", lambda: now + 2 * lock.LEASE - 2)
    assert "first@host" in lock.holder("second")
    assert (lease(place)["owner"], lease(place)["since"]) == ("first@host", "then")


def test_a_heartbeat_does_not_win_back_what_another_run_takes_meanwhile(place: Path) -> None:
    step("one")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with lock._lease_to_change():
            beat = pool.submit(lock.renew, "one")
            with pytest.raises(concurrent.futures.TimeoutError):
                beat.result(0.2)
            lock._take("two", "two@host", "now")
        assert beat.result(5) is False
    assert lease(place)["run"] == "two"


def test_a_heartbeat_comes_amid_a_step(place: Path) -> None:
    lock.hold("first", "first@host", False)
    assert lock.renew("first") is True
    assert {one.name for one in place.iterdir()} == {"step", "lease", "lease.lock"}


def test_a_run_whose_session_is_gone_loses_the_host(place: Path) -> None:
    session = subprocess.Popen(["sleep", "60"])
    step("first")
    change(place, session=[session.pid, lock._process(session.pid)[2]])
    assert lock.holder("second")
    session.kill()
    session.wait()
    assert lock.holder("second") == ""


def test_another_process_with_the_sessions_pid_is_not_the_session(place: Path) -> None:
    step("first")
    change(place, session=[os.getpid(), lock._process(os.getpid())[2] - 1])
    assert lock.holder("second") == ""


def test_a_session_that_was_gone_before_is_nobody(place: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    step("first")
    for session in ([0, 0], [1, lock._process(1)[2]], [gone.pid, 0]):
        change(place, session=session)
        assert lock.holder("second") == "", session


def test_the_session_is_what_started_the_shells_and_sudo(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.undo()
    table = {
        90: ("platform-python", 80, 9),
        80: ("sudo", 70, 8),
        70: ("bash", 60, 7),
        60: ("sshd-session", 50, 6),
        50: ("sshd", 1, 5),
    }
    monkeypatch.setattr(lock, "_process", lambda pid: table.get(pid, ("", 0, 0)))
    monkeypatch.setattr(os, "getpid", lambda: 90)
    assert lock._session() == [60, 6]
    del table[60]  # between two looks
    assert lock._session() == [0, 0]
    table[70] = ("bash", 1, 7)
    assert lock._session() == [0, 0]


def test_a_process_is_read_whatever_its_name(tmp_path: Path) -> None:
    name = ") S 1 ("
    program = tmp_path / name
    program.symlink_to(sys.executable)
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [program, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    child.stdout.readline()
    found = lock._process(child.pid)
    child.communicate("")
    assert found[:2] == (name, os.getpid())
    assert found[2] > 0
    assert lock._process(child.pid) == ("", 0, 0)


# --- a step at work ------------------------------------------------------------------------------


def _work(place: str, seconds: float, begun: Any) -> None:
    lock.FOLDER = place
    lock.hold("first", "first@host", False)
    begun.set()
    time.sleep(seconds)


def other_step(place: Path, seconds: float) -> multiprocessing.Process:
    """A step of another process, at work by now."""
    begun = multiprocessing.Event()
    process = multiprocessing.Process(target=_work, args=(str(place), seconds, begun))
    process.start()
    assert begun.wait(30)
    return process


def test_the_next_step_waits_for_the_end_of_the_one_at_work(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE", 30.0)
    began = time.monotonic()
    process = other_step(place, 1.0)
    lock.hold("first", "first@host", False)
    assert time.monotonic() - began >= 1.0
    process.join()


@pytest.mark.parametrize("wait", [lock.hold, lock.wait])
def test_patience_ends_and_the_message_says_who_it_is(
    place: Path, wait: Callable[[str, str, bool], None]
) -> None:
    process = other_step(place, 60)
    try:
        with pytest.raises(
            LockError, match=r"the run that first@host began at .* is still at work"
        ):
            wait("first", "first@host", False)
    finally:
        process.kill()
        process.join()


def test_a_step_that_is_killed_leaves_no_lock(place: Path) -> None:
    process = other_step(place, 60)
    assert lock.state("/nowhere").is_at_work
    process.kill()
    process.join()
    assert not lock.state("/nowhere").is_at_work
    step("first")


def test_a_look_waits_for_a_step_and_holds_nothing(place: Path) -> None:
    lock.wait("first", "first@host", False)
    assert not place.exists()
    step("first")
    lock.wait("second", "second@host", False)
    assert lease(place)["run"] == "first"
    lock.hold("first", "first@host", False)


def test_a_look_of_the_run_that_has_the_host_renews_its_lease(place: Path) -> None:
    step("first")
    change(place, until=0)
    lock.wait("second", "second@host", False)
    assert lease(place)["until"] == 0
    lock.wait("first", "first@host", False)
    assert lease(place)["until"] > lock._now()


def test_a_look_that_waits_for_nothing(place: Path) -> None:
    lock.hold("first", "first@host", False)
    lock.none("second", "second@host", False)
    lock.none("first", "first@host", True)


def test_what_is_told_of_a_host(place: Path, tmp_path: Path) -> None:
    assert lock.state("/nowhere") == RunState(False, False, "")
    lock.hold("first", "first@host", False)
    since = lease(place)["since"]
    assert lock.state(str(tmp_path)) == RunState(True, True, f"first@host since {since}")
    end_step()
    assert lock.state(str(tmp_path)) == RunState(True, False, f"first@host since {since}")


# --- what others could do ------------------------------------------------------------------------


def test_nobody_else_enters_the_folder_or_reads_in_it(place: Path) -> None:
    place.mkdir(0o777)
    place.chmod(0o777)
    os.chown(place, 33, 33)
    step("first")
    found = place.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o700, 0, 0)
    assert stat.S_IMODE((place / "lease").stat().st_mode) == 0o600


def test_a_link_in_the_folders_place_is_no_folder(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    os.chown(tmp_path / "elsewhere", 33, 33)
    place.symlink_to(tmp_path / "elsewhere")
    os.chown(place, 33, 33, follow_symlinks=False)
    with pytest.raises(FileError, match="not root's"):
        step("first")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\xfe\x00",
        b"5",
        b"[]",
        b'["run", "owner", "since", "until", "session"]',
        b'"text"',
        b"null",
        b"{}",
        b'{"run": "first"',
        b'{"run": 1, "owner": 2, "since": 3, "until": "x", "session": 5}',
        b'{"run": "a", "owner": "b", "since": "c", "until": 1e999, "session": []}',
        b'{"run": "a", "owner": "b", "since": "c", "until": 1e999, "session": ["1", "2"]}',
        b'{"run": "a", "owner": "b", "since": "c", "until": 1e999, "session": [1, 2, 3]}',
        b'{"run": "a", "owner": "b", "since": "c", "until": null, "session": [1, 2]}',
        b'{"run": [], "owner": {}, "since": {}, "until": {}, "session": {}}',
        b"[" * 4000,
    ],
)
def test_garbage_in_the_lease_keeps_nobody_out(place: Path, garbage: bytes) -> None:
    step("first")
    (place / "lease").write_bytes(garbage)
    assert lock.holder("second") == ""
    assert lock.renew("first") is False
    lock.wait("second", "second@host", False)
    assert lock.state("/nowhere").is_at_work is False
    step("second")
    assert lease(place)["run"] == "second"


def test_the_lease_is_exchanged_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step("first")
    before = (place / "lease").read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileError, match="No space left"):
        step("first")
    assert (place / "lease").read_bytes() == before


def test_an_error_of_the_lock_itself_is_no_patience(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="No locks available"):
        step("first")
