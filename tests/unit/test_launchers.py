"""tasks/remote/launchers.sh on files that nobody's lab has."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tasks.scripts import REMOTE

START = "su -s /bin/bash www-data -c 'bash /var/www/MISP/app/Console/worker/start.sh'"
PROGRAM = "[program:resque]\ncommand=/var/www/MISP/app/Console/worker/start.sh\nuser=www-data\n"


def shell(folder: Path, command: str) -> str:
    """What a command of launchers.sh prints; supervisord's files are in `folder`."""
    values = {
        "misp_root": "/var/www/MISP",
        "real_root": "/data/misp",
        "state_dir": f"{folder}/state",
        "originals": f"{folder}/state/originals",
        "supervisor_conf": f"{folder}/supervisord.conf",
        "supervisor_include_dir": f"{folder}",
        "supervisor_include_suffix": ".ini",
        "group_file": f"{folder}/misp-workers.ini",
    }
    lines = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
    lines += [(REMOTE / "launchers.sh").read_text(), 'die() { echo "$*"; exit 1; }', command]
    script = "\n".join(lines)
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"#!/bin/sh -e\n{START}\nexit 0\n", ""),
        (f"if true; then\n    {START}\nfi", ""),
        (f"# {START}\n", ""),
        (f"{START} \\\n    >/dev/null\n", "its command goes over several lines"),
        ("su www-data -c \\\n  /var/www/MISP/app/Console/worker/start.sh\n", "over several lines"),
        (f'sh -c "{START}\n"\n', "without that line it would be no valid script"),
        (f'sh -c "\n{START}\n"\n', ""),
        ("cd $MISP; app/Console/worker/start.sh\n", "does not name /var/www/MISP/"),
        (f"{START}\n/opt/other/app/Console/worker/start.sh\n", "does not name /var/www/MISP/"),
        (f"{START.replace('/var/www/MISP', '/data/misp')}\n", ""),
    ],
)
def test_a_line_that_cannot_be_taken_out_by_itself_is_told(
    tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "rc.local"
    file.write_text(text)
    said = shell(tmp_path, f"why_unfit {file}")
    assert reason in said
    assert bool(said) == bool(reason)


@pytest.mark.parametrize("name", ["rc.local", "crontab"])
@pytest.mark.parametrize("end", ["\n", "", "\r\n"])
def test_taken_out_and_put_back_a_file_is_the_same_with_its_mode(
    tmp_path: Path, name: str, end: str
) -> None:
    file = tmp_path / name
    text = f"#!/bin/sh\nfirst\n\t{START}\n: last # {START}{end}".encode()
    file.write_bytes(text)
    file.chmod(0o640)
    shell(tmp_path, f'rewrite {file} "$(taking_out {file})"')
    assert shell(tmp_path, f"grep -cE '^(: )?#misp-workers-migration#' {file}") == "1\n"
    assert (file.stat().st_mode & 0o777) == 0o640
    once = file.read_bytes()
    shell(tmp_path, f'rewrite {file} "$(taking_out {file})"')
    assert file.read_bytes() == once
    shell(tmp_path, f'rewrite {file} "$unmark"')
    assert file.read_bytes() == text
    assert [path.name for path in tmp_path.iterdir()] == [name]


OTHER = "[program:web]\ncommand=/bin/true ; worker/start.sh\ndirectory=/var/www/MISP\n"
DIRECT = "command=/usr/bin/php ./bin/resque\ndirectory=/data/misp/app/Vendor/x"


def test_a_program_that_runs_old_workers_is_found(tmp_path: Path) -> None:
    file, more = tmp_path / "old.ini", tmp_path / "more.ini"
    file.write_text(f"{OTHER}{PROGRAM}\n{OTHER.replace('web', 'last')}")
    more.write_text(f"[program:direct] ; by PHP\n{DIRECT}")
    assert shell(tmp_path, "legacy_program_files") == f"direct {more}\nresque {file}\n"


@pytest.mark.parametrize(
    "text",
    [
        PROGRAM.replace("/var/www/MISP", "/opt/other"),
        f";{PROGRAM}".replace("\n", "\n;"),
        f"[group:resque]\n{DIRECT}",
        OTHER,
    ],
    ids=["another MISP's", "commented out", "no program", "in a comment"],
)
def test_what_runs_no_old_workers_of_this_misp_is_no_such_program(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "old.ini").write_text(f"{text}\n[program:x]\ndirectory=/var/www/MISP\n")
    assert shell(tmp_path, "legacy_program_files") == ""
