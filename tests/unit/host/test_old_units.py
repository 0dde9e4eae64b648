"""tasks/host/old_units.py on units as they are found in the field, and worse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.host import old_units, systemd
from tasks.host.parts import Launcher
from tasks.host.programs import Finished
from tasks.host.site import Site
from tests.unit.host import old_side
from tests.unit.host.old_side import ROOT, WEB

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root's files have to be root's")

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
def units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of root's own units; the other is units-lib."""
    folders = [tmp_path / "units", tmp_path / "units-lib"]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "init.d").mkdir()
    monkeypatch.setattr(old_units, "_FOLDERS", tuple(map(str, folders)))
    monkeypatch.setattr(old_units, "_INIT_SCRIPTS", str(tmp_path / "init.d"))
    monkeypatch.setattr(systemd, "exec_start", lambda names: dict.fromkeys(names, ""))
    return folders[0]


def names(site: Site) -> list[str]:
    """What is held, stopped and started."""
    return old_units.names(site)


def unread(site: Site) -> list[Launcher]:
    """Those with a file that root does not read."""
    return old_units.unread(old_units.found(site))


def script(path: Path, text: str, uid: int = 0, mode: int = 0o755) -> Path:
    """Write a script."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, uid, uid)
    return path


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
    assert names(SITE) == (["anything.service"] if is_found else [])


def test_units_of_all_folders_drop_ins_and_the_operators_own_are_found(
    units: Path, tmp_path: Path
) -> None:
    (tmp_path / "units-lib/packaged.service").write_text(FORKING)
    (units / "alias.service").symlink_to(tmp_path / "units-lib/packaged.service")
    (units / "masked.service").symlink_to(os.devnull)
    (units / "changed.service.d").mkdir()
    (units / "changed.service.d/x.conf").write_text(f"[Service]\nExecStart=\nExecStart={START}\n")
    site = old_side.site(legacy_service="own")
    assert names(site) == [
        "changed.service",
        "own.service",
        "packaged.service",
    ]
    assert unread(site) == []


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
    assert names(SITE) == ["misp-workers.service"]
    ((name, why, _),) = unread(SITE)
    assert name == "misp-workers.service"
    assert "can be changed by others than root" in why


def test_what_a_unit_gives_the_old_workers_is_named_without_its_values(units: Path) -> None:
    given = 'Environment="HTTP_PROXY=http://me:secret@proxy" A=1 \\\n  B=2\nEnvironment=\n'
    given += "Environment=PASS=two words\\\n more\n"
    (units / "a.service").write_text(FORKING + given + "#Environment=C=3\nEnvironment='D=4\n")
    (units / "a.service.d").mkdir()
    (units / "a.service.d/x.conf").write_text("[Service]\nEnvironmentFile = -/etc/default/misp\n")
    (units / "b.service").write_text(FORKING)
    (units / "redis.service").write_text("[Service]\nExecStart=/bin/x\nEnvironment=E=5\n")
    assert old_units.variables(old_units.found(SITE)) == {
        "a.service": "HTTP_PROXY, A, B, PASS, /etc/default/misp"
    }


def test_what_starts_a_unit_counts_as_well(units: Path) -> None:
    (units / "workers.service").write_text(FORKING)
    (units / "workers.timer").write_text("[Timer]\nOnBootSec=60\n")
    (units / "nightly.timer").write_text("[Timer]\nOnCalendar=daily\n Unit = workers.service\n")
    (units / "other.timer").write_text("[Timer]\nUnit=other.service\n")
    (units / "workers.path").write_text("[Path]\nUnit=other.service\n")
    (units / "no unit.service").write_text(FORKING)
    assert names(SITE) == ["nightly.timer", "workers.service", "workers.timer"]


def test_a_template_stands_for_its_instances(units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (units / "worker@.service").write_text(FORKING)
    listed = "worker@default.service loaded active running x\nworker@prio.service loaded failed x\n"
    monkeypatch.setattr(
        "tasks.host.programs.run",
        lambda *_: Finished(0, listed.encode(), b""),
    )
    assert names(SITE) == ["worker@default.service", "worker@prio.service"]


# --- units that start them by something else ----------------------------------------------------

INIT = f"""#!/bin/sh
### BEGIN INIT INFO
# Provides: old-misp
### END INIT INFO
MISP={ROOT}
case "$1" in
start) su -s /bin/bash www-data -c "$MISP/app/Console/worker/start.sh" ;;
esac
"""


def test_a_script_that_a_unit_runs_is_followed(units: Path, tmp_path: Path) -> None:
    wrapper = script(tmp_path / "bin/misp", f"#!/bin/bash\nsleep 1\nbash {START}\n")
    (units / "boot.service").write_text(f"[Service]\nExecStart=-/bin/bash {wrapper}\n")
    (units / "other.service").write_text(f"[Service]\nExecStart={tmp_path}/bin/none\n")
    assert names(SITE) == ["boot.service"]
    assert old_units.indirect(old_units.found(SITE)) == {"boot.service": str(wrapper)}
    wrapper.write_text("#!/bin/bash\nbash /srv/misp2/app/Console/worker/start.sh\n")
    assert names(SITE) == []


def test_a_script_in_a_folder_of_misps_is_started_there(units: Path) -> None:
    (units / "w.service").write_text(
        f"[Service]\nWorkingDirectory={ROOT}/app/Console/worker\nExecStart=/bin/bash start.sh\n"
    )
    assert names(SITE) == ["w.service"]


def test_a_worker_that_systemd_runs_itself_is_one(units: Path) -> None:
    folder = f"{ROOT}/app/Vendor/kamisama/php-resque-ex"
    (units / "resque@.service").write_text(
        f"[Service]\nWorkingDirectory={folder}\nExecStart=/usr/bin/php ./bin/resque\n"
    )
    (units / "other.service").write_text(
        "[Service]\nWorkingDirectory=/srv/x\nExecStart=/usr/bin/php ./bin/resque\n"
    )
    assert [one.name for one in old_units.found(SITE)] == ["resque@.service"]


def test_a_script_of_sysvs_init_is_a_unit(units: Path, tmp_path: Path) -> None:
    script(tmp_path / "init.d/old-misp", INIT)
    script(tmp_path / "init.d/dormant", INIT, mode=0o644)  # systemd makes no unit of it
    script(tmp_path / "init.d/replaced", INIT)
    (units / "replaced.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert names(SITE) == ["old-misp.service"]
    assert old_units.indirect(old_units.found(SITE)) == {}


def test_a_unit_that_starts_such_a_unit_is_one(units: Path) -> None:
    (units / "workers.service").write_text(FORKING)
    (units / "nightly.service").write_text(
        "[Service]\nType=oneshot\nExecStart=/bin/systemctl restart workers\n"
    )
    (units / "nightly.timer").write_text("[Timer]\nOnCalendar=daily\n")
    (units / "stop.service").write_text("[Service]\nExecStart=/bin/systemctl stop workers\n")
    assert names(SITE) == ["nightly.service", "nightly.timer", "workers.service"]


def test_rc_locals_own_unit_is_not_the_old_workers(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script(tmp_path / "rc.local", f"#!/bin/sh\nbash {START}\n")
    monkeypatch.setattr(old_units, "_OTHERS", (str(path),))
    (units / "rc-local.service").write_text(f"[Service]\nExecStart={path} start\n")
    assert names(SITE) == []


@pytest.mark.parametrize("uid", [WEB.uid, 0])
def test_a_script_that_others_could_exchange_is_told_and_its_unit_is_left(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    old_side.gate_without_drop(monkeypatch)
    mode = 0o755 if uid else 0o775
    path = script(tmp_path / "bin/misp", f"#!/bin/bash\nbash {START}\n", uid=uid, mode=mode)
    (units / "boot.service").write_text(f"[Service]\nExecStart={path}\n")
    assert names(SITE) == []
    (unfit,) = old_units.unfit(old_units.found(SITE, WEB))
    assert (unfit.path, unfit.via) == ("boot.service", str(path))
    assert "can be changed by others than root" in unfit.unfit
    named = old_side.site(legacy_service="boot")
    assert names(named) == ["boot.service"]
    assert old_units.unfit(old_units.found(named, WEB)) == []
