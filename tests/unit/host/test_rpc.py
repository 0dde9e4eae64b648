"""The RPC's file and password, and a real supervisord that answers with them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host import log_folders, rpc
from tasks.host.drain import Crew
from tasks.host.errors import DrainLimitError, HostError, RefusedError
from tasks.host.processes import Table
from tasks.host.rpc import Wanted
from tasks.host.site import PASSWORD_SHA1_TOKEN
from tasks.host.supervisor import Door, answers_as_misp
from tasks.host.supervisor_files import SupervisorFiles
from tests.unit.host.crew import WEB, crew, real, wait_for_exec
from tests.unit.host.real_supervisord import BUSY, IDLE, free_port, workers_text

OPERATORS = "OperatorsPassword"
MISPS = "MispsPassword0123456789abcdefGHIJKLMNO"
FOREIGN = "[inet_http_server]\nport=127.0.0.1:{port}\nusername=mine\npassword={password}\n"


@pytest.fixture(name="one")
def _one(tmp_path: Path) -> Iterator[Crew]:
    with crew(tmp_path, free_port()) as one:
        yield one


def _wanted(one: Crew, **changes: object) -> Wanted:
    text = (
        f"[inet_http_server]\nport=127.0.0.1:{one.site.rpc_port}\n"
        f"username=supervisor\npassword={{SHA}}{PASSWORD_SHA1_TOKEN}\n"
    )
    wanted = Wanted(text, rotates=False, is_on=False, misps=MISPS)
    return wanted._replace(**changes)  # type: ignore[arg-type]


def _configure(one: Crew, wanted: Wanted) -> list[str]:
    return rpc.Configuration(one, wanted).run()


def _sha(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest()  # noqa: S324


def _answer(one: Crew, password: str) -> str:
    door = Door("", one.site.rpc_port, "supervisor", password)
    return answers_as_misp(door, real(one).main_pid())


def _pending(one: Crew) -> str:
    path = Path(rpc.pending_file(one.site))
    return path.read_text().strip() if path.exists() else ""


def _files(one: Crew) -> SupervisorFiles:
    return SupervisorFiles(one.site.supervisor_conf)


def test_supervisord_is_started_and_answers_with_misps_own_password(one: Crew) -> None:
    assert _configure(one, _wanted(one)) == []
    assert real(one).enabled
    assert _answer(one, MISPS) == "ok"
    path = Path(one.site.rpc_file)
    assert path.stat().st_mode & 0o777 == 0o600
    assert _sha(MISPS) in path.read_text()
    assert MISPS not in path.read_text()
    assert _pending(one) == ""
    _configure(one, _wanted(one))
    assert real(one).starts == 1


@pytest.mark.parametrize("misps", ["", "short", "With%andEnoughLetters0123456789abcdef"])
def test_a_password_is_made_where_misp_has_no_good_one(one: Crew, misps: str) -> None:
    real(one).start()
    _configure(one, _wanted(one, misps=misps))
    made = _pending(one)
    assert re.fullmatch("[A-Za-z0-9]{48}", made)
    assert _answer(one, made) == "ok"
    assert real(one).starts == 2
    _configure(one, _wanted(one, misps=misps))
    assert _pending(one) == made


def test_order_of_passwords(one: Crew) -> None:
    site = one.site
    assert rpc.known(site, _files(one), "", "weak") is None
    assert rpc.known(site, _files(one), "", MISPS) == MISPS
    Path(rpc.pending_file(site)).write_text("pending\n")
    assert rpc.known(site, _files(one), "", MISPS) == "pending"
    real(one).include("own", FOREIGN.format(port=9001, password="50%%"))
    assert rpc.known(site, _files(one), "", MISPS) == "50%"
    real(one).include("own", FOREIGN.format(port=9001, password="{SHA}" + _sha("weak")))
    assert rpc.known(site, _files(one), "", MISPS) is None
    assert rpc.known(site, _files(one), "", "weak") == "weak"
    assert rpc.known(site, _files(one), OPERATORS, MISPS) == OPERATORS
    assert rpc.known(site._replace(transport="unix"), _files(one), "", MISPS) == ""


def test_rotation_makes_a_new_one(one: Crew) -> None:
    _configure(one, _wanted(one))
    _configure(one, _wanted(one, rotates=True))
    assert _answer(one, MISPS) == "401"
    assert _answer(one, _pending(one)) == "ok"


def test_a_foreign_server_is_used_as_it_is(one: Crew) -> None:
    real(one).include("own", FOREIGN.format(port=one.site.rpc_port, password="mine"))
    _configure(one, _wanted(one, text=""))
    assert not Path(one.site.rpc_file).exists()
    real(one).include("own", FOREIGN.format(port=one.site.rpc_port, password="{SHA}0a"))
    with pytest.raises(RefusedError, match="give it as supervisor_password"):
        _configure(one, _wanted(one, text=""))


def test_a_squatter_gets_nothing_and_the_password_is_not_used_again(one: Crew) -> None:
    with socket.create_server(("127.0.0.1", one.site.rpc_port)) as squatter:
        Path(rpc.pending_file(one.site)).write_text("pending\n")
        with pytest.raises(RefusedError, match=rf"is taken by .*\(PID {os.getpid()}") as caught:
            _configure(one, _wanted(one))
        assert "set supervisor_port to a free one" in str(caught.value)
        squatter.settimeout(0.2)
        with pytest.raises(TimeoutError):
            squatter.accept()
    assert not real(one).enabled
    assert not Path(one.site.rpc_file).exists()
    # MISP has sent its password there when it asked for its workers.
    _configure(one, _wanted(one))
    assert _answer(one, MISPS) == "401"
    made = _pending(one)
    assert _answer(one, made) == "ok"
    Path(rpc.pending_file(one.site)).unlink()  # MISP has it now
    assert rpc.known(one.site, _files(one), "", made) == made


def test_files_that_supervisord_cannot_read_stop_nothing(one: Crew) -> None:
    real(one).start()
    before = real(one).main_pid()
    real(one).include("faulty", "[program:x]\ndirectory=/\n")
    with pytest.raises(RefusedError, match=r"so it was not restarted: .*program:x") as caught:
        _configure(one, _wanted(one))
    assert "files and supervisor.service are as before" in str(caught.value)
    assert not real(one).enabled
    assert real(one).main_pid() == before
    assert not Path(one.site.rpc_file).exists()


def test_a_supervisord_that_does_not_answer_gets_its_old_files(
    one: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "_ANSWER", 0.2)
    real(one).start()
    Path(one.site.rpc_file).write_text("; as before\n")
    with pytest.raises(HostError, match="does not answer on its RPC: nobody listens") as caught:
        _configure(one, _wanted(one, text="; no server\n"))
    assert "files are as before; supervisor.service was restarted" in str(caught.value)
    assert "the end of its journal" in str(caught.value)
    assert Path(one.site.rpc_file).read_text() == "; as before\n"
    assert real(one).starts == 3


def test_a_running_job_keeps_supervisord_from_its_restart(tmp_path: Path) -> None:
    with crew(tmp_path, free_port(), drain_timeout=1) as one:
        text = workers_text(one.site.misp_root, default=BUSY.format(seconds=60))
        real(one).include("misp-workers", text)
        real(one).start()
        (pid,) = wait_for_exec(one, 1)
        while not Table().children(pid):
            time.sleep(0.05)
        with pytest.raises(DrainLimitError):
            _configure(one, _wanted(one, is_on=True))
        assert wait_for_exec(one, 1) == [pid]
        assert not Path(one.site.rpc_file).exists()
        os.kill(Table().children(pid)[0].pid, signal.SIGKILL)


@pytest.mark.parametrize("is_on", [False, True])
def test_a_hand_made_group_is_held_while_the_backend_is_off(one: Crew, *, is_on: bool) -> None:
    path = real(one).include("misp-workers", workers_text(one.site.misp_root, default=IDLE))
    assert _configure(one, _wanted(one, is_on=is_on)) == []
    assert path.exists() == is_on
    assert len(one.control().group()) == is_on


def test_a_held_group_is_put_back_on_failure(one: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_ANSWER", 0.2)
    text = workers_text(one.site.misp_root, default=IDLE)
    path = real(one).include("misp-workers", text)
    with pytest.raises(HostError, match=r"files and supervisor\.service are as before"):
        _configure(one, _wanted(one, text="; no server\n"))
    assert path.read_text() == text
    assert real(one).main_pid() == 0
    assert not real(one).enabled


def test_what_cannot_be_put_back_is_told(one: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise HostError("systemctl stop: denied")

    monkeypatch.setattr(rpc, "_ANSWER", 0.2)
    monkeypatch.setattr(real(one), "stop", fail)
    with pytest.raises(HostError, match="files are as before, but systemctl stop: denied"):
        _configure(one, _wanted(one, text="; no server\n"))
    monkeypatch.undo()
    assert not real(one).enabled


def test_a_drop_in_that_stays_does_not_keep_the_service_from_its_return(
    one: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise HostError("systemctl daemon-reload: denied")

    monkeypatch.setattr(rpc, "_ANSWER", 0.2)
    monkeypatch.setattr(log_folders, "take_back", fail)
    with pytest.raises(HostError, match="as before, but systemctl daemon-reload: denied"):
        _configure(one, _wanted(one, text="; no server\n"))
    assert real(one).main_pid() == 0
    assert not real(one).enabled


def test_a_refusal_that_leaves_something_changed_is_none(
    one: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise HostError("systemctl disable: denied")

    real(one).start()
    real(one).include("broken", "[program:no-command]\n")
    monkeypatch.setattr(real(one), "disable", fail)
    with pytest.raises(rpc.RpcError, match=r"cannot read .*but systemctl disable: denied"):
        _configure(one, _wanted(one))
    monkeypatch.undo()


def test_a_socket_that_misp_may_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_ANSWER", 0.2)
    socket_path = str(tmp_path / "s.sock")
    with crew(tmp_path, transport="unix", rpc_socket=socket_path) as one:
        with pytest.raises(HostError, match="nobody may not write to"):
            _configure(one, _wanted(one, text="; nothing\n"))
        root = one._replace(web=WEB._replace(uid=0))
        assert _configure(root, _wanted(one, text="; nothing\n")) == []
        assert _pending(one) == ""
