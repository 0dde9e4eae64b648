"""Supervisor's files, with supervisor's own parser as the judge."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from supervisor import datatypes, options

from tasks.host.supervisor_files import SupervisorFiles, expanded, is_included, misp_of
from tests.unit import samples

MAIN = """\
[unix_http_server]
file=%(here)s/run/supervisor.sock   ; (the path to the socket file)
chmod=0700

[supervisord]
logfile=%(here)s/supervisord.log ; %(not_a_name)s
environment=A="1"

[include]
files = conf.d/*.conf  more/*.ini
    %(here)s/absolute/*.conf ; and a comment
"""
GROUP = samples.target().group_text()


@pytest.fixture(name="etc")
def _etc(tmp_path: Path) -> Path:
    for name in ("conf.d", "more", "absolute"):
        (tmp_path / name).mkdir()
    (tmp_path / "supervisord.conf").write_text(MAIN)
    return tmp_path


def _read(etc: Path, **environment: str) -> SupervisorFiles:
    return SupervisorFiles(str(etc / "supervisord.conf"), environment)


@pytest.fixture(name="supervisors")
def _supervisors(etc: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Supervisor's own reading of the same files."""

    def refuse(self: object, message: object) -> None:
        raise ValueError(message)

    def read() -> Any:
        own = options.ServerOptions()
        own.realize(["-c", str(etc / "supervisord.conf")])
        own.poller.close()
        return own

    def number(name: str) -> int:
        return len(name)

    monkeypatch.setenv("PORT", "9105")
    with (
        patch.object(options, "name_to_uid", number),
        patch.object(datatypes, "name_to_uid", number),
        patch.object(datatypes, "name_to_gid", number),
        patch.object(datatypes, "existing_dirpath", str),
        patch.object(options.ServerOptions, "usage", refuse),
    ):
        yield read


SERVERS = [
    "[inet_http_server]\nport=127.0.0.1:9001\nusername=supervisor\npassword=abc\n",
    "[inet_http_server]\nPORT : 9002 ; port\nUserName = u\n  \npassword={SHA}0a0a ;x\n",
    "[inet_http_server:second]\nport=*:9003\nusername=a%%b\npassword=50%% of ;this\n",
    "[inet_http_server]\nport=%(ENV_PORT)s\n[inet_http_server:b]\nport=localhost:9004\n",
    "[DEFAULT]\nusername=everybody\npassword=pw # comment\n[inet_http_server]\nport=9001\n",
    "[inet_http_server]\nport=9001\nport=9009\n[inet_http_server]\nusername=x\npassword=y\n",
    "; nothing here\n#[inet_http_server]\n",
]


@pytest.mark.parametrize("text", SERVERS)
def test_servers_are_those_of_supervisor(etc: Path, supervisors: Any, text: str) -> None:
    (etc / "more" / "rpc.ini").write_text(text)
    (etc / "conf.d" / "not-read.ini").write_text("[inet_http_server]\nport=1\n")
    wanted = supervisors().server_configs
    found = _read(etc, **os.environ)
    assert not found.faults
    inet = [one for one in wanted if one["family"] == socket.AF_INET]
    assert [(one.port, one.user, one.password) for one in found.servers("inet_http_server")] == [
        (one["port"], one["username"] or "", one["password"] or "") for one in inet
    ]
    unix = [one for one in wanted if one["family"] == socket.AF_UNIX]
    assert [one.path for one in found.servers("unix_http_server")] == [one["file"] for one in unix]


PROGRAMS = """\
[program:one]
command=/bin/sh
    -c "echo
    %(program_name)s" ; a comment
directory=%(here)s/%(program_name)s
[program:two]
command: /usr/bin/%(ENV_TOOL)s --number=%(process_num)d#5
"""


def test_programs_are_those_of_supervisor(
    etc: Path, supervisors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOL", "a-tool")
    (etc / "absolute" / "programs.conf").write_text(PROGRAMS)
    found = _read(etc, **os.environ)
    with patch.object(options, "existing_directory", str):
        groups = supervisors().process_group_configs
    for group in groups:
        program = group.process_configs[0]
        section = f"program:{group.name}"
        assert found.get(section, "command") == program.command
        assert found.get(section, "directory") == (program.directory or "")
    assert len(groups) == 2


def test_a_later_file_counts_and_each_file_is_known(etc: Path, supervisors: Any) -> None:
    (etc / "conf.d" / "a.conf").write_text("[program:x]\ncommand=/bin/a\ndirectory=/\n")
    (etc / "more" / "b.ini").write_text("[program:x]\ncommand=/bin/b\n")
    found = _read(etc)
    assert supervisors().process_group_configs[0].process_configs[0].command == "/bin/b"
    assert found.get("program:x", "command") == "/bin/b"
    assert found.get("program:x", "directory") == "/"
    assert found.get("program:x", "command", str(etc / "conf.d" / "a.conf")) == "/bin/a"
    assert found.files_with("program:x") == [
        str(etc / "conf.d" / "a.conf"),
        str(etc / "more" / "b.ini"),
    ]


def test_of_a_file_that_is_named_twice_the_last_reading_counts(etc: Path, supervisors: Any) -> None:
    main = (etc / "supervisord.conf").read_text()
    (etc / "supervisord.conf").write_text(main.replace("more/*.ini", "more/*.ini conf.d/a.conf"))
    test_a_later_file = {"conf.d/a.conf": "/bin/a", "more/b.ini": "/bin/b"}
    for name, command in test_a_later_file.items():
        (etc / name).write_text(f"[program:x]\ncommand={command}\n")
    assert supervisors().process_group_configs[0].process_configs[0].command == "/bin/a"
    assert _read(etc).get("program:x", "command") == "/bin/a"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("supervisord.conf", MAIN + "no section or value\n", "supervisord cannot read"),
        ("conf.d/x.conf", "port=9001\n", "no section headers"),
        ("supervisord.conf", MAIN.partition("files")[0], "without files"),
        ("supervisord.conf", MAIN.replace("conf.d", "%(ENV_NONE)s"), "which is not known"),
        ("supervisord.conf", "[program:x]\ncommand=/bin/x\n", "has no [supervisord]"),
        ("supervisord.conf", MAIN.replace("[supervisord]", "[supervisor]"), "has no [superv"),
    ],
)
def test_faults_are_those_of_supervisor(
    etc: Path, supervisors: Any, name: str, text: str, words: str
) -> None:
    (etc / name).write_text(text)
    with pytest.raises(ValueError, match=r"."):
        supervisors()
    assert any(words in fault for fault in _read(etc).faults)


def test_a_file_that_others_can_change_is_a_fault(etc: Path) -> None:
    (etc / "conf.d" / "x.conf").symlink_to(etc / "web" / "x.conf")
    (etc / "web").mkdir()
    (etc / "web" / "x.conf").write_text("[program:x]\ncommand=/bin/x\n")
    assert not _read(etc).faults
    os.chown(etc / "web", 33, 33)
    assert any("can be changed by others" in fault for fault in _read(etc).faults)


def test_a_server_in_two_files_is_one(etc: Path, supervisors: Any) -> None:
    main = (etc / "supervisord.conf").read_text()
    (etc / "supervisord.conf").write_text(main.replace("chmod", "username=a\npassword=b\nchmod"))
    ours = etc / "conf.d" / "misp-rpc.conf"
    ours.write_text(f"[unix_http_server]\nfile={etc}/run/supervisor.sock\nchmod=0770\n")
    found = _read(etc)
    (server,) = found.servers("unix_http_server")
    (wanted,) = supervisors().server_configs
    assert (server.path, server.user, server.password) == (wanted["file"], "a", "b")
    assert server.file == str(ours)


def test_the_foreign_server_is_not_ours(etc: Path) -> None:
    ours, other = etc / "conf.d" / "misp-rpc.conf", etc / "more" / "own.ini"
    ours.write_text("[inet_http_server]\nport=9001\nusername=ours\npassword=x\n")
    assert _read(etc).foreign_inet(str(ours)) is None
    other.write_text("[inet_http_server]\nport=9002\n")
    server = _read(etc).foreign_inet(str(ours))
    assert server is not None
    assert (server.file, server.port, server.user) == (str(other), 9002, "")


def test_nothing_there(tmp_path: Path) -> None:
    found = _read(tmp_path)
    assert not found.exists
    assert found.sections() == []


def test_which_names_are_included(etc: Path) -> None:
    found = _read(etc)
    assert found.patterns == [f"{etc}/conf.d/*.conf", f"{etc}/more/*.ini", f"{etc}/absolute/*.conf"]
    assert is_included(f"{etc}/conf.d/new.conf", found.patterns)
    assert not is_included(f"{etc}/conf.d/new.ini", found.patterns)
    assert not is_included(f"{etc}/conf.d/deeper/new.conf", found.patterns)


def test_our_own_group_is_ours(etc: Path) -> None:
    ours = etc / "conf.d" / "misp-workers.conf"
    ours.write_text(GROUP)
    found = _read(etc)
    assert found.group_elsewhere(str(ours)) == []
    assert found.group_extra(str(ours)) == []
    assert found.group_root(str(ours)) == "/var/www/MISP"
    assert found.old_programs(["/var/www/MISP"]) == []


def test_another_misps_group_in_a_file_of_another_suffix(etc: Path) -> None:
    other = etc / "more" / "50-workers.ini"
    other.write_text(GROUP.replace("/var/www/MISP", "/srv/misp2"))
    found = _read(etc)
    ours = str(etc / "conf.d" / "misp-workers.conf")
    assert found.group_elsewhere(ours) == [str(other)]
    assert found.group_root(ours) == ""
    assert found.group_root(str(other)) == "/srv/misp2"


@pytest.mark.parametrize(
    "section", ["program:misp-workers", "program: prio", "eventlistener:misp-workers"]
)
def test_a_program_alone_is_a_group(etc: Path, section: str) -> None:
    other = etc / "conf.d" / "own.conf"
    other.write_text(f"[{section}]\ncommand=/bin/x\n")
    assert _read(etc).group_elsewhere(str(etc / "conf.d" / "misp-workers.conf")) == [str(other)]


def test_a_hand_made_group_without_directory(etc: Path) -> None:
    ours = etc / "conf.d" / "misp-workers.conf"
    ours.write_text(
        "[group:misp-workers]\nprograms=default, prio\n"
        "[program:prio]\ncommand=bash /srv/m/app/Console/cake start_worker prio\n"
        "[program:other]\ncommand=/bin/other\n[eventlistener:x]\ncommand=/bin/x\n"
    )
    found = _read(etc)
    assert found.group_root(str(ours)) == "/srv/m"
    assert found.group_extra(str(ours)) == ["[program:other]", "[eventlistener:x]"]


@pytest.mark.parametrize(
    ("command", "root"),
    [
        ("'/srv/my misp\n`x`/app/Console/cake' start_worker prio", "/srv/my misp\n`x`"),
        ("/usr/bin/php -q /srv/m/app/Console/cake.php start_worker prio", "/srv/m"),
        ("bash -c 'cd /; exec /srv/m/app/Console/cake start_worker prio'", "/srv/m"),
        ("bash -c 'exec /srv/m/app/Console/cake start_worker prio", "/srv/m"),  # no end
        ("./app/Console/cake start_worker prio", "/srv/folder"),
        ("/srv/m/app/Console/cakes", "/srv/folder"),
    ],
)
def test_whose_a_program_is(etc: Path, command: str, root: str) -> None:
    text = command.replace("\n", "\n ")  # as such a file has it
    (etc / "conf.d" / "x.conf").write_text(
        f"[program:prio]\ncommand={text}\ndirectory=/srv/folder/\n"
    )
    assert _read(etc).program_root("program:prio") == root


@pytest.mark.parametrize(
    ("command", "is_old"),
    [
        ("/var/www/MISP/app/Console/worker/start.sh", True),
        ("bash -c '%(ENV_MISP)s/app/Console/worker/start_dynamic.sh'", True),
        ("/var/www/MISP/app/Console/cake CakeResque.CakeResque start --interval 5", True),
        ("/var/www/MISP/app/Console/cake CakeResque.CakeResque load", True),
        ("php ./bin/resque", True),
        ("/var/www/MISP/app/Console/cake start_worker prio", False),
        ("{folder}/wrapper.sh", True),
        ("/bin/bash {folder}/wrapper.sh", True),
        ("/bin/bash '{folder}/my \"odd\" wrapper.sh'", True),
        ("/bin/bash '{folder}/wrapper.sh", False),  # it has no end
        ("{folder}/missing.sh", False),
        ("/dev/zero", False),
    ],
)
def test_programs_that_start_old_workers(etc: Path, command: str, *, is_old: bool) -> None:
    for name in ("wrapper.sh", 'my "odd" wrapper.sh'):
        (etc / name).write_text("#!/bin/bash\n# start\ncd /x && sudo worker/start.sh\n")
    (etc / "conf.d" / "x.conf").write_text(
        f"[program:x]\ndirectory=/var/www/MISP/app\ncommand={command.format(folder=etc)}\n"
    )
    found = _read(etc, MISP="/var/www/MISP")
    named = [f"x in {etc / 'conf.d' / 'x.conf'}"]
    assert found.old_programs(["/var/www/MISP", "/x"]) == (named if is_old else [])
    assert found.old_programs(["/srv/other"]) == []


def test_a_reference_to_an_unknown_name_stays() -> None:
    assert expanded("%(a)s %(b)s %%", {"a": "1"}) == "%(a)s %(b)s %%"
    assert expanded("%(a)s %%", {"a": "1"}) == "1 %"


# --- whose a command is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "root"),
    [
        (["php", "/srv/misp/app/Console/cake.php", "start_worker"], "/srv/misp"),
        (["/srv/a misp/app/Console/cake", "start_worker"], "/srv/a misp"),
        (["sh", "-c", "exec /srv/misp/app/Console/cake start_worker"], "/srv/misp"),
        (["sh", "-c", "CAKE=/srv/misp/app/Console/cake"], "/srv/misp"),
        (["/app/Console/cake"], ""),
        (["php", "app/Console/cake.php"], ""),
        (["/srv/misp/app/Console/cakes"], ""),
        (["/" * 131_000 + "app/Console/cake"], ""),
        (["/" * 131_000], ""),
    ],
)
def test_a_command_line_tells_whose_misp_it_runs(words: list[str], root: str) -> None:
    began = time.process_time()
    assert misp_of(words) == root
    assert time.process_time() - began < 1
