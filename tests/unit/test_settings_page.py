"""The tables of docs/settings.md: made of the model, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import settings_page
from tasks.settings import known_keys
from tasks.settings_page import PageError, filled, main, row

FIRST, LAST = known_keys()[0], known_keys()[-1]
WHOLE = f"before\n<!-- settings: from {FIRST} to {LAST} -->\nold\n<!-- settings: end -->\nafter\n"


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("misp_root", "an absolute path of letters, digits and . _ + - | `/var/www/MISP` |"),
        ("misp_workers", 'counts by queue, 1 to 99 | `{"default": 5, '),
        ("misp_redis_port", "1 to 65535 | as above |"),
        ("misp_api_key", "a [secret](#secrets) | none |"),
        ("drain_timeout", "1 or more | 1800 |"),
        ("on_leftover_jobs", "`stop`, `wait` or `convert` | `stop` |"),
        ("expect", "`migrated` or `old` | none |"),
        ("epel", "true or false | true |"),
    ],
)
def test_a_row_has_values_and_default_as_the_model_has_them(key: str, cells: str) -> None:
    assert row(key).startswith(f"| `{key}` | {cells}")


def test_every_key_has_a_meaning_in_a_sentence() -> None:
    meanings = [row(key).rpartition(" | ")[2] for key in known_keys()]
    assert [one for one in meanings if not one.endswith(". |")] == []


def test_a_table_is_replaced_and_what_stands_around_it_stays() -> None:
    lines = filled(WHOLE).splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert lines[4:-2] == [row(key) for key in known_keys()]
    assert filled(filled(WHOLE)) == filled(WHOLE)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (WHOLE.replace(LAST, known_keys()[-2]), LAST),
        (WHOLE + WHOLE, FIRST),
        (WHOLE.replace(FIRST, "misp_roof"), "misp_roof"),
        ("no table", FIRST),
    ],
)
def test_a_key_that_is_left_out_or_there_twice_is_named(text: str, named: str) -> None:
    with pytest.raises(PageError, match=named):
        filled(text)


def test_a_page_that_is_not_what_the_model_says_is_told_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "settings.md"
    monkeypatch.setattr(settings_page, "PAGE", page)
    page.write_text(filled(WHOLE).replace("| 1800 |", "| 18 |"))
    assert main([]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 3
    assert "| 18 |" in said
    assert "| 1800 |" in said
    assert main(["--write"]) == main([]) == 0
    assert page.read_text() == filled(WHOLE)


def test_wrong_words_and_no_page_end_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings_page, "PAGE", tmp_path / "none")
    assert main(["--wirte"]) == main([]) == 1
    assert "usage:" in capsys.readouterr().err
