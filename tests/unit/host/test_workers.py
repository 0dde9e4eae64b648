"""The worker group's file, under a real supervisord."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host import workers
from tasks.host.drain import Crew
from tasks.host.errors import DrainLimitError, HostError, RefusedError
from tasks.host.parts import Unit, Worker, Workers
from tasks.host.processes import Table, now_ticks
from tasks.host.supervisor import NoAnswerError
from tasks.host.supervisor_look import look as look_at_supervisor
from tests.unit.host.crew import WEB, crew, freezer, real, wait_for_exec
from tests.unit.host.fake_proc import FakeProc
from tests.unit.host.real_supervisord import BUSY, IDLE, workers_text


@pytest.fixture(name="one")
def _one(tmp_path: Path) -> Iterator[Crew]:
    with crew(tmp_path) as one:
        real(one).start()
        yield one


def _apply(one: Crew, text: str) -> None:
    workers.apply_group(one, text, lambda: None)


def _text(one: Crew, **code: str) -> str:
    return workers_text(one.site.misp_root, **code)


def _look(one: Crew) -> Workers:
    unit = Unit("supervisor.service", "active", "enabled", real(one).main_pid(), True)
    table = Table()
    return workers.look(one.site, WEB, look_at_supervisor(one.site, unit, table), table)


def test_a_first_group(one: Crew) -> None:
    text = _text(one, default=IDLE, prio=IDLE)
    _apply(one, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert _look(one) == (digest, True, digest, [], [], [], {})
    wait_for_exec(one, 2)  # supervisord's child changes its user before
    assert [worker.user for worker in one.control().group()] == ["nobody", "nobody"]
    assert freezer(one).calls == []  # nobody had to be stopped
    assert not Path(one.site.state_dir, "workers-previous").exists()
    assert workers.wait_until_running(one.control())


def test_the_same_again_leaves_the_workers_alone(one: Crew) -> None:
    text = _text(one, default=IDLE)
    _apply(one, text)
    before = wait_for_exec(one, 1)
    _apply(one, text)
    assert wait_for_exec(one, 1) == before


def test_a_changed_group_is_stopped_idle_and_started_anew(one: Crew) -> None:
    _apply(one, _text(one, default=IDLE))
    before = wait_for_exec(one, 1)
    _apply(one, _text(one, default=IDLE, email=IDLE))
    assert freezer(one).frozen == before
    assert before[0] not in wait_for_exec(one, 2)


def test_a_stopped_worker_is_started(one: Crew) -> None:
    text = _text(one, default=IDLE)
    _apply(one, text)
    wait_for_exec(one, 1)
    one.control().send_stop(["misp-workers:default"])
    assert one.control().wait_for_stop(["misp-workers:default"], 5)
    _apply(one, text)
    assert [worker.state for worker in one.control().group()] == ["RUNNING"]


@pytest.mark.parametrize("before", ["", "default"])
def test_a_faulty_group_is_refused_and_its_file_is_as_before(one: Crew, before: str) -> None:
    text = _text(one, **{before: IDLE}) if before else ""
    if text:
        _apply(one, text)
    with pytest.raises(RefusedError, match=r"its file is as before: .*unknown program .* nothing"):
        _apply(one, "[group:misp-workers]\nprograms=nothing\n")
    path = Path(one.site.group_file)
    assert (path.read_text() if path.exists() else "") == text
    assert not Path(one.site.state_dir, "workers-previous").exists()


def test_a_step_that_was_cut_off_leaves_what_was_before(one: Crew) -> None:
    text = _text(one, default=IDLE)
    _apply(one, text)
    Path(one.site.state_dir, "workers-previous").write_text(text)
    Path(one.site.group_file).write_text("half of it")
    with pytest.raises(RefusedError):
        _apply(one, "[group:misp-workers]\nprograms=nothing\n")
    assert Path(one.site.group_file).read_text() == text


def test_at_the_drain_limit_the_workers_go_on_as_they_are(tmp_path: Path) -> None:
    with crew(tmp_path, drain_timeout=1) as one:
        real(one).start()
        _apply(one, _text(one, default=BUSY.format(seconds=60)))
        (pid,) = wait_for_exec(one, 1)
        while not Table().children(pid):
            time.sleep(0.05)
        assert _look(one).busy == ["misp-workers:default"]
        with pytest.raises(DrainLimitError):
            _apply(one, _text(one, default=IDLE))
        assert wait_for_exec(one, 1) == [pid]
        found = _look(one)
        assert found.digest != found.applied


def test_supervisord_that_does_not_run_changes_nothing(tmp_path: Path) -> None:
    with crew(tmp_path) as one:
        with pytest.raises(NoAnswerError, match="does not run"):
            _apply(one, _text(one, default=IDLE))
        assert not Path(one.site.group_file).exists()


def test_a_file_or_log_folder_of_others_does_not_count(one: Crew) -> None:
    _apply(one, _text(one, default=IDLE))
    os.chmod(one.site.group_file, 0o666)  # noqa: PTH101, S103
    os.chown(one.site.log_dir, 65534, 65534)
    found = _look(one)
    assert (found.digest, found.has_log_dir) == ("", False)


def _grow_old(one: Crew, monkeypatch: pytest.MonkeyPatch, seconds: int, limit: float) -> None:
    monkeypatch.setattr(workers, "connected_to", lambda *_: one.control())
    monkeypatch.setattr(workers, "_LIMIT", limit - seconds)
    assert workers.wait_until_stable(one.site, seconds) == []


def test_workers_grow_old(one: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    _apply(one, _text(one, default=IDLE))
    begun = time.monotonic()
    _grow_old(one, monkeypatch, 2, 20)
    assert 0.5 < time.monotonic() - begun < 15


def test_workers_that_crash_in_a_loop_do_not(one: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "import time; time.sleep(0.3); raise SystemExit(1)"
    _apply(one, _text(one, default=IDLE, prio=crash))
    Path(one.site.log_dir, "prio.log").write_bytes(b"one\nRedis is \x1b[31m away\xff\n\n")
    states = "(EXITED|BACKOFF|STARTING|restarted)"
    words = rf"stay: .*prio {states}.*\. Their logs say: Redis is \?\[31m away. \(prio\)$"
    with pytest.raises(HostError, match=words):
        _grow_old(one, monkeypatch, 5, 1.5)


def test_no_worker_is_not_stable(one: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="supervisord has none"):
        _grow_old(one, monkeypatch, 1, 0.1)
    assert not workers.wait_until_running(one.control(), 0.1)


def test_the_youngest_counts(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc")
    now = now_ticks()
    proc.add(70, "php", started=now - 900)
    proc.add(71, "php", started=now - 300)

    def worker(pid: int, state: str = "RUNNING") -> Worker:
        return Worker("misp-workers:x", state, pid, 0, "", "")

    assert 300 <= workers.youngest([worker(70), worker(71)], proc.path) < 600
    assert workers.youngest([worker(70), worker(72)], proc.path) == -1
    assert workers.youngest([worker(70), worker(71, "STARTING")], proc.path) == -1
    assert workers.youngest([], proc.path) == -1


def test_a_worker_of_a_killed_supervisord_is_a_stray(one: Crew) -> None:
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", IDLE, one.site.misp_root + "/cake.php", "start_worker", "prio"],
        user=65534,
        env={"SUPERVISOR_GROUP_NAME": "misp-workers"},
    ) as stray:
        # It has a parent here, as another supervisord's workers do.
        found = _look(one)
        assert found.strays == []
        assert [*found.elsewhere.values()] == [[stray.pid]]
        stray.kill()
