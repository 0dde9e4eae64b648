"""The PHP that jobs run by, and a job that is tried."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.host import bridge, gate, php
from tasks.host import look as look_module
from tasks.host.misp import Misp
from tasks.host.parts import Job, Php
from tasks.host.processes import Table
from tasks.host.site import Desired
from tests.unit.host.fake_misp import FakeMisp

CODE = (Path(bridge.__file__).with_suffix(".php")).read_text()
READY = "Successfully connected to Redis."


@pytest.fixture(autouse=True)
def _bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "CODE", CODE)


def look(misp: FakeMisp) -> Php:
    with Misp(misp.site(), Desired()) as one:
        return php.look(one)


def job(misp: FakeMisp, script: str, seconds: float = 60.0) -> Job:
    cake = misp.app / "Console/cake"
    cake.write_text(f"#!/bin/bash\n{script}\n")
    misp.own()
    with Misp(misp.site(), Desired()) as one:
        return php.job(php.start_job(one), seconds)


def test_it_tells_of_itself(misp: FakeMisp) -> None:
    misp.own()
    found = look(misp)
    assert found.path == "/usr/bin/php"
    assert found.version >= (7, 0, 0)
    assert (found.disabled, found.disabled_in, found.error) == ([], "", "")
    assert (found.open_basedir, found.sees_proc) == ("", True)


def test_the_file_that_forbids_a_function_is_named(
    misp: FakeMisp, monkeypatch: pytest.MonkeyPatch
) -> None:
    ini = misp.folder / "php.ini"
    ini.write_text("; disable_functions = a\n disable_functions = proc_open , exec\n")
    monkeypatch.setattr(bridge, "PHP", (*bridge.PHP, "-c", str(ini)))
    misp.own()
    found = look(misp)
    assert (found.disabled, found.disabled_in) == (["proc_open", "exec"], str(ini))


def test_a_php_that_gives_no_answer_says_why(
    misp: FakeMisp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "PHP", ("false",))
    misp.own()
    found = look(misp)
    assert found.version == (0, 0, 0)
    assert "without an answer" in found.error


def test_another_php_is_found_where_packages_put_one(
    misp: FakeMisp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("php74", "php82"):
        at = misp.folder / name / "root/usr/bin/php"
        at.parent.mkdir(parents=True)
        at.write_text("#!/bin/sh\n")
        at.chmod(0o755)
    monkeypatch.setattr(php, "_ELSEWHERE", (f"{misp.folder}/php*/root/usr/bin/php", "/no*/php"))
    monkeypatch.setattr(gate, "PATH", str(misp.folder))
    found = php.look(None)
    assert found.path == ""
    assert found.elsewhere == f"{misp.folder}/php82/root/usr/bin/php"
    monkeypatch.setattr(gate, "PATH", f"{misp.folder}/php82/root/usr/bin")
    assert php.look(None).elsewhere == f"{misp.folder}/php74/root/usr/bin/php"


@pytest.mark.parametrize("others", ["php82", "php82/root/usr/bin/php"])
def test_a_php_that_others_can_change_is_not_offered(
    misp: FakeMisp, monkeypatch: pytest.MonkeyPatch, others: str
) -> None:
    """The remedy for it is a link in a folder of everybody's PATH."""
    for name in ("php74", "php82"):
        at = misp.folder / name / "root/usr/bin/php"
        at.parent.mkdir(parents=True)
        at.touch(0o755)
    os.chown(misp.folder / others, 33, 33)
    monkeypatch.setattr(php, "_ELSEWHERE", (f"{misp.folder}/php*/root/usr/bin/php",))
    monkeypatch.setattr(gate, "PATH", str(misp.folder))
    assert php.look(None).elsewhere == f"{misp.folder}/php74/root/usr/bin/php"


def test_a_job_has_the_web_user_and_no_environment(misp: FakeMisp) -> None:
    script = (
        f'env >"$(dirname "$0")/../tmp/env"; id -un >>"$(dirname "$0")/../tmp/env"; echo {READY}'
    )
    assert job(misp, script) == Job("")
    words = (misp.app / "tmp/env").read_text().split()
    assert "www-data" in words
    assert [one for one in words if one.startswith(("HOME=", "PATH=", "USER="))] == []


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (
            '[ "$HOME" ] || { echo "HOME is not set" >&2; exit 9; }',
            "HOME is not set (exit status 9)",
        ),
        ("echo something else", "something else (exit status 0)"),
        ("exit 3", "no word (exit status 3)"),
        (
            "printf 'Fatal error: Allowed memory size of 9 bytes exhausted\\n#0 /a\\n'; exit 255",
            "Fatal error: Allowed memory size of 9 bytes exhausted (exit status 255)",
        ),
    ],
)
def test_a_job_that_fails_says_why(misp: FakeMisp, script: str, error: str) -> None:
    assert job(misp, script) == Job(error)


def test_a_job_that_does_not_end_is_ended(misp: FakeMisp) -> None:
    assert job(misp, "sleep 900", 1.0).error.startswith("cake did not end")


def test_misps_view_and_a_job_have_their_time_together(misp: FakeMisp) -> None:
    """Both are MISP's command line, which may hang: one after the other would take it twice."""
    looker = look_module._Looker(misp.site(), "", None, "no MISP", Table)
    looker._cake_until = time.monotonic() + 20
    assert 18 <= looker._cake_left() <= 20
    looker._cake_until = time.monotonic() - 5
    assert looker._cake_left() == 1
