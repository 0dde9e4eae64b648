"""tasks/host/starting.py: commands that start this MISP's old workers, and others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.host import files, gate, starting
from tasks.host.errors import WebUserError
from tasks.host.starting import How, Line, Starting
from tasks.host.web_user import WebUser

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root's files have to be root's")

ROOT = "/var/www/MISP"
START = f"{ROOT}/app/Console/worker/start.sh"
ITSELF = How("", "")


@pytest.fixture
def one() -> Starting:
    return Starting([ROOT], None, ["misp-workers.service", "resque@a.service", "w.timer"])


@pytest.mark.parametrize(
    ("line", "how"),
    [
        (START, ITSELF),
        (f"su -s /bin/bash www-data -c '{START}'", ITSELF),
        (f"runuser -u www-data -- bash {START}", ITSELF),
        (f"cd {ROOT} && bash app/Console/worker/start.sh", ITSELF),
        (f"cd {ROOT}/app/Console/worker; ./start.sh", ITSELF),
        (f"{ROOT}/app/Console/cake CakeResque.CakeResque startscheduler", ITSELF),
        (f"cd {ROOT}/app/Vendor/x; php ./bin/resque", ITSELF),
        (f"DAEMON={START}", None),
        (f"pgrep -f {START}", None),
        (f"/srv/misp2/app/Console/worker/start.sh >{ROOT}.log", None),
        (f"{ROOT}-old/app/Console/worker/start.sh", None),
        (f"{ROOT}/app/Console/cake start_worker default", None),
        ("worker/start.sh", How("", f"a line there does not name {ROOT}/")),
        ("systemctl restart misp-workers.service", How("misp-workers", "")),
        ("/etc/init.d/misp-workers restart", How("misp-workers", "")),
        ("systemctl --no-block start resque@a", How("resque@a", "")),
        ("systemctl enable --now w.timer", How("w.timer", "")),
        ("systemctl status misp-workers", None),
        ("", None),
    ],
)
def test_a_line(one: Starting, line: str, how: How | None) -> None:
    assert one.by(line) == how


def test_a_script_is_followed_one_hop_and_no_further(one: Starting, tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text(f"#!/bin/sh\n{START}\n")
    outer.write_text(f"#!/bin/sh\n{inner}\n")
    assert one.by(f"root {inner}") == How(str(inner), "")
    assert one.by(f"root {outer}") is None


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("my scripts", '"{}"'),
        ("my scripts", "'{}'"),
        ("my scripts", "{}"),
        ("its $(id)", "'{}'"),
    ],
)
def test_a_script_of_an_odd_name_is_followed(
    one: Starting, tmp_path: Path, name: str, written: str
) -> None:
    script = tmp_path / name / "start"
    script.parent.mkdir()
    script.write_bytes(f"#!/bin/sh\n# \xff\n{START}\n".encode("latin-1"))
    path = str(script)
    for blank in ("\\ ", "\\x20"):
        text = written.format(path.replace(" ", blank) if written == "{}" else path)
        assert one.by(f"root {text} >/dev/null") == How(path, "")


def test_a_script_without_a_path_is_one_of_the_hosts_own(
    one: Starting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_ON_PATH", (f"{tmp_path}/",))
    (tmp_path / "misp-start").write_text(f"#!/bin/sh\n{START}\n")
    assert one.by("@reboot root misp-start >/dev/null") == How(f"{tmp_path}/misp-start", "")


def test_a_script_for_two_misps_is_for_the_operator(one: Starting, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.write_text(f"#!/bin/sh\nbash {START}; bash /srv/misp2/app/Console/worker/start.sh\n")
    how = one.by(f"root {both}")
    assert how is not None
    assert how.unfit == f"{both}: a line there also starts those of /srv/misp2"


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("bash {}", True),
        ("/bin/sh -ex '{}'", True),
        (". {}", True),
        ("source {} && x", True),
        ("supervisord -c {}", False),
        ("{}", False),
    ],
)
def test_a_file_that_no_shell_reads_is_no_script(
    one: Starting, tmp_path: Path, line: str, is_found: bool
) -> None:
    file = tmp_path / "s.conf"
    file.write_text(f"[program:x]\ncommand = {START}\n")
    assert (one.by(line.format(file)) is not None) == is_found


def test_variables_and_folders_of_a_script_are_followed() -> None:
    text = f"MISP='{ROOT}'\nexport W=$MISP/app # here\ncd ${{W}}/Console\n$X ./run $W\n"
    assert starting.lines_of(text) == [
        Line(f"MISP='{ROOT}'", ""),
        Line(f"export W={ROOT}/app # here", ""),
        Line(f"cd {ROOT}/app/Console", ""),
        Line(f"$X ./run {ROOT}/app", f"{ROOT}/app/Console"),
        Line("", f"{ROOT}/app/Console"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "CakeResque start " + "/" * 60_000,
        "CakeResque start " + "/a" * 30_000,
        "php" * 20_000,
        "X=aaaaaaaa\n" + "X=$X$X\n" * 100 + f"cd $X && {START}",
        "${a" * 20_000,
        "x\n" * 30_000,
        ("a=" + " " * 4093 + "x\n") * 16,
    ],
    ids=["slashes", "folders", "php", "doubling", "variables", "lines", "blanks"],
)
def test_what_the_web_user_may_write_is_read_in_no_time(
    one: Starting, tmp_path: Path, text: str
) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_text(f"#!/bin/sh\n{text}\n")
    began = time.process_time()
    one.by(f"root {bomb}")
    assert time.process_time() - began < 2
    assert max(len(line.text) for line in starting.lines_of(text)) <= 4096


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/./dev/zero", "//dev/zero", "/usr/../dev/zero", "'/usr/../proc/version'"]
)
def test_what_is_the_kernels_is_not_opened(
    one: Starting, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """To open /dev/watchdog and to close it again resets the machine."""
    opened: list[object] = []
    monkeypatch.setattr(files, "read", lambda *args: opened.append(args))
    assert one.by(f"0 0 1 1 * {path}") is None
    assert not opened


@pytest.mark.parametrize(
    "line", ["* * * * * /a\\x00b", "/a\\xffb", "'/a\x00'", f"{START} /x\x00/app/", "/\udcff/app/x"]
)
def test_a_line_that_names_no_path_breaks_nothing(
    one: Starting, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    one.by(line)
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("ascii"))  # as LC_ALL=C has it
    one.by(line.replace("\x00", ""))


@pytest.mark.parametrize(("hangs", "most"), [(False, 100), (True, 1)])
def test_the_web_user_reads_so_many_scripts_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool, most: int
) -> None:
    asked: list[str] = []

    def ask(_: object, __: object, path: str) -> str:
        asked.append(path)
        if hangs:
            raise WebUserError("no answer within 30 s")
        return ""

    monkeypatch.setattr(gate, "ask", ask)
    os.chown(tmp_path, 33, 33)
    for number in range(300):
        (tmp_path / str(number)).touch()
    user = WebUser("www-data", 33, 33, (33,), "/var/www", "www-data")
    one = Starting([ROOT], user)
    for number in range(300):
        assert one.by(f"sh {tmp_path}/{number}") is None
    assert len(asked) == most


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        (f"a={ROOT}/app/Console/cake x", [ROOT]),
        (f"'{ROOT}/app' \"/srv/two/app\"", [ROOT, "/srv/two"]),
        ("$HOME/misp/app/x", ["/misp"]),
        ("/app/Console/cake /a/apple /a/app2/x x/app", []),
        ("/a/app/b/app/c", ["/a", "/b"]),
    ],
)
def test_folders_that_have_misps_app(text: str, roots: list[str]) -> None:
    assert starting._roots_in(text) == roots
