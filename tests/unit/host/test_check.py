"""The health check: its codes and lines, a real supervisord, and a folder that is not root's."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import render
from tasks.host import check
from tasks.host.check import CRITICAL, OK, UNKNOWN, WARNING, CheckError, Found, Host
from tests import hosts
from tests.unit.host.fake_proc import FakeProc
from tests.unit.host.real_supervisord import RealSupervisord, group_text

NAMES = ["default_00", "default_01", "prio_00", "prio_01"]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(autouse=True)
def _groups() -> Iterator[None]:
    """What writes metrics gives its groups up, and ends soon after."""
    before = os.getgroups()
    yield
    if os.geteuid() == 0:
        os.setgroups(before)


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> Host:
    path = tmp_path / "misp-workers.conf"
    path.write_text(group_text("default", "prio"))
    return Host("supervisor.service", f"{tmp_path}/s.sock", str(path), "nobody", "/var/www/MISP")


def process(name: str, state: str = "RUNNING", age: int = 600) -> dict[str, Any]:
    pid = 100 + NAMES.index(name) if name in NAMES and state == "RUNNING" else 0
    told = {"name": name, "statename": state, "pid": pid, "group": "misp-workers"}
    return {**told, "start": 10_000 - age, "now": 10_000}


@pytest.fixture(name="told")
def _told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What systemd, supervisord and /proc tell; the test changes it."""
    told: dict[str, Any] = {"active": True, "enabled": True, "states": {}, "extra": []}

    def unit(_: str, found: Found) -> int:
        text = "ActiveState=%s\nUnitFileState=%s\nMainPID=7\n"
        state = "active" if told["active"] else "failed"
        enabled = "enabled" if told["enabled"] else "disabled"
        monkeypatch.setattr(
            subprocess,
            "check_output",
            lambda *_, **__: (text % (state, enabled)).encode(),
        )
        return real_unit("supervisor.service", found)

    def workers(*_: Any) -> list[dict[str, Any]]:
        states = {**dict.fromkeys(NAMES, "RUNNING"), **told["states"]}
        found = [process(name, state) for name, state in states.items() if state]
        return found + [process(name) for name in told["extra"]]

    real_unit = check._look_at_unit
    proc = told["proc"] = FakeProc(tmp_path / "proc")
    monkeypatch.setattr(check, "PROC", proc.path)
    monkeypatch.setattr(check, "_look_at_unit", unit)
    monkeypatch.setattr(check, "_workers", workers)
    return told


def look(host: Host) -> Found:
    found = Found()
    check.look(host, found)
    return found


@as_root
@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, OK, "OK: 4 of 4 workers run |"),
        ({"states": {"prio_01": "STOPPED"}}, CRITICAL, "1 worker(s) do not run (prio_01 STOPPED)"),
        ({"states": {"prio_01": "FATAL"}}, CRITICAL, "(prio_01 FATAL)"),
        ({"states": {"prio_01": "BACKOFF"}}, CRITICAL, "(prio_01 BACKOFF)"),
        ({"states": {"prio_01": ""}}, CRITICAL, "1 worker(s) do not run (prio_01 missing)"),
        ({"states": {"prio_01": "STARTING"}}, WARNING, "1 worker(s) start just now (prio_01)"),
        ({"extra": ["prio_02"]}, WARNING, "1 worker(s) are not wanted (prio_02)"),
        ({"enabled": False}, WARNING, "WARNING: supervisord does not start at boot"),
        ({"active": False}, CRITICAL, "CRITICAL: supervisord does not run, so no worker is kept"),
        (
            {"active": False, "enabled": False},
            CRITICAL,
            "kept running; supervisord does not start at boot",
        ),
        (
            {"states": dict.fromkeys(NAMES, "FATAL"), "enabled": False},
            CRITICAL,
            "CRITICAL: 4 worker(s) do not run (default_00 FATAL, default_01 FATAL, prio_00 FATAL, ",
        ),
    ],
)
def test_each_case_has_its_code_and_its_words(
    host: Host, told: dict[str, Any], changes: dict[str, Any], code: int, words: str
) -> None:
    told.update(changes)
    found = look(host)
    line = check.line(found)
    assert found.code == code, line
    assert line.startswith(f"MISP WORKERS {check.WORDS[code]}: ")
    assert words in line


@as_root
def test_numbers_are_in_the_line(host: Host, told: dict[str, Any]) -> None:
    told["states"] = {"prio_01": "STOPPED"}
    told["proc"].add(900, "php", parent=100)  # a job
    numbers = check.line(look(host)).partition(" | ")[2]
    assert numbers == "running=3;;;0;4 busy=1;;;0;4 old_workers=0 youngest=600s"


@as_root
def test_old_workers_are_counted_by_user_and_folder(host: Host, told: dict[str, Any]) -> None:
    resque = ("php", "./bin/resque")
    below = "/var/www/MISP/app/Plugin/CakeResque"
    proc = told["proc"]
    proc.add(50, *resque, uid=NOBODY, cwd=below)
    proc.add(51, *resque, uid=NOBODY, cwd="/srv/another")
    proc.add(52, *resque, uid=1000, cwd=below)
    proc.add(53, *resque, uid=NOBODY, cwd=below, is_in_a_container=True)
    proc.add(54, "vim", "bin/resque", uid=NOBODY, cwd=below)
    proc.end(proc.add(55, *resque, uid=NOBODY, cwd=below))
    found = look(host)
    assert (found.old_workers, found.code) == (1, WARNING)
    assert "1 process(es) of the old backend run" in check.line(found)


def test_the_wanted_workers_are_those_of_the_groups_file(tmp_path: Path) -> None:
    path = tmp_path / "group"
    path.write_text(render.worker_group(hosts.PROGRAMS, hosts.ROOT, "www-data"))
    names = render.process_names(hosts.PROGRAMS)
    assert sorted(f"misp-workers:{one}" for one in check.wanted_workers(str(path))) == sorted(names)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[group:misp-workers]\n",
        "[group:misp-workers]\nprograms=a\n[program:a]\nnumprocs=x",
        "\0[",
    ],
)
def test_a_file_without_the_group_is_no_group(tmp_path: Path, text: str) -> None:
    path = tmp_path / "group"
    path.write_text(text)
    with pytest.raises(CheckError, match="has no worker group"):
        check.wanted_workers(str(path))


@as_root
def test_a_file_that_others_than_root_may_change_does_not_count(host: Host) -> None:
    path = Path(host.group_file)
    path.chmod(0o666)
    with pytest.raises(CheckError, match="that root alone may change"):
        check.wanted_workers(str(path))
    path.chmod(0o644)
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(CheckError, match="that root alone may change"):
        check.wanted_workers(str(path))
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(CheckError, match="has no worker group"):
        check.wanted_workers(str(link))


def test_no_word_makes_a_second_line_or_a_number() -> None:
    found = Found()
    found.add(UNKNOWN, "a\nb|c=1\x1b[2J\u202e" + "x" * 5000)
    line = check.line(found)
    assert line.startswith("MISP WORKERS UNKNOWN: a b c=1 [2J x")
    assert line.count("|") == 1
    assert len(line) < 1200


@pytest.fixture(name="daemon")
def _daemon(tmp_path: Path) -> Iterator[RealSupervisord]:
    daemon = RealSupervisord(tmp_path)
    daemon.include("misp-workers", group_text("default", "prio"))
    daemon.start()
    yield daemon
    daemon.stop()


def ask(daemon: RealSupervisord, monkeypatch: pytest.MonkeyPatch, pid: int = 0) -> Found:
    """The check of a real supervisord, which systemd has not started here."""

    def unit(_: str, found: Found) -> int:
        found.is_active = found.is_enabled = True
        return pid or daemon.main_pid()

    monkeypatch.setattr(check, "_look_at_unit", unit)
    group = str(daemon.folder / "conf.d" / "misp-workers.conf")
    host = Host("supervisor.service", f"{daemon.folder}/s.sock", group, "nobody", "/var/www/MISP")
    found = Found()
    check._try(found, lambda: check.look(host, found))
    return found


@as_root
def test_a_real_supervisord_is_asked(
    daemon: RealSupervisord, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ask(daemon, monkeypatch)
    assert (found.code, found.running, found.wanted) == (OK, *[{"default": 2, "prio": 2}] * 2)
    assert 0 <= found.youngest < 60
    daemon.ctl("stop", "misp-workers:prio_01")
    found = ask(daemon, monkeypatch)
    assert (found.code, found.running) == (CRITICAL, {"default": 2, "prio": 1})
    assert "(prio_01 STOPPED)" in check.line(found)


@as_root
def test_another_supervisord_or_none_is_unknown(
    daemon: RealSupervisord, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ask(daemon, monkeypatch, pid=1)
    assert found.code == UNKNOWN
    assert "the supervisord that answers has the PID" in check.line(found)
    (daemon.folder / "s.sock").unlink()
    found = ask(daemon, monkeypatch)
    assert found.code == UNKNOWN
    assert "supervisord cannot be asked at" in check.line(found)


@as_root
def test_a_supervisord_that_wants_a_password_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = RealSupervisord(tmp_path, "username=root\npassword=secret\n")
    daemon.include("misp-workers", group_text("default", "prio"))
    daemon.start()
    found = ask(daemon, monkeypatch)
    daemon.stop()
    assert found.code == UNKNOWN
    assert "it answers with HTTP status 401" in check.line(found)


@as_root
def test_who_listens_in_supervisords_place_is_sent_nothing(folder: Path) -> None:
    """It runs as nobody, so whatever it answers is no word of supervisord's."""
    folder.chmod(0o777)
    path = str(folder / "s.sock")
    code = (
        "import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        f"s.bind({path!r}); s.listen(1); print('up', flush=True); "
        "c = s.accept()[0]; c.settimeout(3); print(len(c.recv(99)), flush=True)"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as squatter:
        assert squatter.stdout
        assert squatter.stdout.readline() == "up\n"
        with pytest.raises(CheckError, match="somebody else than root listens there"):
            check._workers(path, 1)
        assert squatter.stdout.readline() == "0\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n<methodResponse><params></params></methodResponse>",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"<" * (2 << 20),
        b"nonsense\r\n" * 99,
    ],
)
@as_root
def test_an_odd_answer_is_unknown(tmp_path: Path, answer: bytes) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            with server.accept()[0] as one:
                one.recv(65536)
                with contextlib.suppress(OSError):  # it does not read all of that
                    one.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(CheckError, match="supervisord cannot be asked at"):
            check._workers(path, 1)


# --- the program --------------------------------------------------------------------------------


@pytest.fixture(name="program")
def _program(host: Host, folder: Path) -> Path:
    """The installed file, for the system's own Python, which every user may run."""
    python = shutil.which("python3", path="/usr/bin:/usr/libexec")
    if not python:
        pytest.skip("no Python of the system's own")
    path = folder / "misp-workers-check"
    path.write_text(render.health_check(python, host))
    path.chmod(0o755)
    return path


def run(program: Path, *words: str, **how: Any) -> tuple[int, str]:
    done = subprocess.run(
        [str(program), *words], capture_output=True, text=True, timeout=30, check=False, **how
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("words", [["--help"], ["--textfile"], ["--textfile", "x"], ["a", "b"]])
def test_other_words_are_refused(program: Path, words: list[str]) -> None:
    code, said = run(program, *words)
    assert code == UNKNOWN
    assert said.startswith("MISP WORKERS UNKNOWN: usage: misp-workers-check [--textfile FOLDER]")


@as_root
def test_only_root_finds_out_anything(program: Path) -> None:
    code, said = run(program, user=NOBODY)
    assert (code, said.count("\n")) == (UNKNOWN, 1)
    assert "only root may ask supervisord: run it by sudo" in said


@as_root
def test_neither_environment_nor_folder_lead_to_another_module(
    program: Path, tmp_path: Path
) -> None:
    for name in ("configparser", "signal", "sitecustomize", "http"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")
    code, said = run(
        program,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path), "PYTHONSTARTUP": "x"},
    )
    assert code in (CRITICAL, UNKNOWN)
    assert said.startswith("MISP WORKERS ")


def test_it_ends_in_time_whatever_it_waits_for(
    host: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "SECONDS", 1)
    monkeypatch.setattr(check, "look", lambda *_: time.sleep(60))
    began = time.monotonic()
    assert check.main(host, []) == UNKNOWN
    assert time.monotonic() - began < 20
    assert capfd.readouterr().out.startswith("MISP WORKERS UNKNOWN: it did not end within 1 s |")


# --- the metrics --------------------------------------------------------------------------------


def parsed(text: str) -> dict[str, float]:
    """Prometheus's text format, strictly: each metric has one type, which comes before it."""
    found, types = {}, []
    for line in text.splitlines():
        if line.startswith("#"):
            types.append(re.fullmatch(r"# TYPE (\w+) gauge", line)[1])  # type: ignore[index]
            continue
        match = re.fullmatch(r'(\w+)(\{queue="[\w]+"\})? (-?\d+)', line)
        assert match, line
        assert match[1] == types[-1]
        found[match[1] + (match[2] or "")] = float(match[3])
    assert len(types) == len(set(types))
    return found


@as_root
def test_the_metrics_say_the_same(host: Host, told: dict[str, Any]) -> None:
    told["states"] = {"prio_01": "FATAL"}
    found = parsed(check.metrics(look(host)))
    assert abs(found.pop("misp_workers_check_time_seconds") - time.time()) < 60
    assert found == {
        'misp_workers_wanted{queue="default"}': 2,
        'misp_workers_wanted{queue="prio"}': 2,
        'misp_workers_running{queue="default"}': 2,
        'misp_workers_running{queue="prio"}': 1,
        "misp_workers_busy": 0,
        "misp_workers_old_processes": 0,
        "misp_workers_youngest_seconds": 600,
        "misp_workers_supervisord_active": 1,
        "misp_workers_supervisord_enabled": 1,
        "misp_workers_check_status": 2,
    }


@as_root
def test_metrics_are_written_also_where_nothing_could_be_found_out(
    host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise CheckError("no answer")

    monkeypatch.setattr(check, "look", fails)
    assert check.main(host, ["--textfile", str(folder)]) == UNKNOWN
    assert parsed((folder / check.FILE).read_text())["misp_workers_check_status"] == UNKNOWN


@as_root
@pytest.mark.parametrize("owner", [0, NOBODY])
def test_the_file_is_its_folders_owners_and_whole(folder: Path, owner: int) -> None:
    os.chown(folder, owner, owner)
    folder.chmod(0o755)
    path = folder / check.FILE
    path.symlink_to("/etc/passwd")
    before = Path("/etc/passwd").read_bytes()
    for text in ("one\n", "two\n"):
        check.write_textfile(str(folder), text)
        assert path.read_text() == text
        assert (path.lstat().st_uid, path.lstat().st_mode) == (owner, 0o100644)
    assert Path("/etc/passwd").read_bytes() == before
    assert [one.name for one in folder.iterdir()] == [check.FILE]


@as_root
def test_root_writes_nothing_where_another_may_turn_the_path(folder: Path) -> None:
    """What belongs to another user is done with that user's rights, down to the end."""
    (folder / "his" / "below").mkdir(parents=True)
    os.chown(folder / "his", NOBODY, NOBODY)
    vault = folder / "vault"
    vault.mkdir(0o755)
    (folder / "his" / "link").symlink_to(vault)
    for path in ("his/below", "his/link", "his/../vault"):
        with pytest.raises(CheckError, match="could not be written"):
            check.write_textfile(f"{folder}/{path}", "x")
    assert list(vault.iterdir()) == []
    folder.chmod(0o777)
    with pytest.raises(CheckError, match="a folder that several may write to will not do"):
        check.write_textfile(str(folder), "x")


@as_root
def test_a_file_that_cannot_be_exchanged_leaves_nothing_behind(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / check.FILE).mkdir()
    with pytest.raises(CheckError, match="could not be written"):
        check.write_textfile(str(folder), "x")
    assert [one.name for one in folder.iterdir()] == [check.FILE]


@as_root
def test_a_full_disk_leaves_nothing_behind_nor_does_one_that_was_cut_off(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    (folder / f".{check.FILE}.77").write_text("of one that was killed")
    (folder / f".{check.FILE}").write_text("half of it")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            check.write_textfile(str(folder), "x" * 100)
        except CheckError:
            os._exit(7)
        finally:
            os._exit(0)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
    assert list(folder.iterdir()) == []


@as_root
def test_the_folders_owner_can_neither_stop_nor_end_what_writes_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(folder, NOBODY, NOBODY)
    tried: list[int] = []
    code = "import os, sys; os.setgid(65534); os.setuid(65534); os.kill(int(sys.argv[1]), {})"

    def attacked(number: int, data: bytes) -> None:
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (NOBODY, NOBODY, [])
        for kind in ("19", "9"):
            words = [sys.executable, "-c", code.format(kind), str(os.getpid())]
            with subprocess.Popen(words, stderr=subprocess.DEVNULL, user=0, group=0) as attack:
                tried.append(attack.wait())
        write(number, data)

    write = check._write
    monkeypatch.setattr(check, "_write", attacked)
    check.write_textfile(str(folder), "x")
    assert tried == [1, 1]
    assert (os.geteuid(), os.getegid()) == (0, os.getgid())
    assert (folder / check.FILE).read_text() == "x"


@as_root
def test_the_group_is_the_accounts_and_not_the_folders(folder: Path) -> None:
    for owner, group in ((NOBODY, pwd.getpwuid(NOBODY).pw_gid), (54321, 65534)):
        os.chown(folder, owner, 0)
        check.write_textfile(str(folder), "x")
        status = (folder / check.FILE).stat()
        assert (status.st_uid, status.st_gid) == (owner, group)
        (folder / check.FILE).unlink()


def test_a_caller_that_blocks_the_alarm_does_not_stop_it(
    host: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "SECONDS", 1)
    monkeypatch.setattr(check, "look", lambda *_: time.sleep(20))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        assert check.main(host, []) == UNKNOWN
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert "it did not end within 1 s" in capfd.readouterr().out


def test_the_program_is_one_file_that_can_be_read_through(program: Path) -> None:
    assert len(program.read_text().splitlines()) <= 350


def test_the_time_limit_is_the_kernels_own(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of Python's would not run in a system call that goes on."""
    seen: list[Any] = []
    monkeypatch.setattr(check, "look", lambda *_: seen.append(signal.getsignal(signal.SIGALRM)))
    monkeypatch.setattr(os, "fork", lambda: 0)
    monkeypatch.setattr(os, "_exit", lambda _: signal.alarm(0))
    monkeypatch.setattr(os, "waitpid", lambda *_: (0, 0))
    monkeypatch.setattr(check, "_tell", lambda _: OK)
    before = signal.getsignal(signal.SIGALRM)
    check.main(host, [])
    signal.signal(signal.SIGALRM, before)
    assert seen == [signal.SIG_DFL]
