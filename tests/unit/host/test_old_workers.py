"""tasks/host/old_workers.py on processes and units as they are found in the field, and worse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.host import gate, old_workers, systemd
from tasks.host.parts import Launcher, OldWorker, Unit
from tasks.host.programs import Finished
from tests.unit.host import old_side
from tests.unit.host.old_side import NOBODY, ROOT, SCHEDULER, WEB, Proc, Records

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="processes have to have other owners")

SITE = old_side.site()
START = f"{ROOT}/app/Console/worker/start.sh"
FORKING = f"""[Unit]
Description=MISP background workers
After=network.target

[Service]
Type=forking
User=www-data
ExecStart={START}
Restart=always
RestartSec=10

[Install]
WantedBy=multi-user.target
"""
INDENTED = "\n".join(f"    {line}" for line in FORKING.splitlines())  # MISP's text for RHEL


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


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of root's own units; the other is units-lib."""
    folders = [tmp_path / "units", tmp_path / "units-lib"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(old_workers, "_FOLDERS", tuple(map(str, folders)))
    monkeypatch.setattr(systemd, "exec_start", lambda names: dict.fromkeys(names, ""))
    return folders[0]


def pids() -> list[int]:
    return [one.pid for one in old_workers.processes(SITE, WEB)]


def test_workers_their_jobs_and_the_scheduler_are_found(proc: Proc) -> None:
    proc.add(10, ("bash", "-c", "php './bin/resque'"))
    worker = proc.add(11, parent=10, environ=b"A=b\0QUEUE=default, prio\0")
    job = proc.add(12, parent=11, name="resque-1.2: Pro")
    scheduler = proc.add(13, SCHEDULER)
    proc.add(14, ("php", "/var/www/MISP/app/Console/cake.php", "start_worker", "default"))
    found = old_workers.processes(SITE, WEB)
    assert [one.pid for one in found] == [worker, job, scheduler]
    assert [old_workers.queues_of(one) for one in found] == [
        ["default", "prio"],
        ["default"],
        ["_schdlr_"],
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


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (FORKING, True),
        (INDENTED, True),
        (FORKING.replace(START, f"/bin/bash -c '{START}'"), True),
        (FORKING.replace(START, f'"/bin/bash" "{START}"'), True),
        (FORKING.replace(START, f"/bin/sh \\\n  {START}"), True),
        (FORKING.replace(START, f"{ROOT}/app/Console/cake CakeResque.CakeResque load"), True),
        (FORKING.replace(ROOT, "/opt/MISP"), False),
        (FORKING.replace("ExecStart=", "#ExecStart="), False),
        (FORKING.replace("ExecStart=", "ExecStartPost="), False),
        (f"[Service]\nExecStart={ROOT}/app/Console/cake start_worker default\n", False),
        ("\0\xff" * 100, False),
    ],
)
def test_units_are_found_by_what_they_run(units: Path, text: str, is_found: bool) -> None:
    (units / "anything.service").write_text(text)
    (units / "redis.service").write_text("[Service]\nExecStart=/usr/bin/redis-server\n")
    assert old_workers.unit_names(SITE) == (["anything.service"] if is_found else [])


def test_units_of_all_folders_drop_ins_and_the_operators_own_are_found(
    units: Path, tmp_path: Path
) -> None:
    (tmp_path / "units-lib/packaged.service").write_text(FORKING)
    (units / "alias.service").symlink_to(tmp_path / "units-lib/packaged.service")
    (units / "masked.service").symlink_to(os.devnull)
    (units / "changed.service.d").mkdir()
    (units / "changed.service.d/x.conf").write_text(f"[Service]\nExecStart=\nExecStart={START}\n")
    site = old_side.site(legacy_service="own")
    assert old_workers.unit_names(site) == [
        "changed.service",
        "own.service",
        "packaged.service",
    ]
    assert old_workers.unfit_units(site) == []


def test_a_units_file_in_the_web_users_hands_is_read_by_systemd_and_told(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "misp-workers.service").write_text(FORKING)
    os.chown(tree, WEB.uid, WEB.gid)
    (units / "misp-workers.service").symlink_to(tree / "misp-workers.service")
    (units / "other.service").symlink_to(tree / "other.service")
    argv = f"{{ path={START} ; argv[]={START} ; ignore_errors=no }}"
    monkeypatch.setattr(
        systemd,
        "exec_start",
        lambda names: {name: argv if name == "misp-workers.service" else "" for name in names},
    )
    assert old_workers.unit_names(SITE) == ["misp-workers.service"]
    ((name, why),) = old_workers.unfit_units(SITE)
    assert name == "misp-workers.service"
    assert "can be changed by others than root" in why


def test_what_starts_a_unit_counts_as_well(units: Path) -> None:
    (units / "workers.service").write_text(FORKING)
    (units / "workers.timer").write_text("[Timer]\nOnBootSec=60\n")
    (units / "nightly.timer").write_text("[Timer]\nOnCalendar=daily\n Unit = workers.service\n")
    (units / "other.timer").write_text("[Timer]\nUnit=other.service\n")
    (units / "workers.path").write_text("[Path]\nUnit=other.service\n")
    (units / "no unit.service").write_text(FORKING)
    assert old_workers.unit_names(SITE) == ["nightly.timer", "workers.service", "workers.timer"]


def test_a_template_stands_for_its_instances(units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (units / "worker@.service").write_text(FORKING)
    listed = "worker@default.service loaded active running x\nworker@prio.service loaded failed x\n"
    monkeypatch.setattr(
        "tasks.host.programs.run",
        lambda *_: Finished(0, listed.encode(), b""),
    )
    assert old_workers.unit_names(SITE) == ["worker@default.service", "worker@prio.service"]


def test_a_look_has_all_of_it(proc: Proc, units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (units / "w.service").write_text(FORKING)
    unit = Unit("w.service", "active", "enabled", 0, True)
    monkeypatch.setattr(systemd, "show", lambda names: [unit] if names == ["w.service"] else [])
    records = Records()
    records.add_launcher(SITE, "/etc/rc.local")
    monkeypatch.setattr(old_workers, "originals", records)
    proc.add(11, unit="w.service")
    proc.add(12, cwd="")
    launcher = Launcher("/etc/crontab", "")
    found = old_workers.look(SITE, WEB, [launcher], ["resque"])
    assert found.processes == [OldWorker(11, 1, ["default"], 33)]
    assert found.hidden == [12]
    assert (found.units, found.launchers, found.programs) == ([unit], [launcher], ["resque"])
    assert found.is_taken_out
    assert found.started_in == ["w.service"]
    assert found.live
