"""What hosts print, as values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import parse
from tasks.parse import Answer, Process

GROUP = "misp-workers"


def test_an_answer_keeps_every_value_of_a_key_in_order() -> None:
    answer = Answer(["unit\ta.service active", "other\tx", "unit\tb.service failed"])
    assert answer.all("unit") == ["a.service active", "b.service failed"]
    assert answer.one("unit") == "a.service active"
    assert answer.words("unit") == ["a.service", "active"]


def test_an_answer_is_empty_for_a_key_that_is_absent() -> None:
    answer = Answer(["warning without a tab", "", "empty\t"])
    assert (answer.all("none"), answer.one("none"), answer.words("none")) == ([], "", [])
    assert (answer.all("empty"), answer.words("empty")) == ([""], [])
    assert answer.all("warning without a tab") == []


def test_a_value_may_hold_tabs() -> None:
    assert Answer(["k\ta\tb "]).one("k") == "a\tb"


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ('{"a": {"b": [1, true, null]}}', {"a": {"b": [1, True, None]}}),
        ("{}", {}),
        ('PHP Warning: x {"a": 1} ', {"a": 1}),
        ("", {"error": "no answer from PHP"}),
        ("PHP Fatal error", {"error": "no answer from PHP: PHP Fatal error"}),
        ("[1]", {"error": "an odd answer: [1]"}),
        ("null", {"error": "an odd answer: null"}),
        ("x" * 300, {"error": f"no answer from PHP: {'x' * 200}"}),
    ],
)
def test_a_record_is_a_json_object_or_an_error(text: str, record: dict[str, Any]) -> None:
    assert Answer([f"k\t{text}"]).record("k") == record


def test_a_record_that_is_absent_is_an_error() -> None:
    assert Answer([]).record("k") == {"error": "no answer from PHP"}


@given(st.lists(st.text() | st.builds("{}\t{}".format, st.text(), st.text())))
def test_no_output_whatever_can_break_an_answer(lines: list[str]) -> None:
    answer = Answer(lines)
    for line in lines:
        key, tab, value = line.partition("\t")
        assert not tab or value.strip() in answer.all(key)
        assert isinstance(answer.record(key), dict)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "misp-workers:default_00          RUNNING   pid 1234, uptime 0:01:05",
            Process("misp-workers:default_00", "RUNNING", 1234, 65, "pid 1234, uptime 0:01:05"),
        ),
        (
            "other   RUNNING   pid 7, uptime 1 day, 0:00:01",
            Process("other", "RUNNING", 7, 86401, "pid 7, uptime 1 day, 0:00:01"),
        ),
        (
            "other   RUNNING   pid 7, uptime 12 days, 23:59:59",
            Process("other", "RUNNING", 7, 13 * 86400 - 1, "pid 7, uptime 12 days, 23:59:59"),
        ),
        (
            "misp-workers:prio_00   STOPPED   Not started",
            Process("misp-workers:prio_00", "STOPPED", 0, 0, "Not started"),
        ),
        ("g:a   STARTING   ", Process("g:a", "STARTING", 0, 0, "")),
        (
            "g:a   BACKOFF   Exited too quickly (process log may have details)",
            Process("g:a", "BACKOFF", 0, 0, "Exited too quickly (process log may have details)"),
        ),
        (
            "g:a   FATAL   can't find command '/x'",
            Process("g:a", "FATAL", 0, 0, "can't find command '/x'"),
        ),
        (
            "g:a   EXITED   Nov 24 03:36 AM",
            Process("g:a", "EXITED", 0, 0, "Nov 24 03:36 AM"),
        ),
    ],
)
def test_a_line_of_supervisors_status_is_a_process(line: str, expected: Process) -> None:
    assert parse.supervisor_status([line]) == {expected.name: expected}


@pytest.mark.parametrize(
    "line",
    [
        "unix:///var/run/supervisor.sock no such file",
        "unix:///run/supervisor/supervisor.sock refused connection",
        "error: <class 'PermissionError'>, [Errno 13] Permission denied: file: /x line: 5",
        "Server requires authentication",
        "",
        "word",
    ],
)
def test_an_error_of_supervisorctl_is_no_process(line: str) -> None:
    assert parse.supervisor_status([line]) == {}


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_any_uptime_is_read_back_in_seconds(days: int, hours: int, mins: int, secs: int) -> None:
    prefix = {0: "", 1: "1 day, "}.get(days, f"{days} days, ")
    line = f"g:a RUNNING pid 1, uptime {prefix}{hours}:{mins:02d}:{secs:02d}"
    uptime = parse.supervisor_status([line])["g:a"].uptime
    assert uptime == secs + 60 * (mins + 60 * (hours + 24 * days))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.2.5", (4, 2, 5)),
        ("8.3", (8, 3, 0)),
        ("8.2.26-1~deb12u1", (8, 2, 26)),
        ("supervisor 3.10.12 or so", (3, 10, 12)),
        ("none", (0, 0, 0)),
        ("8", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_version_is_the_first_dotted_number(text: str, version: tuple[int, int, int]) -> None:
    assert parse.version(text) == version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"major":2, "minor":4, "hotfix":199}', (2, 4, 199)),
        ('{"major":"2", "minor":"5", "hotfix":"1"}', (2, 5, 1)),
        ('{"major":2, "minor":4}', (0, 0, 0)),
        ('{"major":2, "minor":4, "hotfix":null}', (0, 0, 0)),
        ('{"major":2, "minor":4, "hotfix":"x"}', (0, 0, 0)),
        ("[2, 4, 199]", (0, 0, 0)),
        ("2", (0, 0, 0)),
        ("2.4.199", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_misps_version_is_read_from_its_file_and_from_nothing_else(
    text: str, version: tuple[int, int, int]
) -> None:
    assert parse.misp_version(text) == version


def _status(**states: str) -> dict[str, Process]:
    lines = [f"{name.replace('__', ':')} {state}" for name, state in states.items()]
    return parse.supervisor_status(line.replace("misp_workers", GROUP) for line in lines)


RUNNING = "RUNNING pid 1, uptime 0:00:09"


@pytest.mark.parametrize(
    ("status", "faults"),
    [
        (_status(misp_workers__a_00=RUNNING, misp_workers__b_00=RUNNING), []),
        (
            _status(misp_workers__a_00=RUNNING, misp_workers__b_00=RUNNING, nginx="STOPPED"),
            [],
        ),
        (_status(misp_workers__a_00=RUNNING), ["misp-workers:b_00 is missing"]),
        ({}, ["misp-workers:a_00 is missing", "misp-workers:b_00 is missing"]),
        (
            _status(misp_workers__a_00="FATAL Exited too quickly", misp_workers__b_00="STARTING"),
            ["misp-workers:a_00 is FATAL Exited too quickly", "misp-workers:b_00 is STARTING"],
        ),
        (
            _status(
                misp_workers__a_00=RUNNING, misp_workers__b_00=RUNNING, misp_workers__c_00="STOPPED"
            ),
            ["misp-workers:c_00 is not wanted"],
        ),
        (
            _status(a_00=RUNNING, misp_workers_old__b_00=RUNNING),
            ["misp-workers:a_00 is missing", "misp-workers:b_00 is missing"],
        ),
    ],
)
def test_the_group_is_right_only_as_exactly_the_wanted_set_running(
    status: dict[str, Process], faults: list[str]
) -> None:
    wanted = ["misp-workers:b_00", "misp-workers:a_00"]
    assert parse.wrong_workers(status, wanted, GROUP) == faults


def test_programs_outside_the_group_are_foreign() -> None:
    status = _status(
        web="STOPPED", misp_workers__a_00=RUNNING, misp_workersX__a=RUNNING, app=RUNNING
    )
    assert parse.foreign_programs(status, GROUP) == ["app", "misp-workersX:a", "web"]
    assert parse.foreign_programs(status, GROUP, ["app"]) == ["misp-workersX:a", "web"]


def _worker(**changes: Any) -> dict[str, Any]:
    return {"pid": 1, "user": "www-data", "alive": True, "correct_user": True, "ok": True} | changes


def _view(queue: Any, **changes: Any) -> dict[str, Any]:
    whole = {"default": queue, "proc_accessible": True, "controls": 1, "supervisord_status": True}
    return whole | changes


def _queue(*workers: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, "workers": list(workers), "jobCount": 0}


UNREACHABLE = "MISP cannot reach supervisord (supervisord_status is not true)"


@pytest.mark.parametrize(
    ("view", "faults"),
    [
        (_view(_queue(_worker(), _worker())), []),
        (_view(_queue(_worker())), ["default: MISP sees 1 good workers, 2 are wanted"]),
        (
            _view(_queue(_worker(), _worker(), _worker())),
            ["default: MISP sees 3 good workers, 2 are wanted"],
        ),
        (
            _view(_queue(_worker(), _worker(), _worker(ok=False))),
            ["default: MISP sees 2 good workers, 2 are wanted"],
        ),
        (
            _view(_queue(_worker(), _worker(ok=False))),
            ["default: MISP sees 1 good workers, 2 are wanted"],
        ),
        (
            _view(_queue(_worker(), _worker(ok="yes"))),
            ["default: MISP sees 1 good workers, 2 are wanted"],
        ),
        (_view({"ok": False, "jobCount": 0}), ["default: MISP sees 0 good workers, 2 are wanted"]),
        (_view([]), ["default: MISP sees 0 good workers, 2 are wanted"]),
        (_view(None), ["default: MISP sees 0 good workers, 2 are wanted"]),
        (_view(_queue(_worker(), _worker()), supervisord_status=False), [UNREACHABLE]),
        (_view(_queue(_worker(), _worker()), supervisord_status=1), [UNREACHABLE]),
        (
            {"default": _queue(_worker(), _worker()), "controls": 1},
            ["getWorkers speaks of the old backend"],
        ),
        ({"error": "no answer from PHP"}, ["getWorkers: no answer from PHP"]),
    ],
)
def test_misps_view_is_right_only_with_the_wanted_counts_and_supervisord_reached(
    view: dict[str, Any], faults: list[str]
) -> None:
    assert parse.wrong_misp_view(view, {"default": 2}) == faults


@pytest.mark.parametrize(
    ("view", "cause"),
    [
        (_view(_queue(_worker(ok=False)), proc_accessible=False), "sees no /proc: add it to PHP's"),
        (
            _view(_queue(_worker(user="", correct_user=False, ok=False), _worker(user="x"))),
            "takes the workers' user for '': it runs as another user itself",
        ),
    ],
)
def test_a_view_without_proc_is_called_so(view: dict[str, Any], cause: str) -> None:
    *_, last = parse.wrong_misp_view(view, {"default": 2})
    assert cause in last


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(20, "20"), (30.0, "30"), (0.5, "0.5"), (60, None), (-1, None), (0, None)],
)
def test_php_that_gives_up_on_redis_before_a_worker_does(limit: float, seconds: str | None) -> None:
    said = parse.impatience({"read_timeout": limit})
    assert (said is None) == (seconds is None)
    assert seconds is None or f"gives up on Redis after {seconds} s" in str(said)
    assert parse.impatience({}) is None


@pytest.mark.parametrize(
    "queue",
    ["text", ["text"], 5, {"workers": ["text"]}, {"workers": 5}, {"workers": {"0": _worker()}}],
)
def test_a_view_of_an_unknown_shape_is_a_fault_and_no_crash(queue: object) -> None:
    (fault,) = parse.wrong_misp_view(_view(queue), {"default": 2})
    assert fault.startswith("default: ")


@pytest.mark.parametrize(
    ("legacy", "words"),
    [
        (
            {"waiting": {"prio": 2, "default": 1, "email": 0}},
            "1 waiting in default, 2 waiting in prio",
        ),
        ({"waiting": {}, "running": 3, "delayed": 0}, "3 running"),
        ({"waiting": [], "running": 0, "delayed": 4}, "4 delayed"),
        (
            {"waiting": {"cache": 1}, "running": 1, "delayed": 1},
            "1 waiting in cache, 1 running, 1 delayed",
        ),
        (
            {"waiting": {}, "scheduled": 2, "held": 1},
            "2 scheduled by MISP itself, 1 in a conversion that was cut off",
        ),
        ({"error": "no connection"}, "its Redis cannot be asked: no connection"),
        ({"waiting": {"default": 0}, "running": 0, "delayed": 0}, None),
        ({"installed": False}, None),
        ({}, None),
    ],
)
def test_the_backlog_is_told_in_words_or_none(legacy: dict[str, Any], words: str | None) -> None:
    assert parse.backlog(legacy) == words


@pytest.mark.parametrize(
    ("legacy", "convertible", "worth_a_minute"),
    [
        ({"waiting": {"prio": 2, "default": 1}}, 3, True),
        ({"waiting": {}, "running": 3}, 0, True),
        ({"waiting": [], "delayed": 4, "next_due": 50}, 4, True),
        ({"waiting": [], "delayed": 4, "next_due": 70}, 4, False),
        ({"waiting": {"prio": 0}, "scheduled": 2, "last_due": 7200}, 0, False),
        ({"held": 2}, 2, False),
        ({"error": "no connection"}, 0, False),
    ],
)
def test_what_a_conversion_takes_and_what_old_workers_are_given_time_for(
    legacy: dict[str, Any], convertible: int, worth_a_minute: bool
) -> None:
    assert parse.convertible(legacy) == convertible
    assert parse.worth_waiting(["7 1 prio,default"], legacy, 60) is worth_a_minute


def test_no_old_worker_is_given_time_for_what_none_will_do() -> None:
    legacy = {"waiting": {"prio": 2, "email": 1}}
    assert parse.worth_waiting(["7 1 email"], legacy, 60)
    assert not parse.worth_waiting(["7 1 default"], legacy, 60)
    assert not parse.worth_waiting(["7 1 default"], {"delayed": 2, "overdue": 61}, 60)


@pytest.mark.parametrize(
    ("queues", "elsewhere", "unserved"),
    [
        (["prio", "email", "default"], [], {}),
        (["prio", "default"], [], {"email": 1}),
        (["prio,email"], [], {}),
        (["*"], [], {}),
        ([], [], {"prio": 2, "email": 1}),
        (["prio"], ["email"], {}),
        ([], ["*"], {}),
        (["_schdlr_"], ["cache"], {"prio": 2, "email": 1}),
    ],
)
def test_jobs_that_no_old_worker_takes_are_known_by_their_queue(
    queues: list[str], elsewhere: list[str], unserved: dict[str, int]
) -> None:
    legacy = {"waiting": {"prio": 2, "email": 1, "update": 0}, "elsewhere": elsewhere}
    assert parse.unserved([f"7 1 {names}" for names in queues], legacy) == unserved


@pytest.mark.parametrize(
    ("legacy", "says"),
    [
        ({"waiting": {"prio": 2, "email": 1}}, "for email, prio: start one as the web user"),
        ({"waiting": {"prio": 2, "email": 1}}, "start --interval 5 --queue email)"),
        ({"waiting": [], "overdue": 61}, "startscheduler --interval 5;"),
    ],
)
def test_what_nobody_will_do_is_told_with_its_remedy(legacy: dict[str, Any], says: str) -> None:
    assert says in str(parse.stuck(["7 1 default"], legacy))


@pytest.mark.parametrize(
    "legacy", [{}, {"error": "x"}, {"waiting": {"default": 3}, "overdue": 60, "elsewhere": []}]
)
def test_what_old_workers_will_do_is_not_stuck(legacy: dict[str, Any]) -> None:
    assert parse.stuck(["7 1 default"], legacy) is None


@pytest.mark.parametrize(
    ("before", "now", "arrived"),
    [
        ({"processed": 5}, {"processed": 5}, 0),
        ({"processed": 5}, {"processed": 7, "waiting": {"prio": 1}, "running": 1}, 4),
        ({"processed": 5, "running": 1}, {"processed": 9}, 0),
        ({"processed": 5, "waiting": {"prio": 1}}, {"processed": 9}, 0),
        ({"processed": 5, "delayed": 1}, {"processed": 9}, 0),
        ({"error": "no connection"}, {"processed": 9}, 0),
        ({"processed": 5}, {"error": "no connection"}, 0),
        ({"processed": 5}, {"processed": 0}, 0),
    ],
)
def test_jobs_from_elsewhere_are_known_only_where_no_old_job_can_have_enqueued_them(
    before: dict[str, Any], now: dict[str, Any], arrived: int
) -> None:
    assert parse.arrived(before, now) == arrived
