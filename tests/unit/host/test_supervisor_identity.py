"""Which supervisord is the host's, as its unit and its process have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.host import supervisor_access, systemd
from tasks.host.processes import Table
from tasks.host.site import Site, SupervisorIdentity
from tasks.host.supervisor_identity import identify, is_supervisord
from tasks.host.systemd import Service
from tests.unit.host.fake_proc import FakeProc
from tests.unit.host.real_supervisord import site

ABSENT = Service("", is_active=False, main_pid=0, words=[], is_lasting=False)


class Host:
    """Services by name, and processes."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.units: dict[str, Service] = {}
        self.proc = FakeProc(folder / "proc")
        (folder / "conf.d").mkdir()
        patch.setattr(systemd, "services", self.services)
        usual = (f"{folder}/etc/supervisord.conf", f"{folder}/supervisord.conf")
        patch.setattr(supervisor_access, "USUAL_FILES", usual)
        patch.setattr("tasks.host.supervisor_identity.USUAL_FILES", usual)

    def services(self, names: list[str]) -> list[Service]:
        return [self.units.get(name, ABSENT)._replace(name=name) for name in names]

    def conf(self, name: str, files: str = "conf.d/*.conf") -> str:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"[supervisord]\n[include]\nfiles={files}\n")
        return str(path)

    def unit(self, name: str, *words: str, pid: int = 0, is_lasting: bool = True) -> None:
        self.units[name] = Service(name, pid > 0, pid, list(words), is_lasting)
        if pid:
            cgroup = f"0::/system.slice/{name}\n"
            self.proc.add(pid, "/usr/bin/python3", *words, cgroup=cgroup)

    @property
    def site(self) -> Site:
        return site(self.folder)

    def identity(self) -> SupervisorIdentity:
        return identify(self.site, lambda: Table(self.proc.path))


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_host_without_supervisor_gets_the_platforms(host: Host) -> None:
    assert host.identity() == host.site.supervisor


@pytest.mark.parametrize("pid", [0, 50])
def test_the_packages_unit(host: Host, pid: int) -> None:
    conf = host.conf("supervisord.conf")
    host.unit("supervisor.service", "/usr/bin/supervisord", "-n", "-c", conf, pid=pid)
    assert (
        host.identity() == host.site._replace(supervisor_program="/usr/bin/supervisord").supervisor
    )


@pytest.mark.parametrize("pid", [0, 50])
def test_a_drop_in_with_another_file_and_folder(host: Host, pid: int) -> None:
    conf = host.conf("etc/supervisord.conf", "supervisord.d/*.ini supervisord.d/*.conf")
    host.unit("supervisor.service", "/usr/bin/supervisord", "-n", "-c", conf, pid=pid)
    found = host.identity()
    assert found.supervisor_conf == conf
    assert (found.include_dir, found.include_suffix) == (f"{host.folder}/etc/supervisord.d", ".ini")
    (host.folder / "etc" / "supervisord.d").mkdir()
    (host.folder / "etc" / "supervisord.d" / "misp-workers.conf").touch()
    assert host.identity().include_suffix == ".conf"  # where the group is already


def test_pip_with_a_unit_of_the_other_usual_name(host: Host) -> None:
    conf = host.conf("supervisord.conf")
    host.unit("supervisord.service", "/opt/sv/bin/supervisord", "-c", conf)
    found = host.identity()
    assert (found.supervisor_unit, found.supervisor_program) == (
        "supervisord",
        "/opt/sv/bin/supervisord",
    )


def test_the_one_that_runs_counts_though_the_packages_unit_is_there(host: Host) -> None:
    conf = host.conf("supervisord.conf")
    host.unit("supervisor.service", "/usr/bin/supervisord", "-n", "-c", conf)
    host.unit("supervisord.service", "/usr/local/bin/supervisord", "-c", conf, pid=50)
    assert host.identity().supervisor_program == "/usr/local/bin/supervisord"


def test_a_unit_of_any_name_with_a_usual_file(host: Host) -> None:
    conf = host.conf("supervisord.conf")
    host.unit("programs.service", "/usr/local/bin/supervisord", "-c", conf, pid=50)
    assert host.identity().supervisor_unit == "programs"


@pytest.mark.parametrize(("uid", "taken"), [(0, True), (33, False)])
def test_a_setuid_program_that_calls_itself_so_is_none(host: Host, uid: int, taken: bool) -> None:
    host.proc.add(60, "/usr/bin/python3", "/usr/bin/supervisord", real_uid=uid)
    found = Table(host.proc.path).get(60)
    assert found is not None
    assert is_supervisord(found) is taken


@pytest.mark.parametrize(
    ("name", "is_lasting"), [("etc/app.conf", True), ("supervisord.conf", False)]
)
def test_an_applications_own_one_and_a_fleeting_unit_are_not_taken(
    host: Host, name: str, is_lasting: bool
) -> None:
    words = ("/usr/local/bin/supervisord", "-c", host.conf(name))
    host.unit("programs.service", *words, pid=50, is_lasting=is_lasting)
    assert host.identity().supervisor_unit == "supervisor"


def test_an_included_pattern_that_our_file_cannot_have_is_no_place(host: Host) -> None:
    conf = host.conf("etc/supervisord.conf", "app-*/*.conf all/* one/app.conf")
    host.unit("supervisor.service", "/usr/bin/supervisord", "-c", conf)
    assert host.identity().include_dir == host.site.include_dir


@pytest.mark.parametrize("word", ["$CONF", "${CONF}"])
def test_a_variable_of_the_unit_is_known_once_it_runs(host: Host, word: str) -> None:
    host.unit("supervisor.service", "/usr/bin/supervisord", "-c", word)
    assert host.identity().supervisor_conf == host.site.supervisor_conf


@pytest.mark.parametrize("place", ["venv/etc", "venv", "cwd", "cwd/etc"])
def test_without_c_it_looks_as_supervisord_does(host: Host, place: str) -> None:
    (host.folder / "venv").mkdir()
    (host.folder / "cwd").mkdir()
    conf = host.conf(f"{place}/supervisord.conf")
    words = [f"{host.folder}/venv/bin/supervisord", "-n"]
    assert supervisor_access.conf_in(words, f"{host.folder}/cwd") == conf
