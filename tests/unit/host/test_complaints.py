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


def logs(folder: Path) -> complaints.Logs:
    return complaints.Logs(old_side.site(log_dir=str(folder)))


def test_of_logs_each_line_comes_once_with_the_workers_concerned(tmp_path: Path) -> None:
    found = logs(tmp_path)
    assert found.say(["prio"]) == ""
    for number in range(5):
        (tmp_path / f"prio_0{number}.log").write_text("x" * 40000 + "\n" + UNCAUGHT)
    (tmp_path / "email_00.log").write_text("another error\n")
    (tmp_path / "email_01.log").touch()
    (tmp_path / "email_00.log.1").write_text("an old error\n")
    (tmp_path / "cache_00.log").write_text("an error of nobody concerned\n")
    (tmp_path / "email_02.log").write_text("begins\n")
    names = ["prio", "email_00", "email_01", "email_02"]
    assert found.say(names) == (
        ". Their logs say: another error (email_00) | PHP Fatal error:  Uncaught Exception: no "
        "class in /var/www/MISP/app/a.php:3 (prio_00, prio_01, prio_02 and 2 more)"
    )


def test_of_logs_what_is_known_already_is_left_out(tmp_path: Path) -> None:
    found = logs(tmp_path)
    (tmp_path / "prio_00.log").write_text("Error: [JOB 1] failed. STDERR: Error: it breaks\n")
    (tmp_path / "prio_01.log").write_text("begins\n")
    assert found.say(["prio"], ["Error: it breaks", ""]) == ""
    assert found.say(["prio_01"]) == ". Their logs say: begins (prio_01)"


def test_what_an_earlier_run_has_left_in_a_log_is_not_told_of_this_one(tmp_path: Path) -> None:
    for name in ("prio_00", "prio_01", "prio_02"):
        (tmp_path / f"{name}.log").write_text("Error: long ago\n" * 3)
    found = logs(tmp_path)
    assert found.say(["prio"]) == ""
    assert "Error: long ago (prio_00, prio_01, prio_02)" in found.say(["prio"], with_old=True)
    with (tmp_path / "prio_00.log").open("a") as file:
        file.write("Error: just now\n")
    (tmp_path / "prio_01.log").write_text("Error: rotated\n")
    assert found.say(["prio"]) == (
        ". Their logs say: Error: just now (prio_00) | Error: rotated (prio_01)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "PHP Fatal error:  Uncaught RedisException: no in /a.php:3\nStack trace:\n"
        "#0 /a.php(3): Redis->auth('hunter2')\n#1 {main}\n  thrown in /a.php on line 3\n",
        "  #12 [internal function]: PDO->__construct('mysql:', 'misp', 'hunter2')\nError: no\n",
        "failed: Error: no #0 /a.php(3): Redis->auth('hunter2') #1 {main}\n",
        "failed: Error: no Stack trace: #0 [internal function]: Redis->auth('hunter2')\n",
        "failed: Error: no\\n#0 /a.php(3): Redis->auth('hunter2')\\n#1 {main}\n",
        "[stacktrace]\n#0 /a.php(3): Redis->auth('hunter2')\nError: no\n",
        f"#0 /a.php(3): Redis->auth('hunter2', '{'x' * 16376}')\nError: no\n"[-16400:],
        f"#0 /a.php(3): {'x' * 900}->auth('hunter2', '{'x' * 16340}')\nError: no\n",
    ],
)
def test_the_ends_of_logs_have_no_calls_for_these_have_passwords(tmp_path: Path, text: str) -> None:
    (tmp_path / "prio_00.log").write_text(text)
    found = logs(tmp_path)
    lines = found.ends(["prio"])
    assert "no" in str(lines)
    assert "hunter2" not in str(lines)
    assert "hunter2" not in found.say(["prio"], with_old=True)


def test_the_ends_of_logs_are_kept_for_who_wants_all(tmp_path: Path) -> None:
    (tmp_path / "prio_00.log").write_text("".join(f"line {number}\n" for number in range(100)))
    (tmp_path / "cache_00.log").write_text("nobody concerned\n")
    lines = logs(tmp_path).ends(["prio"])
    assert len(lines) == 40
    assert lines[-1] == "prio_00.log: line 99"
