"""The line that tells why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.host import complaints
from tests.unit.host import old_side

UNCAUGHT = """PHP Fatal error:  Uncaught Exception: no class in /var/www/MISP/app/a.php:3
Stack trace:
#0 /var/www/MISP/app/Console/cake.php(6): run()
#1 {main}
  thrown in /var/www/MISP/app/a.php on line 3
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        (UNCAUGHT, "PHP Fatal error:  Uncaught Exception: no class in /var/www/MISP/app/a.php:3"),
        ("Error: it breaks\n#0 /a.php(3): b()\n#1 {main}\nworker ends\n", "Error: it breaks"),
        (
            "failed: Error: it breaks #0 /var/www/a.php(35): b() #1 {main}",
            "failed: Error: it breaks",
        ),
        ("Error: first\nError: last\nbye\n", "Error: last"),
        ("a\x1b[31mred error\n", "a?[31mred error"),
        ("error " + "x" * 1000, "error " + "x" * 293 + "\u2026"),
        ("error: run `id`\n", "error: run 'id'"),
    ],
)
def test_the_last_line_that_names_an_error_is_told_without_its_calls(text: str, line: str) -> None:
    assert complaints.telling(text) == line


def test_of_logs_each_line_comes_once_with_the_workers_concerned(tmp_path: Path) -> None:
    site = old_side.site(log_dir=str(tmp_path))
    assert complaints.of_logs(site, ["prio"]) == ""
    for number in range(5):
        (tmp_path / f"prio_0{number}.log").write_text("x" * 40000 + "\n" + UNCAUGHT)
    (tmp_path / "email_00.log").write_text("another error\n")
    (tmp_path / "email_01.log").touch()
    (tmp_path / "email_00.log.1").write_text("an old error\n")
    (tmp_path / "cache_00.log").write_text("an error of nobody concerned\n")
    (tmp_path / "email_02.log").write_text("begins\n")
    names = ["prio", "email_00", "email_01", "email_02"]
    assert complaints.of_logs(site, names) == (
        ". Their logs say: another error (email_00) | PHP Fatal error:  Uncaught Exception: no "
        "class in /var/www/MISP/app/a.php:3 (prio_00, prio_01, prio_02 and 2 more)"
    )


def test_of_logs_what_is_known_already_is_left_out(tmp_path: Path) -> None:
    site = old_side.site(log_dir=str(tmp_path))
    (tmp_path / "prio_00.log").write_text("Error: [JOB 1] failed. STDERR: Error: it breaks\n")
    (tmp_path / "prio_01.log").write_text("begins\n")
    assert complaints.of_logs(site, ["prio"], ["Error: it breaks", ""]) == ""
    assert complaints.of_logs(site, ["prio_01"]) == ". Their logs say: begins (prio_01)"


def test_the_ends_of_logs_are_kept_for_who_wants_all(tmp_path: Path) -> None:
    site = old_side.site(log_dir=str(tmp_path))
    (tmp_path / "prio_00.log").write_text("".join(f"line {number}\n" for number in range(100)))
    (tmp_path / "cache_00.log").write_text("nobody concerned\n")
    lines = complaints.ends_of_logs(site, ["prio"])
    assert len(lines) == 40
    assert lines[-1] == "prio_00.log: line 99"
