"""tasks/host/selinux.py: where it looks, and who does what."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.host import files, gate, programs, selinux, web_user
from tasks.host.parts import Selinux
from tasks.host.programs import Finished
from tasks.host.selinux import SelinuxError
from tasks.host.web_user import WebUser
from tests.unit.host import old_side
from tests.unit.host.old_side import WEB, Records

CAKE = "/var/www/MISP/app/Console/cake"
RULED = "system_u:object_r:httpd_sys_script_exec_t:s0"
PLAIN = "system_u:object_r:httpd_sys_content_t:s0"
TEXTS = {
    "semodule -l": "misp-workers\nmisp-workers-httpd\nmisp-workers-httpd2\n",
    "matchpathcon": f"{RULED}\n",
    "getsebool": "httpd_can_network_connect --> on\n",
    "stat": f"{RULED}\n",
}
BEFORE = {
    "semodule -l": "zabbix\n",
    "matchpathcon": f"{PLAIN}\n",
    "getsebool": "httpd_can_network_connect --> off\n",
}


class Host:
    """What root runs, and what the web user runs, by the beginnings of command lines."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.site = old_side.site(state_dir=str(folder / "state"))
        self.enforce = folder / "fs/enforce"
        self.enforce.parent.mkdir()
        self.texts: dict[str, str] = dict(TEXTS)
        self.failing: set[str] = set()
        self.missing: set[str] = set()
        self.by_root: list[str] = []
        self.by_web_user: list[str] = []
        self.records = Records()
        patch.setattr(selinux, "FILES", str(self.enforce.parent))
        patch.setattr(selinux, "_MAKEFILE", __file__)
        patch.setattr(selinux, "originals", self.records)
        patch.setattr(programs, "run", self._run)
        patch.setattr(programs, "find", lambda name: "" if name in self.missing else name)
        patch.setattr(web_user, "web_user", lambda _: WEB)
        patch.setattr(gate, "run", self._run_as)
        patch.setattr(files, "make_folder", lambda path: Path(path).mkdir(exist_ok=True))
        patch.setattr(files, "write", lambda path, data: Path(path).write_bytes(data))

    def _run(self, *words: str, **_: object) -> Finished:
        command = " ".join(words)
        self.by_root.append(command)
        return self._finished(command)

    def _run_as(self, _: WebUser, words: list[str]) -> Finished:
        command = " ".join(words)
        self.by_web_user.append(command)
        return self._finished(command)

    def _finished(self, command: str) -> Finished:
        status = any(command.startswith(one) for one in self.failing)
        found = [text for beginning, text in self.texts.items() if command.startswith(beginning)]
        return Finished(int(status), "".join(found).encode(), b"denied" if status else b"")

    def install(self, *, load: bool = True) -> None:
        selinux.install(self.site, "policy_module(x)", "digest", load)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    made = Host(monkeypatch, tmp_path)
    made.enforce.write_text("1")
    return made


def test_a_getenforce_that_is_missing_is_not_off(host: Host) -> None:
    host.missing.add("getenforce")
    assert selinux.mode() == "Enforcing"
    host.enforce.write_text("0")
    assert selinux.mode() == "Permissive"
    host.enforce.unlink()
    assert selinux.mode() == "Absent"
    host.missing.clear()
    assert selinux.mode() == "Disabled"


def test_files_that_a_container_sees_of_its_host_are_off(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly:
        f_flag = os.ST_RDONLY | os.ST_NOSUID

    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly())
    assert selinux.mode() == "Disabled"


def test_a_look_has_all_of_it_and_the_label_by_the_web_user(host: Host) -> None:
    kind = "httpd_sys_script_exec_t"
    assert selinux.look(host.site, WEB) == Selinux("Enforcing", "", True, kind, kind, True)
    assert host.by_web_user == [f"stat -c %C -- {CAKE}"]
    assert f"matchpathcon -m file -n {CAKE}" in host.by_root
    host.texts = dict(BEFORE, stat="?\n")
    looked = selinux.look(host.site, WEB)
    assert (looked.is_loaded, looked.cake_label, looked.has_network) == (False, "", False)


def test_where_it_is_off_nothing_is_asked(host: Host) -> None:
    host.enforce.unlink()
    assert selinux.look(host.site, WEB) == Selinux("Disabled", "", False, "", "", False)
    host.enforce.write_text("1")
    assert selinux.look(host.site, None) == Selinux("Enforcing", "", False, "", "", False)
    assert (host.by_root, host.by_web_user) == ([], [])


def test_root_changes_the_policy_and_the_web_user_the_label(host: Host) -> None:
    host.texts = dict(BEFORE, stat=RULED)
    host.install()
    changes = [
        command
        for command in host.by_root
        if not command.startswith(("getsebool", "matchpathcon", "semodule -l", "make"))
    ]
    folder = changes[0].partition(" -i ")[2]
    assert folder.startswith(f"{host.site.state_dir}/selinux.")
    assert changes[1:] == [
        f"semanage fcontext -a -t httpd_sys_script_exec_t {CAKE}",
        "setsebool -P httpd_can_network_connect on",
    ]
    assert f"restorecon {CAKE}" in host.by_web_user
    assert host.records.selinux_before == {
        "is_loaded": False,
        "rule": "httpd_sys_content_t",
        "network": "off",
    }
    assert [path.name for path in Path(host.site.state_dir).iterdir()] == ["selinux-module"]
    host.enforce.unlink()
    assert selinux.look(host.site, WEB).built == "digest"


def test_a_rule_that_is_there_is_changed_and_is_a_regular_expression(host: Host) -> None:
    host.site = host.site._replace(misp_root="/srv/misp-2.5(a)+")
    host.failing.add("semanage fcontext -a")
    host.install()
    rule = r"/srv/misp-2\.5\(a\)\+/app/Console/cake"
    assert f"semanage fcontext -m -t httpd_sys_script_exec_t {rule}" in host.by_root


def test_only_built_nothing_is_loaded(host: Host) -> None:
    host.install(load=False)
    assert [command.split()[0] for command in host.by_root] == ["make"]
    assert host.by_web_user == []


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ("make", "could not be built: denied"),
        ("semodule -i", r"semodule -i \S+ failed: denied"),
        ("semanage", "semanage fcontext -m .* failed: denied"),
        ("setsebool", "setsebool -P httpd_can_network_connect on failed: denied"),
    ],
)
def test_a_failure_is_told_and_not_noted_as_done(host: Host, failing: str, reason: str) -> None:
    host.failing.add(failing)
    with pytest.raises(SelinuxError, match=reason):
        host.install()
    assert list(Path(host.site.state_dir).iterdir()) == []


RULE = f"the file context of {CAKE}"


@pytest.mark.parametrize(
    ("failing", "left"),
    [
        ("semodule -l", selinux.UNCHANGED),
        ("make", selinux.UNCHANGED),
        ("semodule -i", selinux.UNCHANGED),
        ("semanage fcontext", "Changed before, and left so: the module misp-workers-httpd"),
        ("stat", f"the module misp-workers-httpd, {RULE}"),
        ("setsebool", f"the module misp-workers-httpd, {RULE}"),
    ],
)
def test_a_failure_says_what_was_changed_before(host: Host, failing: str, left: str) -> None:
    host.failing.add(failing)
    with pytest.raises(SelinuxError) as caught:
        host.install()
    assert str(caught.value).endswith(left)
    changing = ("semodule -i", "semodule -r", "semanage", "setsebool")
    changes = [one for one in host.by_root if one.startswith(changing)]
    assert bool([one for one in changes if not one.startswith(failing)]) == (
        left != selinux.UNCHANGED
    )


@pytest.mark.parametrize("silent", ["matchpathcon", "getsebool"])
def test_how_it_was_is_never_guessed(host: Host, silent: str) -> None:
    """A rollback would take away what it takes for absent."""
    host.texts = {**BEFORE, silent: ""}
    with pytest.raises(SelinuxError, match=f"{silent} .*does not say how SELinux is set up now"):
        host.install()
    assert host.records.selinux_before is None


def test_a_label_that_cannot_be_set_is_told_with_the_remedy(host: Host) -> None:
    host.failing.add("restorecon")
    host.texts["stat"] = PLAIN
    with pytest.raises(
        SelinuxError,
        match=r"did not get the label .*`setsid -w runuser .* restorecon -v /var/www/MISP",
    ):
        host.install()
    assert not [command for command in host.by_root if command.startswith("restorecon")]


def test_a_missing_makefile_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selinux, "_MAKEFILE", "/nowhere/Makefile")
    with pytest.raises(SelinuxError, match="install the SELinux policy's devel package"):
        host.install()


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        (None, []),
        (
            {"is_loaded": False, "rule": "httpd_sys_content_t", "network": "off"},
            [
                "semodule -r misp-workers-httpd",
                f"semanage fcontext -d {CAKE}",
                "setsebool -P httpd_can_network_connect off",
            ],
        ),
        ({"is_loaded": True, "rule": "httpd_sys_script_exec_t", "network": "on"}, []),
    ],
)
def test_the_way_back(host: Host, before: Mapping[str, Any] | None, changes: list[str]) -> None:
    host.records.selinux_before = dict(before) if before else None
    selinux.undo(host.site, WEB)
    assert [command for command in host.by_root if command != "semodule -l"] == changes
    assert host.by_web_user == ([f"restorecon {CAKE}"] if changes else [])
