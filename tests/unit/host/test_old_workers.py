"""tasks/host/old_workers.py on processes as they are found in the field, and worse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.host import gate, old_units, old_workers, systemd
from tasks.host.old_units import OldUnit
from tasks.host.parts import Launcher, OldWorker, Origin, Unit
from tests.unit.host import old_side
from tests.unit.host.old_side import NOBODY, SCHEDULER, WEB, Proc, Records

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="processes have to have other owners")

SITE = old_side.site()


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Proc:
    made = Proc(tmp_path / "proc")
    old_side.use(made, monkeypatch)
    return made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Whom signals went to, call by call."""
    calls: list[list[int]] = []

    def signal_as(_: object, pids: list[int], __: int) -> list[int]:
        calls.append(pids)
        return pids

    monkeypatch.setattr(gate, "signal_as", signal_as)
    return calls


def pids() -> list[int]:
    return [one.pid for one in old_workers.processes(SITE, WEB)]


def test_workers_their_jobs_and_the_scheduler_are_found(proc: Proc) -> None:
    proc.add(10, ("bash", "-c", "php './bin/resque'"))
    worker = proc.add(11, parent=10, environ=b"A=b\0QUEUE=default, prio\0")
    job = proc.add(12, parent=11, name="resque-1.2: Pro")
    scheduler = proc.add(13, SCHEDULER)
    titled = proc.add(15, ("resque-1.2: Waiting for `a\xff\nb`",), name="php", environ=b"")
    proc.add(16, ("resque-1.2: Waiting for a",), name="vim")
    proc.add(14, ("php", "/var/www/MISP/app/Console/cake.php", "start_worker", "default"))
    found = old_workers.processes(SITE, WEB)
    assert [one.pid for one in found] == [worker, job, scheduler, titled]
    assert [old_workers.queues_of(one) for one in found] == [
        ["default", "prio"],
        ["default"],
        ["_schdlr_"],
        ["*"],
    ]
    assert old_workers.jobs(found) == {job}


def test_a_look_alike_of_another_user_never_counts(proc: Proc) -> None:
    proc.add(10, uid=NOBODY)
    proc.add(11, uid=NOBODY, cwd="")
    assert pids() == []
    assert old_workers.hidden(WEB) == []
    assert proc.add(12, uid=0) in pids()


@pytest.mark.parametrize("cwd", ["/opt/MISP/app/Vendor", "/var/www/MISP-old", "/", "/var/www"])
def test_another_misps_workers_never_count(proc: Proc, cwd: str) -> None:
    proc.add(10, cwd=cwd)
    assert pids() == []
    assert old_workers.hidden(WEB) == []


def test_a_container_on_this_host_has_workers_of_its_own(proc: Proc) -> None:
    proc.add(10, namespace="container")
    assert pids() == []


def test_a_process_that_root_may_not_look_at_is_told(proc: Proc) -> None:
    proc.add(10, cwd="")
    assert pids() == []
    assert old_workers.hidden(WEB) == [10]


def test_a_misp_behind_a_link_is_the_same(proc: Proc, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "MISP").symlink_to("data")
    site = old_side.site(misp_root=f"{tmp_path}/MISP")
    proc.add(10, cwd=f"{tmp_path}/data/app")
    assert [one.pid for one in old_workers.processes(site, WEB)] == [10]


@pytest.mark.parametrize(
    ("environ", "queues"),
    [
        (b"", ["*"]),
        (b"QUEUE=\0", ["*"]),
        (b"QUEUE=*\0", ["*"]),
        (b"QUEUED=x\0QUEUE=email\0", ["email"]),
        (b"QUEUE=a\x1b[2Jb,\xff\xfe,\n\t,c\0", ["a[2Jb", "\ufffd\ufffd", "c"]),
        (b"QUEUE=" + b"x" * 10_000_000 + b"\0", ["x" * 64]),
        (b"QUEUE=" + b"x," * 10_000 + b"\0", ["x"] * 32),
    ],
)
def test_queues_are_the_web_users_text(proc: Proc, environ: bytes, queues: list[str]) -> None:
    proc.add(10, environ=environ)
    (one,) = old_workers.processes(SITE, WEB)
    assert old_workers.queues_of(one) == queues


def test_workers_are_signalled_and_their_jobs_are_not(proc: Proc, sent: list[list[int]]) -> None:
    proc.add(11)
    proc.add(12, parent=11)
    proc.add(13, SCHEDULER)
    old_workers.send(WEB, old_workers.processes(SITE, WEB), 3)
    assert sent == [[11, 13]]


def test_a_script_that_starts_workers_just_now_is_seen(proc: Proc) -> None:
    folder = f"{old_side.ROOT}/app/Console/worker"
    proc.add(20, ("bash", f"{folder}/start.sh"), cwd=folder)
    proc.add(21, ("/bin/bash", "./start.sh"), cwd="/srv/misp2/app/Console/worker")
    proc.add(22, ("bash", f"{folder}/start.sh"), cwd=folder, uid=NOBODY)
    proc.add(23, ("vim", f"{folder}/start.sh.old"), cwd=folder)
    assert [one.pid for one in old_workers.coming(SITE, WEB)] == [20]


def test_a_look_has_all_of_it(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = Unit("w.service", "active", "enabled", 0, True)
    monkeypatch.setattr(systemd, "show", lambda names: [unit] if names == ["w.service"] else [])
    monkeypatch.setattr(old_units, "names", lambda *_: ["w.service"])
    records = Records()
    records.add_launcher(SITE, "/etc/rc.local")
    monkeypatch.setattr(old_workers, "originals", records)
    proc.add(11, unit="w.service")
    proc.add(12, cwd="")
    launcher = Launcher("/etc/crontab", "")
    units = [
        OldUnit("w.service", "/usr/local/bin/w", "", "", "A"),
        OldUnit("u.service", "", "a link", ""),
        OldUnit("x.service", "/opt/x", "", "/opt is others'"),
    ]
    found = old_workers.look(SITE, WEB, units, [launcher], ["resque"])
    assert found.processes == [OldWorker(11, 1, ["default"], 33)]
    assert found.hidden == [12]
    assert (found.units, found.programs) == ([unit], ["resque"])
    assert found.launchers == [
        launcher,
        Launcher("u.service", "a link"),
        Launcher("x.service", "/opt is others'", "/opt/x"),
    ]
    assert found.is_taken_out
    assert found.started_in == ["w.service"]
    assert found.origins == [Origin("w.service", "", "", "", "")]
    assert found.indirect == {"w.service": "/usr/local/bin/w"}
    assert found.variables == {"w.service": "A"}
    assert found.live
