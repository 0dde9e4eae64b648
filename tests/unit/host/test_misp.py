"""One MISP: its settings where they count, its Redis, and what its command line prints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.host import bridge
from tasks.host import misp as misp_
from tasks.host.errors import WebUserError
from tasks.host.misp import Misp, first_json
from tasks.host.places import Place
from tasks.host.programs import ProgramError
from tasks.host.site import Desired
from tests.unit.host.fake_misp import FakeMisp

CODE = (Path(bridge.__file__).with_suffix(".php")).read_text()
BLOCK = {
    "enabled": True,
    "redis_host": "h",
    "redis_port": 1234,
    "redis_database": 3,
    "redis_password": "p",
    "redis_namespace": "n",
    "max_job_history_ttl": 5,
}
STORED = Place("h", 1234, 3, "n", "p", 5)


@pytest.fixture
def one(misp: FakeMisp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Misp]:
    monkeypatch.setattr(bridge, "CODE", CODE)
    with Misp(misp.site(), Desired()) as found:
        yield found


def again(one: Misp, **desired: Any) -> Misp:
    """The same MISP, with other wishes of the operator's."""
    one.desired = Desired(**desired)
    one.forget()
    return one


# --- whose it is ---------------------------------------------------------------------------------


def test_without_a_web_user_there_is_no_misp(misp: FakeMisp) -> None:
    misp.config_php.unlink()
    with pytest.raises(WebUserError, match="Check misp_root"):
        Misp(misp.site(), Desired())


def test_its_php_ends_with_it(one: Misp) -> None:
    with one:
        one.stored()
        pid = one.bridge._process.pid
    assert not Path(f"/proc/{pid}").exists()


# --- settings ------------------------------------------------------------------------------------


def test_settings_are_config_phps(misp: FakeMisp, one: Misp) -> None:
    misp.configure(BLOCK, redis_host="other")
    found = one.stored()
    assert (found.block, found.misp) == (BLOCK, {"redis_host": "other"})
    assert (found.is_in_database, found.is_encrypted, found.is_on) == (False, False, True)
    assert not (misp.app / "tmp/cake").exists()


@pytest.mark.parametrize(
    ("enabled", "in_the_file", "in_the_database"),
    [
        (True, True, True),
        (1, False, True),
        ("1", False, True),
        ("true", False, True),
        (False, False, False),
        (0, False, False),
        (None, False, False),
        ("", False, False),
        ("false", False, False),
        ("0", False, False),
        ([], False, False),
        ({"a": 1}, False, False),
    ],
)
def test_whether_the_new_backend_is_on(
    enabled: Any, in_the_file: bool, in_the_database: bool
) -> None:
    assert misp_.Stored({"enabled": enabled}, {}, False, False).is_on is in_the_file
    assert misp_.Stored({"enabled": enabled}, {}, True, False).is_on is in_the_database


def test_settings_are_read_once_until_they_change(misp: FakeMisp, one: Misp) -> None:
    assert one.stored().block == {}
    misp.configure(BLOCK)
    assert one.stored().block == {}
    one.forget()
    assert one.stored().block == BLOCK


def setting(name: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"setting": name, "value": value, **more}


DATABASE = [
    setting("MISP.redis_host", "db-host"),
    setting("MISP.baseurl", "https://misp"),
    setting("SimpleBackgroundJobs.enabled", True),
    setting("SimpleBackgroundJobs.redis_port", 99),
    # The default of a key that is not set.
    setting("SimpleBackgroundJobs.redis_database", 1, error=1, errorMessage="Value not set."),
    setting("SimpleBackgroundJobs.redis_host", "h", errorMessage="Something else is wrong"),
    setting("Security.salt", "s"),
    setting("SimpleBackgroundJobs", "no key"),
    {"setting": "MISP.no_value"},
    "no setting",
    None,
]


def test_the_database_overrules_config_php(misp: FakeMisp, one: Misp) -> None:
    misp.configure(
        {"redis_port": 1, "redis_database": 7, "kept": "k"}, system_setting_db=True, org="o"
    )
    misp.answer(DATABASE)
    found = one.stored()
    assert found.is_in_database
    assert found.is_on
    assert found.block == {"redis_port": 99, "kept": "k", "enabled": True, "redis_host": "h"}
    assert found.misp["redis_host"] == "db-host"
    one.stored()
    [line] = (misp.app / "tmp/cake").read_text().splitlines()
    assert line == f"{misp.root} www-data Admin getSetting all"


def test_settings_by_their_names_count_as_well(misp: FakeMisp, one: Misp) -> None:
    misp.configure(system_setting_db=True)
    misp.answer({"SimpleBackgroundJobs.enabled": {"value": True}})
    assert one.stored().is_on


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (DATABASE, 1),
        ("", 0),
        ("Error: no database", 0),
        ('"No valid setting found"', 0),
        ("5", 0),
        ("{}", 0),
        ("[]", 0),
        ("Warning (2): [12] things\nno settings", 0),
        ("[1, 2, 3]", 0),
        ({"error": "no database"}, 0),
        ("[" * 100_000, 0),
        (json.dumps([setting("MISP.x", "NAN")]).replace('"NAN"', "1e999"), 0),
        (json.dumps([setting("MISP.x", "NAN")]).replace('"NAN"', "NaN"), 0),
    ],
)
def test_a_database_that_does_not_say_is_an_error_and_never_nothing(
    misp: FakeMisp, one: Misp, answer: Any, status: int
) -> None:
    misp.configure(BLOCK, system_setting_db=True)
    misp.answer(answer, status)
    with pytest.raises(WebUserError, match="overruled by the database"):
        one.stored()


def test_a_cake_that_prints_without_end_is_ended(misp: FakeMisp, one: Misp) -> None:
    misp.configure(system_setting_db=True)
    (misp.app / "Console/cake").write_text("#!/bin/sh\nexec yes\n")
    with pytest.raises(ProgramError, match="printed more than 8192 KiB"):
        one.stored()


# --- where Redis is ------------------------------------------------------------------------------


def test_where_the_new_backend_is_and_shall_be(misp: FakeMisp, one: Misp) -> None:
    assert one.wanted() == one.new_at() == Place("127.0.0.1", 6379, 1, "background_jobs", "")
    misp.configure(BLOCK)
    assert again(one).new_at() == STORED
    moved = again(one, redis_host="other", redis_port=0, redis_database=0, max_job_history_ttl=0)
    assert moved.wanted() == Place("other", 0, 0, "n", "p", 0)
    assert moved.new_at() == STORED
    new = moved.new()
    assert (new.prefix, new.history_ttl) == ("n:", 5)


def test_an_empty_password_of_the_operators_is_one(misp: FakeMisp, one: Misp) -> None:
    misp.configure(BLOCK)
    assert again(one, redis_password="").wanted().password == ""
    assert again(one, redis_password="q").wanted().password == "q"
    assert again(one).wanted().password == "p"


def test_where_it_was_is_remembered_once_misp_forgets_it(misp: FakeMisp, one: Misp) -> None:
    misp.configure(BLOCK)
    one.remember_new()
    assert (misp.folder / "state/new-backend").stat().st_mode & 0o777 == 0o600
    misp.configure({**BLOCK, "enabled": False, "redis_host": "elsewhere"})
    assert again(one).new_at() == STORED
    misp.configure({**BLOCK, "redis_host": "on again"})
    assert again(one).new_at().host == "on again"


@pytest.mark.parametrize(
    ("hotfix", "wanted", "owner"),
    [(17, "", "cron"), (18, "", "native"), (18, "leave", "leave"), ("x", "", "cron")],
)
def test_who_gets_the_scheduled_tasks(
    misp: FakeMisp, hotfix: object, wanted: str, owner: str
) -> None:
    version = {"major": 2, "minor": 5, "hotfix": hotfix}
    (misp.root / "VERSION.json").write_text(json.dumps(version))
    with Misp(misp.site(scheduled_tasks=wanted), Desired()) as one:
        assert one.tasks_owner == owner


def test_a_misp_without_cakeresque_has_no_old_backend(misp: FakeMisp, one: Misp) -> None:
    assert one.old() is None
    folder = misp.app / "Plugin/CakeResque/Config"
    folder.mkdir(parents=True)
    (folder / "config.php").write_text(
        '<?php $config["CakeResque"]["Redis"] = array("host" => "h", "namespace" => "r");'
    )
    one.forget()
    old = one.old()
    assert old is not None
    assert old.prefix == "r:"
    assert old.redis._at == {  # type: ignore[attr-defined]
        "host": "h",
        "port": 6379,
        "database": 0,
        "password": "",
    }


def test_a_cakeresque_that_is_no_such_thing_is_an_error(
    one: Misp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one.bridge, "once", lambda _: ["lie"])
    with pytest.raises(WebUserError, match="does not say where its Redis is"):
        one.old()


# --- JSON amid junk ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ('Warning: odd in x.php on line 5\n{"a": [1]}\ntrailing', {"a": [1]}),
        ('Notice [1 of {2}]\n{"a": 1}', {"a": 1}),
        ('Deprecated: [12] things\n{"a": {"b": 1}}', {"a": {"b": 1}}),
        ('\n\n  [{"a": 1}]\n{"b": 2}', [{"a": 1}]),
        ('{"a": "}{"}', {"a": "}{"}),
        ("", None),
        ("no JSON", None),
        ("{", None),
        ("[1, 2", None),
        ('{"a": NaN}', None),
        ('{"a": -Infinity}', None),
        ('{"a": 1e999}', None),
        ('{"a": 9223372036854775808}', None),
        ('{"a": 9223372036854775807}', {"a": 9223372036854775807}),
        ('{"a": ' + "7" * 40_000 + "}", None),
        ("[" * 100_000, None),
        ("[" * 20 + "]" * 20, None),
        ("{\n" * 50_000, None),
    ],
)
def test_the_first_json_is_found_or_there_is_none(text: str, value: Any) -> None:
    began = time.monotonic()
    assert first_json(text.encode()) == value
    assert time.monotonic() - began < 3


def test_bytes_that_are_no_text_are_no_error() -> None:
    assert first_json(b'\xff\xfe{"a": "\xff"}\xff') == {"a": "\ufffd"}


def test_many_digits_take_no_time_in_a_python_without_a_limit() -> None:
    limit = getattr(sys, "get_int_max_str_digits", lambda: 0)()
    if limit:
        sys.set_int_max_str_digits(0)
    try:
        began = time.monotonic()
        assert first_json(b'{"a": ' + b"7" * 1_000_000 + b"}") is None
        assert time.monotonic() - began < 1.5
    finally:
        if limit:
            sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"major":2, "minor":5, "hotfix":17}', (2, 5, 17)),
        ('{"major":2, "minor":5}', (0, 0, 0)),
        ('{"major":"2", "minor":5, "hotfix":1}', (0, 0, 0)),
        ('{"major":true, "minor":5, "hotfix":1}', (0, 0, 0)),
        ('{"major":2.0, "minor":5, "hotfix":1}', (0, 0, 0)),
        ('{"major":-2, "minor":5, "hotfix":1}', (0, 0, 0)),
        ('{"major":1e999, "minor":5, "hotfix":1}', (0, 0, 0)),
        ('{"major":100000, "minor":5, "hotfix":1}', (0, 0, 0)),
        ("[2, 5, 1]", (0, 0, 0)),
        ("2.5.1", (0, 0, 0)),
        ("", (0, 0, 0)),
        ("\ud800", (0, 0, 0)),
    ],
)
def test_the_version_is_three_small_numbers_or_none(
    text: str, version: tuple[int, int, int]
) -> None:
    assert misp_.misp_version(text) == version
